"""Connecting: CONNECT, CONNACK with its properties, SUBSCRIBE, and every kind of refusal."""

from typing import Any

import mqtt5
import pytest

from bridge.mqtt.events import (
    Connected,
    Refused,
    SubscribedAll,
    SubscriptionRefused,
    TimedOut,
    VersionRefused,
)
from bridge.mqtt.session import (
    CONNECT_TIMEOUT_S,
    Phase,
    Session,
)
from bridge.mqtt.subscriptions import RESUBSCRIBE_S
from tests.mqtt.given import FILTER, connack, connected, packets_in, publish, settings, suback


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


def test_a_suback_behind_a_backlog_is_not_missed_while_messages_come() -> None:
    session = Session(settings())
    connected(session)

    session.receive_data(publish(1), now=0.9 * CONNECT_TIMEOUT_S)

    assert [] == session.on_timer(now=1.5 * CONNECT_TIMEOUT_S)
    assert [TimedOut("SUBACK", CONNECT_TIMEOUT_S)] == session.on_timer(now=2 * CONNECT_TIMEOUT_S)


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
    session.data_to_send()
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
