"""Batches: memory that does not grow with their number, and readings completed after a kill."""

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from tests.faults.conftest import Length
from tests.faults.stage import Links, Stage, await_drained, await_metric
from tests.integration.scene import report
from tests.support.devices import DeviceMessage
from tests.support.eventually import eventually
from tests.support.watcher import Watcher

READINGS = 1_000
DEVICES = 20
KILLS_MAX = 40
MEMORY_MAX = 250_000_000
ROUTE = {"filter": "devices/+/telemetry/batch", "kind": "batch"}
DEADLINE_S = 600.0


def batches(count: int, *, first: int = 0) -> Iterator[DeviceMessage]:
    """Give batches of a thousand readings; no two of a device have the same timestamp."""
    start = datetime.now(UTC) - timedelta(days=1)
    for number in range(first, first + count):
        device_id = f"device-{number % DEVICES}"
        at = start + timedelta(seconds=2 * number)
        readings = [
            {
                "timestamp": (at + timedelta(milliseconds=index)).isoformat(),
                "metrics": {"temperature": 21.5, "index": index},
            }
            for index in range(READINGS)
        ]
        body = {"device_id": device_id, "batch_id": number, "readings": readings}
        yield DeviceMessage(
            topic=f"devices/{device_id}/telemetry/batch", payload=json.dumps(body).encode()
        )


def assert_each_once_and_in_order(stage: Stage, count: int) -> None:
    """Every reading of so many batches is there once, those of a device in their order."""
    times = Counter[tuple[int, int]]()
    last: dict[bytes | None, tuple[int, int]] = {}
    for record in stage.client.consume_all(stage.telemetry):
        value = json.loads(record.value or b"")
        place = value["batch_id"], value["batch_index"]
        times[place] += 1
        assert place > last.get(record.key, (-1, -1)), f"{record.key!r}: {place} out of order"
        last[record.key] = place
    wanted = Counter({(number, each): 1 for number in range(count) for each in range(READINGS)})
    assert wanted == times
    report(f"{count} batches, {times.total()} readings, each once and in order")


def test_many_queued_batches_are_carried_in_little_memory_with_one_puback_each(
    stage: Stage, length: Length
) -> None:
    count = int(length(60, 2_000))
    bridge = stage.start(route=ROUTE)
    assert 0 == bridge.stop()
    stage.lean(window=20).publish(batches(count), timeout_s=DEADLINE_S)

    bridge.start()
    with Watcher(bridge) as watcher:
        await_metric(
            bridge,
            "bridge_messages_received_total",
            lambda received: received == count,
            deadline_s=DEADLINE_S,
        )
        await_drained(bridge, DEADLINE_S)

    metrics = bridge.metrics()
    report(f"peak {watcher.rss_peak_bytes / 1e6:.0f} MB")
    assert watcher.rss_peak_bytes < MEMORY_MAX
    assert count == bridge.metric("bridge_messages_settled_total", outcome="produced")
    assert count * READINGS == bridge.metric("bridge_readings_total", outcome="produced")
    assert count == metrics["bridge_pubacks_sent_total"]
    assert 0 == metrics["bridge_conservation_residue"]
    assert_each_once_and_in_order(stage, count)


def test_batches_killed_half_way_are_completed_and_not_doubled(
    stage: Stage, length: Length
) -> None:
    kills = int(length(4, 20))
    # Linger keeps a part of the readings unsettled though Kafka takes all of them.
    bridge = stage.start(route=ROUTE, kafka={"properties": {"linger.ms": 100}})
    devices = stage.lean(window=20)
    known, killed = 0.0, 0
    # On a busy machine a kill may come when all is settled already: it is tried again.
    while killed < kills or (not known and killed < KILLS_MAX):
        devices.start(batches(20, first=20 * killed))
        eventually(
            lambda: bridge.metric("bridge_readings_total", outcome="produced"),
            what="Kafka has readings",
            poll_s=0.01,
        )
        known += bridge.metric("bridge_readings_total", outcome="duplicate")
        bridge.kill()
        bridge.start()
        devices.wait(DEADLINE_S)
        killed += 1
    wanted = 20 * killed * READINGS
    stage.client.consume_all(stage.telemetry, until=wanted, deadline_s=DEADLINE_S)
    await_drained(bridge, DEADLINE_S)
    known += bridge.metric("bridge_readings_total", outcome="duplicate")

    report(f"{killed} kills; {known:.0f} readings came again that Kafka had")
    assert known > 0, "no batch was cut in two"
    assert_each_once_and_in_order(stage, 20 * killed)


def test_batches_that_come_again_to_a_full_spool_keep_no_row_from_leaving(
    stage: Stage, links: Links
) -> None:
    alarms = {"filter": "devices/+/alarm", "kind": "opaque", "kafka_topic": stage.telemetry}
    config = stage.config(
        route=ROUTE,
        mqtt={"receive_maximum": 40, "unsettled_max": 2_000},
        spool={"bytes_max": 4 << 20},
    )
    config["route"].append(alarms | {"priority": "high"})
    bridge = stage.start_with(config)
    links.kafka.refuse()
    links.kafka.cut()
    devices = stage.lean(window=40)
    devices.start(batches(60))
    bridge.wait_for_event("spool_full")
    bridge.kill()

    links.kafka.heal()
    bridge.start()
    devices.wait(DEADLINE_S)
    # Drained means the messages that were promised: a batch is one, by its first reading.
    stage.client.consume_all(stage.telemetry, until=60 * READINGS, deadline_s=DEADLINE_S)
    await_drained(bridge, DEADLINE_S)

    assert 0 == bridge.metrics()["bridge_conservation_residue"]
    assert_each_once_and_in_order(stage, 60)
