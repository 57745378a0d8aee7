"""SIGTERM: read no more, flush, acknowledge what is confirmed, keep the session."""

import signal
from typing import Any

from tests.integration.scene import QUIET_DEADLINE_S, Scene, await_in_flight, await_received, report
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import fleet
from tests.support.kafka_cluster import KafkaProcess

DEVICES = 100


def last_event(bridge: BridgeProcess) -> dict[str, Any]:
    return bridge.logs()[-1]


def test_a_stop_under_load_flushes_and_the_rest_comes_after_the_next_start(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start(kafka={"properties": {"linger.ms": 300}})
    devices = scene.devices(window=1_000)
    devices.start(fleet(DEVICES), rate_per_s=2_000.0)
    await_received(bridge, 2_000)
    await_in_flight(bridge, 100)

    exit_code = bridge.stop(timeout_s=30.0)
    stopped = last_event(bridge)
    bridge.start()
    bridge.wait_ready()
    await_received(bridge, 1_000)
    devices.stop()
    reckoning = scene.reckon_when_quiet(bridge)

    report(f"{bridge.events('bridge_stopping')[0]['in_flight']} in flight at SIGTERM; {stopped}")
    assert 0 == exit_code
    assert ("bridge_stopped", 0, 0) == (stopped["event"], stopped["residue"], stopped["unsettled"])
    assert 1 == len(bridge.events("drain_finished"))
    assert 1 == len(bridge.events("session_resumed"))
    reckoning.assert_holds()
    # All that was read was confirmed and acknowledged, so nothing came a second time.
    reckoning.assert_nothing_doubled()


def test_a_stop_while_kafka_is_frozen_ends_within_the_budget_and_loses_nothing(
    victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics()
    bridge = scene.start(shutdown={"drain_timeout_s": 8}, spool={"bytes_max": 0})
    devices = scene.devices()
    devices.publish(fleet(DEVICES, 500))
    await_received(bridge, 500)
    scene.await_nothing_in_flight(bridge)
    victim.freeze()
    devices.publish(fleet(DEVICES, 1_000))
    in_flight = await_in_flight(bridge, 1_000)

    # The budget, and the end of the interpreter on a busy machine.
    exit_code = bridge.stop(timeout_s=8 + 10)
    stopped = last_event(bridge)
    victim.thaw()
    bridge.start()
    reckoning = scene.reckon_when_quiet(bridge)

    timed_out = bridge.events("drain_timed_out")[0]
    report(f"{in_flight} in flight; {timed_out}; {stopped}; doubled: {reckoning.duplicates}")
    assert 0 == exit_code
    assert timed_out["took_s"] <= 8
    assert ("bridge_stopped", 0, in_flight) == (
        stopped["event"],
        stopped["residue"],
        stopped["unsettled"],
    )
    reckoning.assert_holds()


def test_a_second_sigterm_skips_the_flush_and_not_the_spool(
    victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics()
    # An hour: only a skipped flush ends before the test loses its patience.
    bridge = scene.start(shutdown={"drain_timeout_s": 3_600})
    victim.freeze()
    scene.devices().publish(fleet(DEVICES, 300))
    await_in_flight(bridge, 300)

    bridge.send_signal(signal.SIGTERM)
    bridge.wait_for_event("bridge_stopping")
    bridge.send_signal(signal.SIGTERM)
    exit_code = bridge.wait(QUIET_DEADLINE_S)
    stopped = last_event(bridge)
    victim.thaw()
    bridge.start()
    reckoning = scene.reckon_when_quiet(bridge)

    assert 0 == exit_code
    assert 1 == len(bridge.events("stop_signal_received", count=2))
    assert ("bridge_stopped", 0, 0, 300) == (
        stopped["event"],
        stopped["residue"],
        stopped["unsettled"],
        stopped["spooled"],
    )
    reckoning.assert_holds()
