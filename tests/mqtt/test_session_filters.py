"""Filters that come and go while the session lives, and those that an earlier process left."""

import mqtt5

from bridge.mqtt.events import Event, SubscribedAll, SubscriptionRefused, Unsubscribed, Violated
from bridge.mqtt.session import CONNECT_TIMEOUT_S, Phase, Session
from tests.mqtt.given import connected, packets_in, publish, received, settings, suback

KEPT, GONE, NEW = "kept/+/t", "gone/+/t", "new/+/t"


def unsuback(*codes: int) -> bytes:
    return mqtt5.UnsubAckPacket(4, [mqtt5.UnsubAckReasonCode(code) for code in codes]).write()


def asked_by(session: Session) -> tuple[list[str], list[str]]:
    """Return what waits to be subscribed to, and to be left."""
    packets = packets_in(session.data_to_send())
    subscribed = [
        each.pattern
        for packet in packets
        if isinstance(packet, mqtt5.SubscribePacket)
        for each in packet.topic_filters
        if not each.pattern.startswith("$SYS/")
    ]
    left = [
        each
        for packet in packets
        if isinstance(packet, mqtt5.UnsubscribePacket)
        for each in packet.patterns
    ]
    return subscribed, left


def given(*filters: str, left: tuple[str, ...] = (), session_present: bool = True) -> Session:
    session = Session(settings(topic_filters=filters), left_filters=left)
    connected(session, session_present=session_present)
    return session


def subscribed(*filters: str) -> Session:
    session = given(*filters)
    session.receive_data(suback(*[1] * len(filters)), now=0.0)
    session.data_to_send()
    return session


def test_what_came_is_subscribed_to_and_what_went_is_left() -> None:
    session = subscribed(KEPT, GONE)

    session.change_filters((KEPT, NEW), now=1.0)

    assert ([NEW], [GONE]) == asked_by(session)
    assert Phase.CONNECTED is session.phase, "not all that is wanted is granted"
    events: list[Event] = [
        *session.receive_data(unsuback(0), now=1.0),
        *session.receive_data(suback(1), now=1.0),
    ]
    assert [Unsubscribed((GONE,), ()), SubscribedAll((KEPT, NEW))] == events
    assert "SUBSCRIBED" == session.phase.name


def test_to_leave_one_filter_keeps_the_session_subscribed() -> None:
    session = subscribed(KEPT, GONE)

    session.change_filters((KEPT,), now=1.0)

    assert ([], [GONE]) == asked_by(session)
    assert Phase.SUBSCRIBED is session.phase
    assert [Unsubscribed((GONE,), ()), SubscribedAll((KEPT,))] == session.receive_data(
        unsuback(0x11), now=1.0
    )


def test_messages_of_a_filter_that_went_are_still_taken() -> None:
    session = subscribed(KEPT)
    session.change_filters((NEW,), now=1.0)

    assert 1 == len(received(session.receive_data(publish(7), now=1.0)).packets)


def test_only_one_subscribe_is_on_its_way() -> None:
    session = given(KEPT)
    session.data_to_send()

    session.change_filters((KEPT, NEW), now=0.5)

    assert ([], []) == asked_by(session)
    session.receive_data(suback(1), now=1.0)
    assert ([NEW], []) == asked_by(session)
    assert Phase.CONNECTED is session.phase
    assert [SubscribedAll((KEPT, NEW))] == session.receive_data(suback(1), now=1.0)


def test_what_went_while_it_was_asked_for_is_not_granted() -> None:
    session = given(GONE)
    session.data_to_send()

    session.change_filters((NEW,), now=0.5)

    assert ([], [GONE]) == asked_by(session)
    assert [] == session.receive_data(suback(1), now=1.0)
    assert ([NEW], []) == asked_by(session)
    assert {} == session.subscriptions.granted


def test_a_suback_that_does_not_come_is_missed_after_a_change_too() -> None:
    session = subscribed(KEPT)

    session.change_filters((KEPT, NEW), now=5.0)

    assert 5.0 + CONNECT_TIMEOUT_S == session.next_timer()


def test_what_an_earlier_process_left_is_left_on_a_session_that_was_kept() -> None:
    session = given(KEPT, left=(KEPT, GONE))

    assert ([KEPT], [GONE]) == asked_by(session)
    session.receive_data(suback(1), now=0.0)
    session.receive_data(unsuback(0), now=0.0)
    connected(session, session_present=True)
    assert ([KEPT], []) == asked_by(session), "once left, it is left"


def test_a_new_session_has_nothing_to_leave() -> None:
    assert ([KEPT], []) == asked_by(given(KEPT, left=(GONE,), session_present=False))


def test_an_unsubscribe_that_the_connection_took_with_it_is_sent_again() -> None:
    session = subscribed(KEPT, GONE)
    session.change_filters((KEPT,), now=1.0)
    session.data_to_send()
    session.closed()

    connected(session, session_present=True)

    assert ([KEPT], [GONE]) == asked_by(session)


def test_a_change_without_a_connection_is_made_on_the_next() -> None:
    session = subscribed(KEPT, GONE)
    session.closed()

    session.change_filters((KEPT, NEW), now=1.0)

    assert b"" == session.data_to_send()
    connected(session, session_present=True)
    assert ([KEPT, NEW], [GONE]) == asked_by(session)


def test_a_filter_that_comes_back_before_it_was_left_is_subscribed_to_again() -> None:
    session = subscribed(KEPT, GONE)
    session.change_filters((KEPT,), now=1.0)
    session.change_filters((KEPT, GONE), now=1.0)

    # In this order, and so does the broker do it.
    assert ([GONE], [GONE]) == asked_by(session)
    session.receive_data(unsuback(0), now=1.0)
    assert [SubscribedAll((KEPT, GONE))] == session.receive_data(suback(1), now=1.0)


def test_a_broker_that_does_not_let_go_is_told_and_not_asked_again() -> None:
    session = subscribed(KEPT, GONE)
    session.change_filters((KEPT,), now=1.0)
    session.data_to_send()

    events = session.receive_data(unsuback(0x87), now=1.0)

    assert Unsubscribed((GONE,), (GONE,)) == events[0]
    assert ([], []) == asked_by(session)


def test_a_refused_filter_that_went_is_not_asked_for_again() -> None:
    session = given(KEPT, GONE)
    assert [SubscriptionRefused(GONE, 0x87, "not_authorized")] == session.receive_data(
        suback(1, 0x87), now=0.0
    )

    session.change_filters((KEPT,), now=1.0)
    session.data_to_send()
    session.on_timer(now=1_000.0)

    assert ([], []) == asked_by(session)


def test_an_unsuback_that_nobody_asked_for_ends_the_connection() -> None:
    (event,) = subscribed(KEPT).receive_data(unsuback(0), now=0.0)

    assert isinstance(event, Violated)
