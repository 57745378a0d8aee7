"""A connected session: PUBLISH and PUBACK, broken rules, keep-alive, and the stop."""

import mqtt5
import pytest

from bridge.mqtt.events import (
    Disconnected,
    Refused,
    TimedOut,
    Violated,
)
from bridge.mqtt.session import (
    RELEASED_S,
    WINDOW_USED_S,
    Session,
)
from tests.mqtt.given import connack, packets_in, publish, received, settings, suback, subscribed


def test_publishes_are_taken_before_suback_since_a_resumed_session_delivers_at_once() -> None:
    session = Session(settings())
    session.connect(now=0.0)

    events = session.receive_data(connack(session_present=True) + publish(9) + suback(1), now=0.0)

    assert [9] == [each.packet_id for each in received(events).packets]


def test_a_publish_before_connack_is_no_answer_to_connect() -> None:
    session = Session(settings())
    session.connect(now=0.0)

    (event,) = session.receive_data(publish(1), now=0.0)

    assert isinstance(event, Refused)


def test_pubacks_follow_the_order_of_the_publishes_and_only_what_is_settled() -> None:
    session = Session(settings())
    subscribed(session)
    receipts = received(session.receive_data(b"".join(map(publish, (5, 3, 9))), now=1.0)).receipts

    for position in (1, 0):
        receipt = receipts[position]
        assert receipt is not None
        session.ledger.settle(receipt)
    sent = session.acknowledge(now=1.0)

    assert 2 == sent
    assert [5, 3] == [each.packet_id for each in packets_in(session.data_to_send())]


def test_a_qos_0_publish_has_no_receipt() -> None:
    session = Session(settings())
    subscribed(session)

    assert [None] == received(session.receive_data(publish(None), now=1.0)).receipts


def test_a_late_delivery_report_never_acknowledges_a_reused_packet_id() -> None:
    session = Session(settings())
    subscribed(session)
    (old,) = received(session.receive_data(publish(7, b"old"), now=1.0)).receipts
    session.closed()
    subscribed(session, now=2.0, session_present=True)
    (new,) = received(session.receive_data(publish(7, b"new"), now=3.0)).receipts
    assert old is not None
    assert new is not None

    session.ledger.settle(old)

    assert 0 == session.acknowledge(now=4.0)
    assert b"" == session.data_to_send()
    session.ledger.settle(new)
    assert 1 == session.acknowledge(now=4.0)


def test_nothing_is_acknowledged_without_a_connection() -> None:
    session = Session(settings())
    subscribed(session)
    (receipt,) = received(session.receive_data(publish(7), now=1.0)).receipts
    assert receipt is not None
    session.closed()
    session.ledger.settle(receipt)

    assert 0 == session.acknowledge(now=2.0)
    assert b"" == session.data_to_send()


def test_what_came_before_a_violation_is_still_received() -> None:
    session = Session(settings())
    subscribed(session)

    events = session.receive_data(publish(1) + b"\x00\x00" + publish(2), now=1.0)

    assert [1] == [each.packet_id for each in received(events).packets]
    assert isinstance(events[-1], Violated)
    assert [0x81] == [int(each.reason_code) for each in packets_in(session.data_to_send())]


@pytest.mark.parametrize(
    "packet",
    [
        mqtt5.AuthPacket().write(),
        mqtt5.PubRelPacket(1).write(),
        mqtt5.PingReqPacket().write(),
        mqtt5.ConnAckPacket().write(),
        mqtt5.UnsubAckPacket(1, [mqtt5.UnsubAckReasonCode.SUCCESS]).write(),
    ],
    ids=["AUTH", "PUBREL", "PINGREQ", "a second CONNACK", "UNSUBACK"],
)
def test_a_packet_that_has_no_place_here_is_a_protocol_error(packet: bytes) -> None:
    session = Session(settings())
    subscribed(session)

    (event,) = session.receive_data(packet, now=1.0)

    assert isinstance(event, Violated)
    assert 0x82 == event.reason_code


@pytest.mark.parametrize(
    ("code", "reason", "is_patience_due"),
    [
        (mqtt5.DisconnectReasonCode.SERVER_SHUTTING_DOWN, "server_shutting_down", False),
        (mqtt5.DisconnectReasonCode.SESSION_TAKEN_OVER, "session_taken_over", True),
        (mqtt5.DisconnectReasonCode.ADMINISTRATIVE_ACTION, "administrative_action", True),
        (mqtt5.DisconnectReasonCode.USE_ANOTHER_SERVER, "use_another_server", True),
    ],
)
def test_a_disconnect_of_the_broker_is_named_and_some_ask_for_patience(
    code: mqtt5.DisconnectReasonCode, reason: str, *, is_patience_due: bool
) -> None:
    session = Session(settings())
    subscribed(session)

    events = session.receive_data(
        publish(1) + mqtt5.DisconnectPacket(reason_code=code).write(), now=1.0
    )

    assert [1] == [each.packet_id for each in received(events).packets]
    assert Disconnected(int(code), reason, "", is_patience_due) == events[-1]


# ---------------------------------------------------------------- keep-alive


def test_an_idle_connection_is_pinged_and_an_answer_starts_the_wait_again() -> None:
    session = Session(settings())
    subscribed(session, now=100.0)

    due = session.next_timer()

    assert 100.0 + 22.5 == due
    assert [] == session.on_timer(now=122.5)
    assert b"\xc0\x00" == session.data_to_send()
    session.receive_data(mqtt5.PingRespPacket().write(), now=123.0)
    assert 122.5 + 22.5 == session.next_timer()


def test_a_broker_that_answers_nothing_is_given_up_soon_after_its_keep_alive() -> None:
    session = Session(settings())
    subscribed(session, now=100.0)
    session.on_timer(now=122.5)

    assert 137.5 == session.next_timer()
    assert [TimedOut("PINGRESP", 37.5)] == session.on_timer(now=137.5)


def test_a_broker_that_is_silent_while_we_acknowledge_is_pinged_all_the_same() -> None:
    session = Session(settings())
    subscribed(session, now=100.0)
    receipts = received(session.receive_data(publish(1), now=100.0)).receipts
    assert receipts[0] is not None
    session.ledger.settle(receipts[0])
    session.acknowledge(now=121.0)
    session.data_to_send()

    session.on_timer(now=122.5)

    assert b"\xc0\x00" == session.data_to_send()


def test_a_paused_reader_pings_and_never_takes_silence_for_death() -> None:
    session = Session(settings())
    subscribed(session, now=100.0)
    session.pause_reading()

    for now in (122.5, 145.0, 167.5, 300.0):
        assert [] == session.on_timer(now=now)
        assert b"\xc0\x00" == session.data_to_send()

    session.resume_reading(now=301.0)
    assert [] == session.on_timer(now=301.0)


# ---------------------------------------------------------------- stopping


def test_a_stop_says_offline_then_acknowledges_then_disconnects_keeping_the_session() -> None:
    session = Session(settings())
    subscribed(session)
    (receipt,) = received(session.receive_data(publish(4), now=1.0)).receipts
    assert receipt is not None

    session.say_offline(now=2.0)
    session.ledger.settle(receipt)
    session.acknowledge(now=2.0)
    session.disconnect(now=2.0)

    status, puback, disconnect = packets_in(session.data_to_send())
    assert (b"offline", True) == (status.payload, status.retain)
    assert 4 == puback.packet_id
    assert (0, None) == (int(disconnect.reason_code), disconnect.session_expiry_interval)
    assert session.next_timer() is None


def _acknowledge(session: Session, count: int, *, first: int = 1) -> None:
    """Receive so many PUBLISHes at 0.0, and acknowledge them at once."""
    packets = b"".join(publish(each) for each in range(first, first + count))
    for receipt in received(session.receive_data(packets, now=0.0)).receipts:
        assert receipt is not None
        receipt.settle()
    session.acknowledge(now=0.0)


def test_the_broker_may_wait_where_as_much_as_ever_comes_behind_pubacks_and_a_moment_longer() -> (
    None
):
    session = Session(settings(receive_maximum=2_000))
    subscribed(session)
    _acknowledge(session, 20)

    session.receive_data(b"".join(publish(each) for each in range(1, 21)), now=0.001)

    assert session.is_puback_urgent(now=0.001)
    assert session.may_broker_wait(now=0.020)
    assert not session.may_broker_wait(now=0.001 + WINDOW_USED_S)


@pytest.mark.parametrize(
    ("again", "at", "may_wait"), [(19, 0.001, False), (20, RELEASED_S, False), (20, 0.001, True)]
)
def test_what_comes_later_or_is_less_was_not_held_back_by_a_window(
    again: int, at: float, *, may_wait: bool
) -> None:
    session = Session(settings(receive_maximum=2_000))
    subscribed(session)
    _acknowledge(session, 20)

    session.receive_data(b"".join(publish(each) for each in range(1, again + 1)), now=at)

    assert may_wait == session.may_broker_wait(now=at)


@pytest.mark.parametrize(("more", "may_wait"), [(500, False), (501, True)])
def test_the_broker_may_wait_where_a_quarter_of_the_receive_maximum_is_owed(
    more: int, *, may_wait: bool
) -> None:
    session = Session(settings(receive_maximum=2_000))
    subscribed(session)
    _acknowledge(session, 900)

    session.receive_data(b"".join(publish(each) for each in range(1, more + 1)), now=0.001)

    assert may_wait == session.may_broker_wait(now=0.001)
    assert not session.is_puback_urgent(now=0.001)


def test_a_new_connection_knows_nothing_of_the_window_of_the_last() -> None:
    session = Session(settings())
    subscribed(session)
    _acknowledge(session, 1)
    session.receive_data(publish(1), now=0.0)

    session.connect(now=0.0)

    assert not session.may_broker_wait(now=0.0)
