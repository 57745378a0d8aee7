"""Sessions that are gone, counts of drops, canaries: said, recorded beside the telemetry."""

import json
import signal
from collections.abc import Callable
from typing import Any

import mqtt5

from tests.hostile.bench import Bench, HostileBridge, good
from tests.support.eventually import eventually_async
from tests.support.hostile_broker import (
    BrokerConnection,
    connack,
    puback,
    publish,
    publish_qos0,
    suback,
)
from tests.support.in_process_kafka import InProcessKafka

MakeKafka = Callable[[int], InProcessKafka]
DROPPED = "$SYS/broker/publish/messages/dropped"
TOPIC_AUTHORIZATION_FAILED = 29


async def gaps(bench: Bench, count: int) -> list[dict[str, Any]]:
    records = await bench.records(count, kafka_topic=bench.gap_topic)
    assert {b"the-bridge"} == {each.key for each in records}
    return [json.loads(each.value or b"") for each in records]


async def dead(bridge: HostileBridge) -> None:
    """SIGKILL: nothing is written any more."""
    bridge.send_signal(signal.SIGKILL)
    assert -signal.SIGKILL == bridge.wait()


async def canary_on(connection: BrokerConnection, count: int = 1) -> mqtt5.PublishPacket:
    return await connection.wait_for(
        mqtt5.PublishPacket, count=count, where=lambda each: each.payload.startswith(b'{"canary"')
    )


async def test_a_session_gone_at_the_reconnect_is_subscribed_again_counted_and_recorded(
    bench: Bench,
) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker, client_id="the-bridge")
    first = await broker.accept()
    await bridge.ready()
    assert 0 == await bridge.sample("bridge_gaps_total")
    first.cut()

    second = await broker.accept(connack(session_present=False))
    second.say(good(1))

    assert [1] == await second.wait_acknowledged(1)
    lost = await bridge.event("session_lost")
    assert ("session_lost", "the-bridge") == (lost["cause"], lost["client_id"])
    assert 1 == await bridge.sample("bridge_gaps_total", cause="session_lost")
    (gap,) = await gaps(bench, 1)
    assert ("session_lost", "the-bridge", "devices/+/telemetry", "session_lost") == (
        gap["type"],
        gap["client_id"],
        gap["filter"],
        gap["cause"],
    )
    assert gap["from"] < gap["to"]
    await bridge.ready()


async def test_after_a_kill_the_state_directory_tells_a_lost_session_from_a_first_start(
    bench: Bench,
) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker, client_id="the-bridge")
    await broker.accept()
    await bridge.event("session_started")
    memory = bridge.directory / "state" / "session.json"
    await eventually_async(
        lambda: memory.exists() and json.loads(memory.read_bytes())["topic_filters"],
        what="the session is remembered with its filters",
    )
    assert [] == bridge.events("session_lost")

    await dead(bridge)
    bridge.start()
    await broker.accept(connack(session_present=False))
    assert (await bridge.event("session_lost"))["was_away_s"] >= 0
    await bridge.event("mqtt_subscribed", count=2)
    # A record that is owed at a stop is sent again: here it shall be there once.
    await gaps(bench, 1)
    await eventually_async(lambda: [] == json.loads(memory.read_bytes())["owed_gaps"])
    assert 0 == await bridge.stopped()
    remembered = json.loads(memory.read_bytes())
    remembered["last_connected_at"] -= 10 * 604_800
    memory.write_text(json.dumps(remembered))
    bridge.start()
    await broker.accept(connack(session_present=False))

    causes = [each["cause"] for each in await gaps(bench, 2)]
    assert ["session_lost", "session_expired"] == causes
    assert 1 == len(bridge.events("session_started"))


async def test_a_gap_record_that_kafka_refuses_holds_neither_pubacks_nor_readiness(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    broker = await bench.broker()
    kafka = make_kafka(1)
    bridge = bench.bridge(broker, client_id="the-bridge", kafka=kafka)
    first = await broker.accept()
    await bridge.ready()
    kafka.fail_produce([TOPIC_AUTHORIZATION_FAILED])

    first.cut()
    second = await broker.accept(connack(session_present=False))
    held = await bridge.event("gap_record_held")
    second.say(good(1))

    assert [1] == await second.wait_acknowledged(1)
    assert bench.gap_topic == held["kafka_topic"]
    await bridge.ready()
    assert [] == bridge.events("kafka_topic_held")
    records = await bench.records(1, kafka_topic=bench.gap_topic, kafka=kafka)
    assert [b"the-bridge"] == [each.key for each in records]


async def test_drops_that_the_broker_counts_are_told_and_are_no_telemetry(bench: Bench) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker, client_id="the-bridge")
    connection = await broker.accept()
    asked = await connection.wait_for(mqtt5.SubscribePacket, count=2)
    assert [DROPPED] == [each.pattern for each in asked.topic_filters]

    connection.say(suback(asked.packet_id, [0]))
    for value in (b"40", b"40", b"43", b"0", b"2"):
        connection.say(publish_qos0(DROPPED, value))
    connection.say(good(1))

    assert [1] == await connection.wait_acknowledged(1)
    assert [3, 2] == [each["dropped"] for each in await gaps(bench, 2)]
    assert 2 == len(bridge.events("broker_dropped_messages"))
    assert 1 == len(bridge.events("broker_drop_count_reset"))
    assert 5 == await bridge.sample("bridge_mqtt_broker_dropped_total")
    assert 0 == await bridge.sample("bridge_messages_received_qos0_total")
    assert 1 == await bridge.sample("bridge_messages_received_total")
    assert 1 == len(await bench.records(1))
    assert [] == bridge.events("mqtt_qos0_received")


async def test_a_refused_count_of_drops_is_no_failure_of_readiness(bench: Bench) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker)
    connection = await broker.accept()
    asked = await connection.wait_for(mqtt5.SubscribePacket, count=2)

    connection.say(suback(asked.packet_id, [0x87]))

    assert "not_authorized" == (await bridge.event("broker_drops_unreadable"))["reason"]
    await bridge.ready()


async def test_a_canary_is_swallowed_in_its_turn_and_never_gets_to_kafka(bench: Bench) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker, client_id="the-bridge", canary_device_id="device-1")
    first = await broker.accept()
    sent = await canary_on(first)
    assert "devices/device-1/telemetry" == sent.topic
    first.say(puback(sent.packet_id or 0))

    # Beside it the same topic carries telemetry, and what only looks like a canary.
    forged = publish(sent.topic, b'{"canary":"00.1.00"}', packet_id=12)
    first.say(good(10) + publish(sent.topic, sent.payload, packet_id=11) + forged)

    assert [10, 11, 12] == await first.wait_acknowledged(3)
    await bridge.reaches(1, "bridge_canaries_total", outcome="returned")
    assert 1 == await bridge.sample("bridge_canaries_received_total")
    assert 2 == await bridge.sample("bridge_messages_received_total")
    assert 0 == await bridge.sample("bridge_conservation_residue")
    letters = await bench.records(1, kafka_topic=bench.dead_letter_topic)
    assert [b'{"canary":"00.1.00"}'] == [each.value for each in letters]
    assert 1 == len(await bench.records(1))

    # What an earlier process left in the session is known too, by the key in the state directory.
    await dead(bridge)
    bridge.start()
    second = await broker.accept(connack(session_present=True))
    assert sent.payload != (await canary_on(second)).payload
    second.say(publish(sent.topic, sent.payload, packet_id=11) + good(13))

    assert [11, 13] == await second.wait_acknowledged(2)
    await bridge.reaches(1, "bridge_canaries_received_total")
    assert 0 == await bridge.sample("bridge_canaries_total", outcome="returned")
    assert 1 == len(await bench.records(1, kafka_topic=bench.dead_letter_topic))
    assert 2 == len(await bench.records(2))


async def test_a_canary_that_may_not_be_published_is_told_and_readiness_stays(
    bench: Bench,
) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker, canary_device_id="canary")
    connection = await broker.accept()
    sent = await canary_on(connection)

    connection.say(b"\x40\x03" + (sent.packet_id or 0).to_bytes(2, "big") + b"\x87")

    assert "not_authorized" == (await bridge.event("canary_refused"))["reason"]
    assert 1 == await bridge.sample("bridge_canaries_total", outcome="refused")
    await bridge.ready()
