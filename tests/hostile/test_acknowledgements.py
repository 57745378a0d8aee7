"""When a PUBACK leaves, and that none leaves before its time, seen from the broker's side."""

import json
import random
from collections.abc import Callable, Sequence

import mqtt5

from tests.hostile.bench import SERVER_KEEP_ALIVE_1_S, Bench, good, in_flight
from tests.support.hostile_broker import BrokerConnection, connack, publish_qos0
from tests.support.in_process_kafka import InProcessKafka
from tests.support.kafka_client import ConsumedRecord

MakeKafka = Callable[[int], InProcessKafka]


def _sequences(records: Sequence[ConsumedRecord]) -> list[int]:
    return [json.loads(record.value or b"")["metrics"]["sequence"] for record in records]


def _routes(bench: Bench, kafka: InProcessKafka, **leaders: int) -> list[tuple[str, str]]:
    """Make a Kafka topic with one partition for each room, led by this broker."""
    return [
        (f"{room}/+/telemetry", kafka.create_topic(f"{bench.telemetry_topic}-{room}", [leader]))
        for room, leader in leaders.items()
    ]


async def _nothing_more_than(acknowledged: list[int], connection: BrokerConnection) -> None:
    """Wait for the next PINGREQ: what does not stand before it in the stream was not sent."""
    seen = len(connection.all_of(mqtt5.PingReqPacket))
    await connection.wait_for(mqtt5.PingReqPacket, count=seen + 1)
    assert acknowledged == connection.acknowledged


async def test_pubacks_leave_in_receive_order_with_delivery_reports_shuffled_across_partitions(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    messages, devices = 6_000, 97
    chance = random.Random(14)  # noqa: S311 -- a seed, so that a failure comes again
    kafka = make_kafka(4)
    kafka.create_topic(bench.telemetry_topic, [1 + partition % 4 for partition in range(12)])
    for leader, delay_ms in enumerate((0, 20, 60, 120), start=1):
        kafka.delay(leader, delay_ms)
    broker = await bench.broker()
    bench.bridge(broker, kafka=kafka, receive_maximum=messages)
    connection = await broker.accept()

    for start in range(1, messages + 1, 200):
        packet_ids = range(start, start + 200)
        await connection.say_all(good(each, f"device-{each % devices}") for each in packet_ids)
        kafka.delay(chance.randint(1, 4), chance.choice((0, 5, 30, 90)))
    await connection.wait_acknowledged(messages)
    for each in range(1, 5):
        kafka.delay(each, 0)
    records = await bench.records(messages, kafka=kafka)

    assert list(range(1, messages + 1)) == connection.acknowledged
    assert set(range(1, messages + 1)) == set(_sequences(records))
    assert messages == len(records)


async def test_one_late_delivery_report_holds_every_later_puback(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    kafka = make_kafka(3)
    broker = await bench.broker()
    routes = _routes(bench, kafka, devices=1, other=2)
    bridge = bench.bridge(broker, kafka=kafka, routes=routes, receive_maximum=5_000)
    connection = await broker.accept(connack(properties=SERVER_KEEP_ALIVE_1_S))
    await bridge.ready()

    kafka.take_down(1)
    connection.say(good(1))
    await connection.say_all(good(each, room="other") for each in range(2, 3_001))
    await bridge.reaches(2_999, "ingestion_messages_total", status="accepted")
    await _nothing_more_than([], connection)
    kafka.bring_up(1)

    assert list(range(1, 3_001)) == await connection.wait_acknowledged(3_000)


async def test_no_puback_of_an_old_epoch_leaves_on_the_new_connection(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    kafka = make_kafka(3)
    broker = await bench.broker()
    routes = _routes(bench, kafka, devices=1, other=2)
    bridge = bench.bridge(broker, kafka=kafka, routes=routes)
    connection = await broker.accept()
    await bridge.ready()
    kafka.take_down(1, 2)
    await connection.say_all(good(each) for each in range(1, 51))
    await in_flight(bridge, 50)

    connection.cut()
    after = await broker.accept(connack(session_present=True, properties=SERVER_KEEP_ALIVE_1_S))
    await after.say_all(good(each, room="other") for each in range(1, 51))
    await in_flight(bridge, 100)
    kafka.bring_up(1)
    await bridge.reaches(50, "ingestion_messages_total", status="accepted")
    await _nothing_more_than([], after)
    kafka.bring_up(2)

    assert list(range(1, 51)) == await after.wait_acknowledged(50)
    for _, kafka_topic in routes:
        records = await bench.records(50, kafka_topic=kafka_topic, kafka=kafka)
        assert list(range(1, 51)) == _sequences(records)


async def test_a_stop_says_offline_acknowledges_what_is_confirmed_and_keeps_the_session(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    kafka = make_kafka(2)
    broker = await bench.broker()
    bridge = bench.bridge(broker, kafka=kafka, routes=_routes(bench, kafka, devices=1))
    connection = await broker.accept()
    await bridge.ready()
    kafka.take_down(1)
    connection.say(b"".join(good(each) for each in range(1, 11)))
    await in_flight(bridge, 10)

    bridge.ask_to_stop()
    await connection.wait_for(mqtt5.PublishPacket, count=2)
    kafka.bring_up(1)
    await connection.wait_ended()

    kinds = [type(each) for each in connection.packets]
    expected = [mqtt5.PublishPacket, *[mqtt5.PubAckPacket] * 10, mqtt5.DisconnectPacket]
    assert expected == kinds[-12:]
    assert [b"online", b"offline"] == connection.statuses
    assert list(range(1, 11)) == connection.acknowledged
    # Reason code 0 may be left out; a Session Expiry Interval would end the session.
    assert connection.captured[-1].frame in {b"\xe0\x00", b"\xe0\x01\x00", b"\xe0\x02\x00\x00"}
    assert 0 == await bridge.stopped()


async def test_what_kafka_does_not_confirm_before_the_end_stays_unacknowledged(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    kafka = make_kafka(2)
    broker = await bench.broker()
    bridge = bench.bridge(
        broker,
        kafka=kafka,
        routes=_routes(bench, kafka, devices=1, other=2),
        shutdown={"drain_timeout_s": 6},
        spool={"bytes_max": 0},
    )
    connection = await broker.accept()
    await bridge.ready()
    kafka.take_down(2)
    connection.say(good(1) + good(2) + good(3, room="other") + good(4))
    await connection.wait_acknowledged(2)
    await in_flight(bridge, 1)

    exit_code = await bridge.stopped()
    await connection.wait_ended()

    assert [1, 2] == connection.acknowledged
    assert isinstance(connection.packets[-1], mqtt5.DisconnectPacket)
    assert 0 == exit_code
    assert 1 == (await bridge.event("bridge_stopped"))["unsettled"]


async def test_the_last_words_of_a_stop_arrive_though_the_broker_goes_on_sending(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    kafka = make_kafka(2)
    broker = await bench.broker()
    bridge = bench.bridge(broker, kafka=kafka, routes=_routes(bench, kafka, devices=1))
    connection = await broker.accept()
    await bridge.ready()
    kafka.take_down(1)
    connection.say(b"".join(good(each) for each in range(1, 11)))
    await in_flight(bridge, 10)

    bridge.ask_to_stop()
    await connection.wait_for(mqtt5.PublishPacket, where=lambda each: each.payload == b"offline")
    connection.say(b"".join(good(each) for each in range(11, 1_011)))
    kafka.bring_up(1)
    await connection.wait_ended()

    assert list(range(1, 11)) == connection.acknowledged
    assert isinstance(connection.packets[-1], mqtt5.DisconnectPacket)
    # A socket closed with bytes unread sends a reset, which a broker may see before our words.
    assert not connection.is_reset


async def test_messages_with_qos_0_are_carried_and_counted_as_best_effort(bench: Bench) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker)
    connection = await broker.accept()
    promised = good(1)
    best_effort = publish_qos0(
        "devices/device-2/telemetry",
        b'{"device_id": "device-2", "timestamp": 1e9, "metrics": {"sequence": 0}}',
    )

    connection.say(best_effort * 3 + promised)
    await connection.wait_acknowledged(1)
    event = await bridge.event("mqtt_qos0_received")

    assert [1] == connection.acknowledged
    assert "devices/device-2/telemetry" == event["mqtt_topic"]
    assert 1 == await bridge.sample("bridge_messages_received_total")
    await bridge.stopped()
    stopped = await bridge.event("bridge_stopped")
    assert (1, 3, 0) == (stopped["received"], stopped["received_qos0"], stopped["residue"])
