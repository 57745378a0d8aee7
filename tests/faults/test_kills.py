"""The bridge is killed at every bad moment: nothing lost, nothing doubled, nothing out of order."""

import random
import secrets
from collections.abc import Callable

import pytest

from tests.faults.stage import Stage, await_drained, await_spooled, stopped_event
from tests.integration.scene import QUIET_DEADLINE_S, await_in_flight, await_received, report
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import fleet
from tests.support.eventually import eventually, let_last
from tests.support.kafka_cluster import KafkaProcess

DEVICES = 200
RATE_PER_S = 2_000.0
ALIVE_S_MAX = 2.5
"""A bridge needs some 1.5 s to carry messages: kills meet its start as well as its flow."""


def restart(bridge: BridgeProcess) -> None:
    bridge.kill()
    bridge.start()


def await_killed(bridge: BridgeProcess) -> None:
    eventually(lambda: bridge.is_alive, lambda alive: not alive, what="the fault point killed it")
    assert -9 == bridge.exit_code


@pytest.mark.slow
def test_kills_at_random_moments_lose_double_and_reorder_nothing(
    stage: Stage, length: Callable[[float, float], float]
) -> None:
    kills, seed = int(length(20, 100)), secrets.randbelow(1_000_000)
    chance = random.Random(seed)  # noqa: S311  moments, no secrets
    report(f"seed {seed}")
    bridge = stage.start(kafka={"properties": {"linger.ms": 100}})
    devices = stage.lean()
    devices.start(fleet(DEVICES), rate_per_s=RATE_PER_S)

    for _ in range(kills):
        let_last(chance.uniform(0.0, ALIVE_S_MAX))
        restart(bridge)
    await_received(bridge, 2_000)
    devices.stop()
    reckoning = stage.prove(bridge)

    served = len(bridge.events("bridge_ready"))
    report(f"{kills} kills, {served} of the runs had become ready; {reckoning}")
    assert reckoning.acknowledged > 0


@pytest.mark.slow
def test_kills_at_random_moments_of_an_outage_lose_double_and_reorder_nothing(
    stage: Stage, victim: KafkaProcess, length: Callable[[float, float], float]
) -> None:
    kills, seed = int(length(6, 50)), secrets.randbelow(1_000_000)
    chance = random.Random(seed)  # noqa: S311  moments, no secrets
    report(f"seed {seed}")
    bridge = stage.start()
    devices = stage.lean()
    devices.start(fleet(DEVICES), rate_per_s=RATE_PER_S)
    await_received(bridge, 1_000)

    for number in range(kills):
        # Frozen: requests of the dead bridge lie in its socket. Thawed: the drain is under way.
        (victim.freeze if number % 2 == 0 else victim.thaw)()
        let_last(chance.uniform(0.5, 2 * ALIVE_S_MAX))
        restart(bridge)
    victim.thaw()
    await_received(bridge, 2_000)
    devices.stop()
    reckoning = stage.prove(bridge)

    started_with = [each["rows"] for each in bridge.events("spool_opened")]
    report(f"rows in the spool at each start: {started_with}; {reckoning}")
    assert max(started_with) > 0, "no kill met a spool with rows: the test proves nothing"


@pytest.mark.parametrize("time", [1, 3])
def test_a_kill_between_spool_commit_and_puback_doubles_nothing(
    stage: Stage, victim: KafkaProcess, time: int
) -> None:
    bridge = stage.start()
    devices = stage.devices(window=500)
    devices.publish(fleet(DEVICES, 500))
    stage.await_nothing_in_flight(bridge)
    bridge.stop()
    bridge.env["BRIDGE_FAULT_POINTS"] = f"spool_committed=kill@{time}"
    victim.freeze()
    bridge.start()

    devices.start(fleet(DEVICES, 5_000, first=500), rate_per_s=2_000.0)
    await_killed(bridge)
    del bridge.env["BRIDGE_FAULT_POINTS"]
    bridge.start()
    rows = bridge.wait_for_event("spool_opened", count=3)["rows"]
    devices.wait()
    victim.thaw()
    bridge.wait_ready(120.0)
    reckoning = stage.prove(bridge)

    report(f"{rows} rows were committed and not acknowledged; {reckoning}")
    assert rows > 0
    assert 1 == len(bridge.events("fault_point_armed"))


@pytest.mark.parametrize(
    ("point", "time"), [("spool_commit", 2), ("delivery_reported", 5), ("puback_flushed", 5)]
)
def test_a_kill_at_any_other_point_doubles_nothing_either(
    stage: Stage, victim: KafkaProcess, point: str, time: int
) -> None:
    bridge = stage.start()
    bridge.env["BRIDGE_FAULT_POINTS"] = f"{point}=kill@{time}"
    restart(bridge)
    bridge.wait_ready(QUIET_DEADLINE_S)
    devices = stage.devices(window=500)
    devices.start(fleet(DEVICES, 6_000), rate_per_s=3_000.0)
    if point == "spool_commit":
        await_received(bridge, 500)
        victim.freeze()

    await_killed(bridge)
    victim.thaw()
    del bridge.env["BRIDGE_FAULT_POINTS"]
    bridge.start()
    devices.wait()
    reckoning = stage.prove(bridge)

    report(reckoning)


def test_what_a_frozen_kafka_had_in_its_socket_is_not_produced_again_from_the_spool(
    stage: Stage, victim: KafkaProcess
) -> None:
    bridge = stage.start()
    devices = stage.devices(window=500)
    devices.publish(fleet(DEVICES, 500))
    stage.await_nothing_in_flight(bridge)

    victim.freeze()
    devices.publish(fleet(DEVICES, 2_000))
    await_spooled(bridge, 2_000)
    restart(bridge)
    opened = bridge.wait_for_event("spool_opened", count=2)
    victim.thaw()
    bridge.wait_ready(120.0)
    reckoning = stage.prove(bridge)

    known = sum(each["rows"] for each in bridge.events("spool_rows_known"))
    report(f"{opened['rows']} rows at the start, {known} of them known to Kafka; {reckoning}")
    assert 2_000 == opened["rows"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "spool",
    [
        pytest.param({}, id="spool"),
        pytest.param({"bytes_max": 0}, id="no spool", marks=pytest.mark.long),
    ],
)
def test_a_stop_with_two_thousand_unsettled_and_a_pause_beyond_the_ttl_doubles_nothing(
    stage: Stage, victim: KafkaProcess, spool: dict[str, float]
) -> None:
    # So long before the spool takes over that the stop finds them unsettled.
    spool = {"after_s": 4.5, **spool}
    bridge = stage.start(dedup={"ttl_s": 10}, shutdown={"drain_timeout_s": 10}, spool=spool)
    devices = stage.devices(window=500)
    devices.publish(fleet(DEVICES, 500))
    stage.await_nothing_in_flight(bridge)

    victim.freeze()
    devices.publish(fleet(DEVICES, 2_000))
    unsettled = await_in_flight(bridge, 2_000)
    exit_code = bridge.stop(timeout_s=30.0)
    stopped = stopped_event(bridge)
    victim.thaw()
    let_last(12.0)
    bridge.start()
    bridge.wait_ready(120.0)
    reckoning = stage.prove(bridge)

    report(f"{unsettled} unsettled at SIGTERM; {stopped}; {reckoning}")
    assert 0 == exit_code


def test_a_kill_in_the_middle_of_a_drain_goes_on_where_it_was(
    stage: Stage, victim: KafkaProcess
) -> None:
    bridge = stage.start()
    victim.freeze()
    stage.lean().publish(fleet(DEVICES, 60_000), timeout_s=120.0)
    await_spooled(bridge, 60_000)

    victim.thaw()
    eventually(
        lambda: bridge.metric("bridge_messages_spooled"),
        lambda left: 0 < left < 50_000,
        what="the drain is under way",
        deadline_s=60.0,
    )
    restart(bridge)
    opened = bridge.wait_for_event("spool_opened", count=2)
    await_drained(bridge)
    reckoning = stage.prove(bridge)

    report(f"{opened['rows']} rows were left at the kill; {reckoning}")
    assert 0 < opened["rows"] < 60_000
