"""A part of Kafka fails: one topic, one right, one partition. What has nothing to do with it flows.

The figures (p99 from the device's clock to a consumer) are reported, before and during the fault in
one run; they are no assertion, since two busy cores say little about latency.
"""

import time
from collections.abc import Callable, Iterator
from itertools import count, islice

import pytest

from tests.faults.stage import (
    Stage,
    await_drained,
    await_metric,
    await_spooled,
    live_status,
    reckon_topic,
)
from tests.integration.scene import QUIET_DEADLINE_S, await_received, report
from tests.support.devices import DeviceMessage, fleet, telemetry
from tests.support.eventually import eventually, let_last
from tests.support.kafka_cluster import KafkaProcess
from tests.support.latency import LatencyProbe, p99

Length = Callable[[float, float], float]

DEVICES = 100
PARTITIONS = 4


def meters(messages: int | None = None) -> Iterator[DeviceMessage]:
    """Yield what goes to the second route."""
    for number in islice(count(), messages):
        device_id = f"meter-{number % DEVICES}"
        yield telemetry(device_id, number, mqtt_topic=f"meters/{device_id}/telemetry")


def tell_p99(what: str, probe: LatencyProbe, spans: list[tuple[str, float, float]]) -> None:
    told = [
        f"{name} {p99(ages) * 1e3:.1f} ms of {len(ages)}"
        for name, since_s, until_s in spans
        for ages in [probe.ages(since_s, until_s)]
    ]
    report(f"p99 publish-to-consumer of {what}: {', '.join(told)}")


@pytest.mark.slow
def test_of_two_routes_the_one_whose_topic_is_deleted_waits_and_the_other_flows(
    stage: Stage, victim: KafkaProcess, unique_name: Callable[[str], str], length: Length
) -> None:
    span_s = length(8.0, 300.0)
    second = victim.client.create_topic(unique_name("meters"), PARTITIONS)
    config = stage.config()
    config["route"].append({"filter": "meters/+/telemetry", "kafka_topic": second})
    bridge = stage.start_with(config)
    # Two ledgers beside the stage's own: one topic each, so that the oracle can tell them apart.
    before, during = stage.beside(), stage.beside()
    before.publish(meters(2_000))
    stage.await_nothing_in_flight(bridge)
    old = victim.client.consume_all(second)
    devices = stage.lean()

    with LatencyProbe(victim.client, stage.telemetry, PARTITIONS) as probe:
        devices.start(fleet(DEVICES), rate_per_s=1_000.0)
        await_received(bridge, 3_000)
        began_s = time.monotonic()
        let_last(span_s)
        victim.client.delete_topic(second)
        deleted_s = time.monotonic()
        during.start(meters(), rate_per_s=300.0)
        await_spooled(bridge, 500)
        let_last(span_s)
        ended_s = time.monotonic()
        not_ready = bridge.wait_not_ready().json()["checks"]["kafka"]
        victim.client.create_topic(second, PARTITIONS)
        bridge.wait_ready(QUIET_DEADLINE_S)
        await_metric(bridge, "bridge_messages_spooled", lambda spooled: spooled == 0)
        during.stop()
        devices.stop()
    reckoning = stage.prove(bridge)
    tell_p99(
        "the other route",
        probe,
        [("before", began_s, deleted_s), ("with the topic gone", deleted_s, ended_s)],
    )

    report(f"{not_ready}; {reckoning}")
    assert second in not_ready["detail"]
    assert stage.telemetry not in not_ready["detail"]
    for ledger, records in (
        (before.ledger, old),
        (during.ledger, victim.client.consume_all(second)),
    ):
        part = reckon_topic(ledger, records)
        part.assert_holds()
        part.assert_nothing_doubled()
    assert 200 == live_status(bridge)


def test_a_topic_that_may_not_be_written_is_spooled_and_recovers_alone(
    stage: Stage, victim: KafkaProcess
) -> None:
    bridge = stage.start()
    devices = stage.devices(window=500)
    devices.publish(fleet(DEVICES, 500))
    stage.await_nothing_in_flight(bridge)

    victim.client.deny_write(stage.telemetry)
    devices.publish(fleet(DEVICES, 3_000, first=500))
    held = bridge.wait_for_event("kafka_topic_held", kafka_topic=stage.telemetry)
    await_spooled(bridge, 3_000)
    not_ready = bridge.wait_not_ready(QUIET_DEADLINE_S).json()["checks"]["kafka"]
    letters = bridge.metric("bridge_dead_letters_total")
    victim.client.allow_write(stage.telemetry)
    bridge.wait_ready(QUIET_DEADLINE_S)
    reckoning = stage.prove(bridge)

    report(f"{held['error']}: {held['remedy']}; {not_ready}; {reckoning}")
    assert ("kafka_refuses", 0) == (not_ready["state"], letters)
    assert 1 == len(bridge.events("kafka_topic_held", kafka_topic=stage.telemetry))


def test_letters_for_a_missing_topic_are_spooled_and_good_traffic_goes_on(
    stage: Stage, victim: KafkaProcess
) -> None:
    bridge = stage.start()
    victim.client.delete_topic(stage.dead_letters)
    spoiled = [
        DeviceMessage(topic="devices/spoiled/telemetry", payload=b"?%d" % number)
        for number in range(200)
    ]
    devices = stage.devices(window=500)

    devices.publish(spoiled)
    await_spooled(bridge, len(spoiled))
    devices.publish(fleet(DEVICES, 2_000))
    eventually(
        lambda: victim.client.count(stage.telemetry),
        lambda there: there >= 2_000,
        what="good traffic goes on",
    )
    waiting = bridge.metric("bridge_messages_spooled")
    victim.client.create_topic(stage.dead_letters, PARTITIONS)
    bridge.wait_ready(QUIET_DEADLINE_S)
    await_drained(bridge)
    reckoning = stage.prove(bridge)

    assert (200, 200) == (waiting, reckoning.dead_letters)


def test_a_kill_while_a_topic_is_refused_leaves_its_spool_to_the_next_process(
    stage: Stage, victim: KafkaProcess
) -> None:
    bridge = stage.start()
    devices = stage.devices(window=500)
    devices.publish(fleet(DEVICES, 500))
    stage.await_nothing_in_flight(bridge)
    victim.client.deny_write(stage.telemetry)
    devices.publish(fleet(DEVICES, 2_000, first=500))
    await_spooled(bridge, 2_000)

    bridge.kill()
    bridge.start()
    opened = bridge.wait_for_event("spool_opened", count=2)
    devices.publish([telemetry("late", number) for number in range(100)])
    await_received(bridge, 100)
    victim.client.allow_write(stage.telemetry)
    bridge.wait_ready(QUIET_DEADLINE_S)
    reckoning = stage.prove(bridge)

    report(f"{opened}; {reckoning}")
    assert 2_000 == opened["rows"]
