"""Canaries: what is sent when, what is ours and swallowed, and what being late means."""

import mqtt5
import pytest
from hypothesis import given, strategies as st

from bridge.mqtt.canary import AGAIN_S, PATIENCE_S, PERIOD_S, Canary
from bridge.mqtt.events import (
    CanariesTaken,
    CanaryMissed,
    CanaryRefused,
    CanaryReturned,
    Event,
    Received,
)
from bridge.mqtt.packets import PoisonPublish
from bridge.mqtt.session import Session
from tests.mqtt.given import connack, packets_in, publish, received, settings, suback

KEY = b"k" * 16
ROOMS = ("devices/+/telemetry", "machines/+/telemetry")


def canary(*filters: str, run: str = "run1", key: bytes = KEY) -> Canary:
    return Canary(filters, device_id="canary", key=key, run=run)


def session_with(*filters: str, now: float = 0.0, run: str = "run1", **fields: object) -> Session:
    session = Session(settings(topic_filters=filters), canary=canary(*filters, run=run))
    session.connect(now=now)
    session.receive_data(connack(**fields), now=now)
    session.data_to_send()
    return session


def published(session: Session) -> list[mqtt5.PublishPacket]:
    packets = packets_in(session.data_to_send())
    return [each for each in packets if isinstance(each, mqtt5.PublishPacket)]


def back(sent: mqtt5.PublishPacket, packet_id: int = 900) -> bytes:
    qos = mqtt5.QoS.AT_LEAST_ONCE
    return mqtt5.PublishPacket(sent.topic, sent.payload, qos=qos, packet_id=packet_id).write()


def puback(packet_id: int, code: int = 0) -> bytes:
    return mqtt5.PubAckPacket(packet_id, reason_code=mqtt5.PubAckReasonCode(code)).write()


def first_canary(session: Session, now: float = 0.0) -> mqtt5.PublishPacket:
    session.receive_data(suback(1), now=now)
    (sent,) = published(session)
    session.receive_data(puback(sent.packet_id or 0), now=now)
    return sent


def kinds(events: list[Event]) -> list[type]:
    return [type(each) for each in events]


# ---------------------------------------------------------------- sending


def test_after_suback_a_canary_goes_to_each_filter_in_the_name_of_its_device() -> None:
    session = session_with(*ROOMS)

    session.receive_data(suback(1, 1), now=1.0)

    sent = published(session)
    assert ["devices/canary/telemetry", "machines/canary/telemetry"] == [s.topic for s in sent]
    assert [mqtt5.QoS.AT_LEAST_ONCE] * 2 == [each.qos for each in sent]
    assert 4 == len({each.packet_id for each in sent} | {1, 2})


def test_a_filter_that_is_not_granted_gets_no_canary() -> None:
    session = session_with(*ROOMS)

    session.receive_data(suback(1, 135), now=1.0)

    assert ["devices/canary/telemetry"] == [each.topic for each in published(session)]


def test_a_broker_that_takes_one_publish_at_a_time_gets_one_at_a_time() -> None:
    session = session_with(*ROOMS, receive_max=1)
    session.receive_data(suback(1, 1), now=1.0)
    sent = [published(session)]  # The status is not acknowledged yet.

    for packet_id in (2, 16, 17):
        session.receive_data(puback(packet_id), now=1.0)
        sent.append(published(session))

    topics = [[each.topic for each in step] for step in sent]
    assert [[], ["devices/canary/telemetry"], ["machines/canary/telemetry"], []] == topics


def test_waiting_for_room_asks_for_no_timer_that_is_due_already() -> None:
    session = session_with(*ROOMS, receive_max=1)
    session.receive_data(suback(1, 1), now=1.0)

    due = session.next_timer()

    assert due is not None
    assert due > 1.0


def test_one_follows_in_a_minute_and_none_while_the_last_is_out() -> None:
    session = session_with(ROOMS[0])
    first = first_canary(session)
    session.receive_data(back(first), now=0.1)
    session.data_to_send()

    session.on_timer(now=PERIOD_S - 1)
    assert [] == published(session)
    session.on_timer(now=PERIOD_S)

    (second,) = published(session)
    assert second.payload != first.payload


def test_a_bridge_that_is_leaving_sends_no_more() -> None:
    session = session_with(ROOMS[0])
    session.receive_data(back(first_canary(session)), now=0.1)
    session.say_offline(now=1.0)
    session.data_to_send()

    assert [] == session.on_timer(now=PERIOD_S + 1)
    assert [] == published(session)


def test_a_canary_that_the_broker_refuses_says_nothing_about_reading() -> None:
    session = session_with(ROOMS[0])
    session.receive_data(suback(1), now=0.0)
    (sent,) = published(session)

    events = session.receive_data(puback(sent.packet_id or 0, 0x87), now=0.1)

    assert [CanaryRefused(ROOMS[0], 0x87, "not_authorized")] == events
    assert [] == session.on_timer(now=PATIENCE_S * 2)


# ---------------------------------------------------------------- coming back


def test_a_canary_is_swallowed_and_acknowledged_at_once_where_nothing_is_older() -> None:
    session = session_with(ROOMS[0])
    sent = first_canary(session)

    events = session.receive_data(back(sent, 900), now=0.5)

    assert [CanaryReturned(ROOMS[0], 0.5, is_recovered=False), CanariesTaken(1, 1)] == events
    assert [900] == [each.packet_id for each in packets_in(session.data_to_send())]


def test_the_puback_of_a_canary_waits_for_the_older_messages() -> None:
    session = session_with(ROOMS[0])
    sent = first_canary(session)

    events = session.receive_data(publish(7) + back(sent, 8) + publish(9), now=0.5)

    assert [7, 9] == [each.packet_id for each in received(events).packets]
    assert CanariesTaken(1, 0) in events
    first, last = received(events).receipts
    assert first is not None
    assert last is not None
    session.ledger.settle(last)
    assert 0 == session.acknowledge(now=0.6)
    session.ledger.settle(first)
    assert 3 == session.acknowledge(now=0.6)
    assert [7, 8, 9] == [each.packet_id for each in packets_in(session.data_to_send())]


@pytest.mark.parametrize(
    "payload",
    [
        b"{}",
        b'{"canary":"',
        b'{"canary":""}',
        b'{"canary":"run1.1.00000000000000000000000000000000"}',
        b'{"canary":"\xff.1.00"}',
        canary(ROOMS[0], key=b"x" * 16)._payload("devices/canary/telemetry", "run1.1"),  # noqa: SLF001
        canary(ROOMS[0])._payload("devices/other/telemetry", "run1.1"),  # noqa: SLF001
    ],
    ids=["telemetry", "cut", "no nonce", "made up", "not ASCII", "other key", "other topic"],
)
def test_what_has_no_nonce_of_ours_is_ordinary_telemetry_on_the_canarys_topic(
    payload: bytes,
) -> None:
    session = session_with(ROOMS[0])
    first_canary(session)
    qos = mqtt5.QoS.AT_LEAST_ONCE
    packet = mqtt5.PublishPacket("devices/canary/telemetry", payload, qos=qos, packet_id=5)

    events = session.receive_data(packet.write(), now=0.5)

    assert [Received] == kinds(events)
    assert payload == received(events).packets[0].payload


@given(st.binary(max_size=200))
def test_no_payload_can_break_the_recognition(payload: bytes) -> None:
    for sent in (payload, b'{"canary":"' + payload + b'"}'):
        packet = PoisonPublish(
            topic="devices/canary/telemetry",
            payload=sent,
            packet_id=1,
            is_too_large=False,
            detail="",
            payload_bytes=len(sent),
            payload_sha256="",
        )
        assert not canary(ROOMS[0]).take(packet, [], 0.0)


def test_a_canary_of_an_earlier_process_is_swallowed_and_proves_nothing() -> None:
    earlier = first_canary(session_with(ROOMS[0], run="run0"))
    session = session_with(ROOMS[0], session_present=True)
    first_canary(session)

    events = session.receive_data(back(earlier), now=0.5)

    assert [CanariesTaken(1, 1)] == events
    (missed,) = session.on_timer(now=PATIENCE_S)
    assert isinstance(missed, CanaryMissed)


def test_a_canary_of_the_connection_before_proves_nothing_about_this_one() -> None:
    session = session_with(ROOMS[0])
    earlier = first_canary(session)
    session.closed()
    session.connect(now=1.0)
    session.receive_data(connack(session_present=True), now=1.0)
    session.receive_data(suback(1), now=1.0)

    assert [CanariesTaken(1, 1)] == session.receive_data(back(earlier), now=1.5)


def test_a_canary_that_comes_twice_proves_once_and_is_acknowledged_twice() -> None:
    session = session_with(ROOMS[0])
    sent = first_canary(session)

    events = session.receive_data(back(sent, 900) + back(sent, 901), now=0.5)

    assert [CanaryReturned, CanariesTaken] == kinds(events)
    assert CanariesTaken(2, 2) in events


# ---------------------------------------------------------------- being late


def test_a_canary_that_does_not_come_back_makes_reading_suspect_once_until_one_does() -> None:
    session = session_with(ROOMS[0])
    first_canary(session)

    assert [] == session.on_timer(now=PATIENCE_S - 0.1)
    assert [CanaryMissed(ROOMS[0], PATIENCE_S, is_first=True)] == session.on_timer(now=PATIENCE_S)
    session.on_timer(now=PATIENCE_S + AGAIN_S)
    (second,) = published(session)
    session.receive_data(puback(second.packet_id or 0), now=PATIENCE_S + AGAIN_S)
    late = PATIENCE_S + AGAIN_S + PATIENCE_S
    assert [CanaryMissed(ROOMS[0], PATIENCE_S, is_first=False)] == session.on_timer(now=late)

    events = session.receive_data(back(second), now=late + 1)

    # It came after all: whoever delivers it lets us read.
    assert CanaryReturned(ROOMS[0], None, is_recovered=True) in events
    session.on_timer(now=late + AGAIN_S)
    assert [] == published(session)


def test_messages_that_come_meanwhile_excuse_it_since_it_may_lie_behind_them() -> None:
    session = session_with(ROOMS[0])
    first_canary(session)
    receipt = received(session.receive_data(publish(7), now=PATIENCE_S - 1)).receipts[0]
    assert receipt is not None
    session.ledger.settle(receipt)
    session.acknowledge(now=PATIENCE_S - 1)

    assert [] == session.on_timer(now=PATIENCE_S)
    assert [CanaryMissed] == kinds(session.on_timer(now=2 * PATIENCE_S - 1))


def test_a_message_not_yet_acknowledged_excuses_it_since_the_broker_may_wait_for_us() -> None:
    session = session_with(ROOMS[0])
    first_canary(session)
    session.receive_data(publish(7), now=0.5)

    assert [] == session.on_timer(now=10 * PATIENCE_S)


def test_a_paused_reader_never_suspects() -> None:
    session = session_with(ROOMS[0])
    first_canary(session)
    session.pause_reading()

    assert [] == session.on_timer(now=10 * PATIENCE_S)


def test_traffic_through_another_filter_is_no_excuse_once_a_later_canary_is_back() -> None:
    session = session_with(*ROOMS)
    session.receive_data(suback(1, 1), now=0.0)
    _forbidden, allowed = published(session)
    session.receive_data(puback(16) + puback(17) + back(allowed), now=1.0)
    session.receive_data(publish(7), now=PATIENCE_S)  # Never acknowledged, and no excuse.

    events = session.on_timer(now=PATIENCE_S + 1.0)

    assert [CanaryMissed(ROOMS[0], PATIENCE_S + 1.0, is_first=True)] == events


def test_a_suspicion_outlives_the_connection_and_ends_with_the_next_canary() -> None:
    session = session_with(ROOMS[0])
    first_canary(session)
    session.on_timer(now=PATIENCE_S)
    session.closed()
    session.connect(now=20.0)
    session.receive_data(connack(), now=20.0)
    session.data_to_send()
    sent = first_canary(session, now=20.0)

    events = session.receive_data(back(sent), now=20.5)

    assert CanaryReturned(ROOMS[0], 0.5, is_recovered=True) in events
