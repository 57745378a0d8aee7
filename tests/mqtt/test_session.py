"""The session as a state machine: bytes and time in, facts and bytes out."""

from typing import Any

import mqtt5
import pytest

from bridge.mqtt.events import (
    Connected,
    Disconnected,
    Event,
    Received,
    Refused,
    SubscribedAll,
    SubscriptionRefused,
    TimedOut,
    VersionRefused,
    Violated,
)
from bridge.mqtt.session import (
    CONNECT_TIMEOUT_S,
    RESUBSCRIBE_S,
    Phase,
    Session,
    SessionSettings,
)

FILTER = "devices/+/telemetry"


def settings(**changes: Any) -> SessionSettings:
    fields: dict[str, Any] = {
        "client_id": "b1",
        "topic_filters": (FILTER,),
        "session_expiry_s": 604_800,
        "receive_maximum": 2_000,
        "keep_alive_s": 30,
        "packet_bytes_max": 1 << 20,
    }
    return SessionSettings(**(fields | changes))


def packets_in(data: bytes) -> list[Any]:
    found: list[Any] = []
    while data:
        packet, size = mqtt5.read(memoryview(data))
        found.append(packet)
        data = data[size:]
    return found


def connack(**fields: Any) -> bytes:
    return mqtt5.ConnAckPacket(**fields).write()


def suback(*codes: int) -> bytes:
    return mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(code) for code in codes]).write()


def publish(packet_id: int | None = 1, payload: bytes = b"x") -> bytes:
    qos = mqtt5.QoS.AT_MOST_ONCE if packet_id is None else mqtt5.QoS.AT_LEAST_ONCE
    return mqtt5.PublishPacket("devices/a/telemetry", payload, qos=qos, packet_id=packet_id).write()


def connected(session: Session, *, now: float = 0.0, **fields: Any) -> list[Event]:
    session.connect(now=now)
    session.data_to_send()
    return session.receive_data(connack(**fields), now=now)


def subscribed(session: Session, *, now: float = 0.0, **fields: Any) -> None:
    connected(session, now=now, **fields)
    session.receive_data(suback(1), now=now)
    session.data_to_send()


def received(events: list[Event]) -> Received:
    (found,) = [event for event in events if isinstance(event, Received)]
    return found


# ---------------------------------------------------------------- connecting


def test_connect_asks_for_the_old_session_and_leaves_a_will() -> None:
    session = Session(settings(username="u"))

    session.connect(now=0.0, password="secret")

    (packet,) = packets_in(session.data_to_send())
    assert ("b1", False, 604_800, 2_000, 30) == (
        packet.client_id,
        packet.clean_start,
        packet.session_expiry_interval,
        packet.receive_max,
        packet.keep_alive,
    )
    assert packet.max_packet_size is None, "the broker would drop larger messages unsaid"
    assert ("u", b"secret") == (packet.username, packet.password)
    assert ("bridge/b1/status", b"offline", True, 1) == (
        packet.will.topic,
        packet.will.payload,
        packet.will.retain,
        int(packet.will.qos),
    )


@pytest.mark.parametrize("session_present", [True, False])
def test_every_connack_is_followed_by_subscribe_and_online(session_present: bool) -> None:  # noqa: FBT001
    session = Session(settings())

    events = connected(session, session_present=session_present)

    assert [session_present] == [e.session_present for e in events if isinstance(e, Connected)]
    subscribe, status = packets_in(session.data_to_send())
    (topic_filter,) = subscribe.topic_filters
    assert (FILTER, 1, mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS) == (
        topic_filter.pattern,
        int(topic_filter.max_qos),
        topic_filter.retain_handling,
    )
    assert ("bridge/b1/status", b"online", True, 1) == (
        status.topic,
        status.payload,
        status.retain,
        int(status.qos),
    )


def test_granted_qos_1_on_every_filter_makes_the_session_subscribed() -> None:
    session = Session(settings(topic_filters=("a/+", "b/+")))
    connected(session)

    events = session.receive_data(suback(1, 1), now=0.0)

    assert [SubscribedAll(("a/+", "b/+"))] == events
    assert Phase.SUBSCRIBED is session.phase


@pytest.mark.parametrize(
    ("code", "reason"), [(0x87, "not_authorized"), (0, "granted_qos_at_most_once")]
)
def test_a_filter_refused_or_granted_less_is_reported_and_asked_for_again_alone(
    code: int, reason: str
) -> None:
    session = Session(settings(topic_filters=("a/+", "b/+")))
    connected(session)
    session.data_to_send()

    events = session.receive_data(suback(1, code), now=5.0)

    assert [SubscriptionRefused("b/+", code, reason)] == events
    assert Phase.CONNECTED is session.phase
    session.on_timer(now=5.0 + RESUBSCRIBE_S)
    subscribe = next(
        packet
        for packet in packets_in(session.data_to_send())
        if isinstance(packet, mqtt5.SubscribePacket)
    )
    assert ["b/+"] == [each.pattern for each in subscribe.topic_filters]
    assert [SubscribedAll(("a/+", "b/+"))] == session.receive_data(suback(1), now=40.0)


@pytest.mark.parametrize(
    ("code", "reason", "is_patience_due"),
    [
        (mqtt5.ConnAckReasonCode.NOT_AUTHORIZED, "not_authorized", True),
        (mqtt5.ConnAckReasonCode.BANNED, "banned", True),
        (mqtt5.ConnAckReasonCode.SERVER_BUSY, "server_busy", True),
        (mqtt5.ConnAckReasonCode.SERVER_UNAVAILABLE, "server_unavailable", False),
    ],
)
def test_a_refusal_is_named_and_some_ask_for_patience(
    code: mqtt5.ConnAckReasonCode, reason: str, *, is_patience_due: bool
) -> None:
    session = Session(settings())

    (event,) = connected(session, reason_code=code, reason_str="why")

    assert Refused(int(code), reason, "why", is_patience_due) == event


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"\x20\x02\x00\x01", id="a 3.1.1 CONNACK"),
        pytest.param(
            connack(reason_code=mqtt5.ConnAckReasonCode.UNSUPPORTED_PROTOCOL_VERSION), id="0x84"
        ),
    ],
)
def test_a_broker_without_mqtt_5_is_recognised(answer: bytes) -> None:
    session = Session(settings())
    session.connect(now=0.0)

    (event,) = session.receive_data(answer, now=0.0)

    assert isinstance(event, VersionRefused)


def test_a_peer_that_is_no_mqtt_broker_is_recognised_by_its_first_byte() -> None:
    session = Session(settings())
    session.connect(now=0.0)

    (event,) = session.receive_data(b"HTTP/1.1 400 Bad Request\r\n\r\n", now=0.0)

    assert isinstance(event, Refused)
    assert "not_mqtt" == event.reason
    assert "HTTP/1.1" in event.detail


def test_a_connack_that_never_comes_is_given_up() -> None:
    session = Session(settings())
    session.connect(now=100.0)

    assert 100.0 + CONNECT_TIMEOUT_S == session.next_timer()
    assert [TimedOut("CONNACK", CONNECT_TIMEOUT_S)] == session.on_timer(now=110.0)


def test_a_suback_that_never_comes_is_given_up() -> None:
    session = Session(settings())
    connected(session, now=100.0)

    assert [TimedOut("SUBACK", CONNECT_TIMEOUT_S)] == session.on_timer(now=110.0)


# ---------------------------------------------------------------- CONNACK properties


@pytest.mark.parametrize(
    ("fields", "name", "is_fatal_to_promise"),
    [
        ({"server_keep_alive": 5}, "server_keep_alive", False),
        ({"session_expiry_interval": 60}, "session_expiry_interval", False),
        ({"max_qos": mqtt5.QoS.AT_MOST_ONCE}, "maximum_qos", True),
        ({"retain_available": False}, "retain_available", False),
        ({"wildcard_subscription_available": False}, "wildcard_subscription_available", False),
        ({"assigned_client_id": "other"}, "assigned_client_identifier", True),
        ({"server_reference": "elsewhere:1883"}, "server_reference", False),
    ],
    ids=str,
)
def test_each_connack_property_that_changes_something_is_reported(
    fields: dict[str, Any], name: str, *, is_fatal_to_promise: bool
) -> None:
    session = Session(settings())

    events = connected(session, **fields)

    (event,) = [each for each in events if isinstance(each, Connected)]
    assert [(name, is_fatal_to_promise)] == [
        (each.name, each.is_fatal_to_promise) for each in event.findings
    ]
    assert (not is_fatal_to_promise) == session.is_promise_kept


def test_the_keep_alive_of_the_broker_replaces_ours() -> None:
    session = Session(settings())
    connected(session, server_keep_alive=4)
    session.receive_data(suback(1), now=0.0)
    session.data_to_send()

    session.on_timer(now=3.0)

    assert [mqtt5.PingReqPacket] == [type(each) for each in packets_in(session.data_to_send())]


def test_a_broker_that_refuses_the_retained_will_gets_one_without() -> None:
    session = Session(settings())
    connected(session, reason_code=mqtt5.ConnAckReasonCode.RETAIN_NOT_SUPPORTED)

    session.connect(now=1.0)

    assert not packets_in(session.data_to_send())[0].will.retain


def test_where_retain_is_not_available_the_status_goes_without() -> None:
    session = Session(settings())

    connected(session, retain_available=False)

    assert not packets_in(session.data_to_send())[1].retain


def test_a_session_that_this_process_had_and_the_broker_lost_is_reported() -> None:
    session = Session(settings())
    first = connected(session)
    session.closed()

    second = connected(session, session_present=False)

    assert [False, True] == [
        each.is_session_lost for each in first + second if isinstance(each, Connected)
    ]


# ---------------------------------------------------------------- messages


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
