"""Kafka away, and every message safe all the same: acknowledged from the disk."""

import json
from collections.abc import Callable

import mqtt5
import pytest

from tests.hostile.bench import Bench, good, in_flight
from tests.support.in_process_kafka import InProcessKafka
from tests.support.kafka_client import ConsumedRecord

MakeKafka = Callable[[int], InProcessKafka]


def sequences(records: list[ConsumedRecord]) -> list[int]:
    return [json.loads(each.value or b"")["metrics"]["sequence"] for each in records]


QUICK = {"after_s": 0.5}
"""So that a test need not wait for the usual five seconds."""


async def test_what_kafka_does_not_take_is_acknowledged_from_the_disk_and_drains_in_order(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    kafka = make_kafka(1)
    kafka.create_topic(bench.telemetry_topic, [1])
    broker = await bench.broker()
    bridge = bench.bridge(broker, kafka=kafka, spool=QUICK)
    connection = await broker.accept()
    await bridge.ready()
    connection.say(good(1))
    await connection.wait_acknowledged(1)

    kafka.take_down(1)
    connection.say(b"".join(good(each) for each in range(2, 102)))
    while_away = await connection.wait_acknowledged(101)
    await bridge.reaches(100, "bridge_messages_spooled")
    kafka.bring_up(1)
    records = await bench.records(101, kafka=kafka)
    await bridge.reaches(100, "bridge_spool_rows_drained_total")

    assert list(range(1, 102)) == while_away
    assert list(range(1, 102)) == sequences(records)
    assert 0 == await bridge.sample("bridge_messages_spooled")
    assert 0 == await bridge.sample("bridge_conservation_residue")
    await bridge.ready()
    assert 0 == await bridge.stopped()


async def test_a_stop_with_kafka_away_leaves_nothing_unacknowledged_and_the_next_start_delivers(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    kafka = make_kafka(1)
    kafka.create_topic(bench.telemetry_topic, [1])
    broker = await bench.broker()
    bridge = bench.bridge(broker, kafka=kafka)
    connection = await broker.accept()
    await bridge.ready()
    kafka.take_down(1)
    connection.say(b"".join(good(each) for each in range(1, 51)))
    await in_flight(bridge, 50)

    exit_code = await bridge.stopped()
    await connection.wait_ended()
    stopped = await bridge.event("bridge_stopped")
    kafka.bring_up(1)
    bridge.start()
    await broker.accept()
    records = await bench.records(50, kafka=kafka)

    assert 0 == exit_code
    assert list(range(1, 51)) == connection.acknowledged
    assert isinstance(connection.packets[-1], mqtt5.DisconnectPacket)
    assert (50, 0, 0) == (stopped["spooled"], stopped["unsettled"], stopped["residue"])
    assert list(range(1, 51)) == sequences(records)


@pytest.mark.parametrize(("is_journal_lost", "rows"), [(False, 2), (True, 3)])
async def test_with_kafka_away_from_the_start_messages_are_acknowledged_and_produced_once(
    bench: Bench, make_kafka: MakeKafka, *, is_journal_lost: bool, rows: int
) -> None:
    kafka = make_kafka(1)
    kafka.create_topic(bench.telemetry_topic, [1])
    broker = await bench.broker()
    bridge = bench.bridge(broker, kafka=kafka, spool=QUICK)
    connection = await broker.accept()
    await bridge.ready()
    first = good(1)
    connection.say(first)
    await connection.wait_acknowledged(1)
    assert 0 == await bridge.stopped()

    if is_journal_lost:  # Only Kafka knows then what it has.
        for each in (bridge.directory / "state").glob("window-*"):
            each.unlink()
    kafka.take_down(1)
    bridge.start()
    again = await broker.accept()
    again.say(first + good(2) + good(3))
    acknowledged = await again.wait_acknowledged(3)
    kafka.bring_up(1)
    records = await bench.records(3, kafka=kafka)
    await bridge.reaches(rows, "bridge_spool_rows_drained_total")

    assert [1, 2, 3] == acknowledged
    assert 1 == await bridge.sample("bridge_messages_settled_total", outcome="duplicate")
    assert [1, 2, 3] == sequences(records)
    assert 0 == await bridge.sample("bridge_conservation_residue")


async def test_what_waits_for_kafka_at_the_start_keeps_the_time_at_which_it_came(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    kafka = make_kafka(1)
    kafka.create_topic(bench.telemetry_topic, [1])
    kafka.take_down(1)
    broker = await bench.broker()
    bridge = bench.bridge(broker, kafka=kafka, spool={"bytes_max": 0})
    connection = await broker.accept()
    connection.say(good(1))

    await bridge.event("kafka_tail_unavailable", count=1)
    connection.say(good(2))
    later = await bridge.event("kafka_tail_unavailable", count=2)
    kafka.bring_up(1)
    first, _ = await bench.records(2, kafka=kafka)

    assert json.loads(first.value or b"")["server_received_at"] < later["timestamp"]
