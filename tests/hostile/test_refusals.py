"""Brokers that refuse, that send the bridge away, that are none, or that grant less than asked."""

import asyncio
import itertools

import mqtt5

from tests.hostile.bench import FIRST_DELAY_MAX_S, PATIENCE_S, Bench, HostileBridge
from tests.support.eventually import eventually
from tests.support.hostile_broker import (
    DEADLINE_S,
    HostileBroker,
    connack,
    disconnect,
    string,
    suback,
)

REASON_STRING = b"\x1f" + string("because")
SERVER_REFERENCE = b"\x1c" + string("127.0.0.1:1")
MAXIMUM_QOS_0 = b"\x24\x00"
RETAIN_NOT_AVAILABLE = b"\x25\x00"

CONNACKS = {
    "server_unavailable": (0x88, False),
    "bad_user_name_or_password": (0x86, True),
    "not_authorized": (0x87, True),
    "server_busy": (0x89, True),
    "banned": (0x8A, True),
    "server_moved": (0x9D, True),
}


async def test_a_refusal_in_connack_is_logged_by_name_with_its_remedy_and_met_with_patience(
    bench: Bench,
) -> None:
    async def refuse(name: str, reason_code: int, *, is_patience_due: bool) -> None:
        broker = await bench.broker()
        bridge = bench.bridge(broker)
        properties = SERVER_REFERENCE if name == "server_moved" else REASON_STRING
        connection = await broker.next_connection()
        await connection.greet(connack(reason_code, properties=properties))
        await connection.wait_ended()
        event = await bridge.event("mqtt_connection_refused", reason=name)

        assert reason_code == event["reason_code"]
        assert ("127.0.0.1:1" if name == "server_moved" else "because") == event["detail"]
        assert event["remedy"]
        if is_patience_due:
            assert event["retry_in_s"] >= PATIENCE_S
        else:
            assert event["retry_in_s"] <= FIRST_DELAY_MAX_S
        answer = await asyncio.to_thread(bridge.get, "/health/ready")
        assert answer is not None
        assert (503, name) == (answer.status, answer.json()["checks"]["mqtt"]["detail"])
        assert [mqtt5.ConnectPacket] == [type(each) for each in connection.packets]

    await asyncio.gather(
        *(
            refuse(name, code, is_patience_due=patience)
            for name, (code, patience) in CONNACKS.items()
        )
    )


async def test_a_broker_without_mqtt_5_is_refused_in_a_sentence_and_with_patience(
    bench: Bench,
) -> None:
    async def refuse(answer: bytes, saying: str) -> None:
        broker = await bench.broker()
        bridge = bench.bridge(broker)
        await (await broker.next_connection()).greet(answer)
        event = await bridge.event("mqtt_version_refused")

        assert saying in event["remedy"]
        assert "use an MQTT broker with MQTT 5" in event["remedy"]
        assert event["retry_in_s"] >= PATIENCE_S

    await asyncio.gather(
        refuse(connack(0x84), "0x84"),
        refuse(b"\x20\x02\x00\x01", "answered as MQTT 3.1.1, return code 1"),
    )


async def test_a_disconnect_of_the_broker_is_logged_with_its_reason_and_the_right_back_off(
    bench: Bench,
) -> None:
    async def send_away(
        reason_code: int, event_name: str, fields: dict[str, str], *, is_patience_due: bool
    ) -> None:
        broker = await bench.broker()
        bridge = bench.bridge(broker)
        connection = await broker.accept()
        await bridge.event("mqtt_subscribed")
        connection.say(disconnect(reason_code, properties=SERVER_REFERENCE))
        await connection.wait_ended()
        event = await bridge.event(event_name, count=1, **fields)

        if is_patience_due:
            assert event["retry_in_s"] >= PATIENCE_S
        else:
            assert event["retry_in_s"] <= FIRST_DELAY_MAX_S
            await broker.accept()
        assert [] == connection.all_of(mqtt5.DisconnectPacket)

    await asyncio.gather(
        send_away(
            0x8B,
            "mqtt_disconnected",
            {"reason": "server_shutting_down", "detail": "127.0.0.1:1"},
            is_patience_due=False,
        ),
        send_away(0x8E, "session_taken_over", {}, is_patience_due=True),
        send_away(
            0x98, "mqtt_disconnected", {"reason": "administrative_action"}, is_patience_due=True
        ),
        send_away(
            0x9C,
            "mqtt_disconnected",
            {"reason": "use_another_server", "detail": "127.0.0.1:1"},
            is_patience_due=True,
        ),
    )


async def test_what_does_not_answer_as_an_mqtt_broker_does_is_named_and_never_hurried(
    bench: Bench,
) -> None:
    await asyncio.gather(
        _never_answers(bench), _never_grants(bench), _speaks_http(bench), _closes_at_once(bench)
    )


async def _never_answers(bench: Bench) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker)
    first = await broker.next_connection()
    await first.wait_ended()
    await broker.accept()
    event = await bridge.event("mqtt_disconnected", reason="connect_timeout")

    assert "no CONNACK within 10 s" == event["detail"]
    assert [mqtt5.ConnectPacket] == [type(each) for each in first.packets]


async def _never_grants(bench: Bench) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker)
    first = await broker.next_connection()
    await first.greet()
    await first.wait_ended()
    await broker.accept()
    event = await bridge.event("mqtt_disconnected", reason="connect_timeout")

    assert "no SUBACK within 10 s" == event["detail"]


async def _speaks_http(bench: Bench) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker)
    connection = await broker.next_connection()
    await connection.wait_for(mqtt5.ConnectPacket)
    connection.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    event = await bridge.event("mqtt_connection_refused", reason="not_mqtt")

    assert "HTTP/1.1 400" in event["detail"]
    assert event["remedy"]
    assert event["retry_in_s"] >= PATIENCE_S


async def _closes_at_once(bench: Bench) -> None:
    attempts = 4
    broker = await bench.broker()
    bridge = bench.bridge(broker)
    connections = []
    for _ in range(attempts):
        connections.append(await broker.next_connection())
        connections[-1].close()
    await bridge.event("mqtt_disconnected", reason="network", count=attempts)
    delays = [each["retry_in_s"] for each in bridge.events("mqtt_disconnected", reason="network")]

    assert min(delays) >= 0.25
    for delay_s, (before, after) in zip(delays, itertools.pairwise(connections), strict=False):
        assert before.closed_s is not None
        # Logged to two places. A loaded machine makes the gap longer, never shorter.
        assert after.accepted_s - before.closed_s >= delay_s - 0.006


async def _not_ready_because(bridge: HostileBridge, words: str) -> None:
    """Wait until /health/ready answers 503 with these words about the MQTT side."""

    def detail() -> str:
        answer = bridge.wait_not_ready()
        return str(answer.json()["checks"]["mqtt"]["detail"])

    await asyncio.to_thread(eventually, detail, lambda said: words in said, what=words)


async def test_a_filter_refused_or_granted_qos_0_is_said_and_the_bridge_is_not_ready(
    bench: Bench,
) -> None:
    broker = await bench.broker()
    routes = [("devices/+/telemetry", "a"), ("other/+/telemetry", "b"), ("third/+/telemetry", "c")]
    bridge = bench.bridge(broker, routes=routes)
    connection = await broker.next_connection()
    await connection.greet()
    subscribe = await connection.wait_for(mqtt5.SubscribePacket)
    connection.say(suback(subscribe.packet_id, (0x87, 0x00, 0x01)))

    refused = await bridge.event("mqtt_subscription_refused", filter="devices/+/telemetry")
    lowered = await bridge.event("mqtt_subscription_refused", filter="other/+/telemetry")
    await _not_ready_because(bridge, "other/+/telemetry")

    assert ("not_authorized", 0x87) == (refused["reason"], refused["reason_code"])
    assert ("granted_qos_at_most_once", 0x00) == (lowered["reason"], lowered["reason_code"])
    assert refused["remedy"]
    assert [] == bridge.events("mqtt_subscribed")
    assert [] == bridge.events("bridge_ready")


async def test_every_connack_property_is_honoured_or_reported_and_a_server_reference_never_followed(
    bench: Bench,
) -> None:
    elsewhere = await bench.broker()
    broker = await bench.broker()
    bridge = bench.bridge(broker)
    reference = f"127.0.0.1:{elsewhere.port}"

    first = await broker.accept(
        connack(
            properties=b"\x11"
            + (60).to_bytes(4, "big")  # Session Expiry Interval
            + b"\x13\x00\x02"  # Server Keep Alive
            + b"\x1c"
            + string(reference)
            + RETAIN_NOT_AVAILABLE
            + b"\x28\x00"  # Wildcard Subscription Available
            + b"\x21\x00\x01"  # Receive Maximum
        )
    )
    expected = {
        "session_expiry_interval": ("604800", "60"),
        "server_keep_alive": ("30", "2"),
        "server_reference": ("", reference),
        "retain_available": ("1", "0"),
        "wildcard_subscription_available": ("1", "0"),
    }
    reported = {
        name: await bridge.event("mqtt_property_reported", property=name) for name in expected
    }
    online = await first.wait_for(mqtt5.PublishPacket)
    await bridge.ready()
    first.cut()
    second = await broker.accept(connack(properties=MAXIMUM_QOS_0))
    await bridge.event("mqtt_subscribed", count=2)
    await _not_ready_because(bridge, "maximum_qos 0: ")

    assert expected == {name: (each["asked"], each["given"]) for name, each in reported.items()}
    assert all(each["consequence"] for each in reported.values())
    assert not online.retain
    (connect,) = second.all_of(mqtt5.ConnectPacket)
    assert connect.will is not None
    assert not connect.will.retain
    assert [mqtt5.QoS.AT_MOST_ONCE] == [each.qos for each in second.all_of(mqtt5.PublishPacket)]
    assert [] == elsewhere.connections


async def test_no_more_is_published_at_once_than_the_receive_maximum_of_the_broker_allows(
    bench: Bench,
) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker)
    connection = await broker.next_connection()
    await connection.greet(connack(properties=b"\x21\x00\x01"))
    subscribe = await connection.wait_for(mqtt5.SubscribePacket)
    connection.say(suback(subscribe.packet_id))
    await bridge.ready()

    exit_code = await bridge.stopped()  # With the PUBACK of `online` still missing.
    await connection.wait_ended()

    promised = [each.qos for each in connection.all_of(mqtt5.PublishPacket)]
    assert [b"online", b"offline"] == connection.statuses
    assert [mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.AT_MOST_ONCE] == promised
    assert 0 == exit_code


async def test_a_broker_that_refuses_a_retained_will_gets_none_from_then_on(bench: Bench) -> None:
    await asyncio.gather(_refuse_retain(bench), _refuse_retain(bench, refuses_status=True))


async def _refuse_retain(bench: Bench, *, refuses_status: bool = False) -> None:
    """Refuse the retained will, and the retained status too where so asked."""
    broker = await bench.broker()
    bridge = bench.bridge(broker)

    wills = [await _will_of(broker, connack(0x9A))]
    if refuses_status:
        connection = await broker.next_connection()
        wills.append(_retain_of(await connection.greet()))
        await connection.wait_for(mqtt5.PublishPacket)
        connection.say(disconnect(0x9A))
    connection = await broker.accept()
    wills.append(_retain_of(await connection.wait_for(mqtt5.ConnectPacket)))
    online = await connection.wait_for(mqtt5.PublishPacket)
    await bridge.event("mqtt_subscribed")
    connection.cut()
    wills.append(await _will_of(broker, connack()))

    assert not online.retain
    assert [True, *[False] * (len(wills) - 1)] == wills


async def _will_of(broker: HostileBroker, answer: bytes) -> bool:
    async with asyncio.timeout(DEADLINE_S):
        connection = await broker.next_connection()
        return _retain_of(await connection.greet(answer))


def _retain_of(connect: mqtt5.ConnectPacket) -> bool:
    assert connect.will is not None
    return connect.will.retain
