"""Kafka is away: killed, frozen, never there; for seconds in CI, for minutes with --long."""

import time
from collections.abc import Callable

import pytest

from tests.faults.stage import (
    MEMORY_MAX,
    Stage,
    await_drained,
    await_metric,
    await_spooled,
    live_status,
    stopped_event,
)
from tests.integration.scene import QUIET_DEADLINE_S, await_in_flight, await_received, report
from tests.support.devices import fleet
from tests.support.eventually import let_last
from tests.support.kafka_cluster import KafkaProcess
from tests.support.watcher import Watcher

Length = Callable[[float, float], float]

DEVICES = 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "full_s"),
    [
        pytest.param("kill", 60.0, id="killed"),
        # In CI the outage at full rate below is the frozen one.
        pytest.param("freeze", 45.0, id="frozen", marks=pytest.mark.long),
    ],
)
def test_kafka_away_is_not_ready_but_live_and_costs_no_memory_and_recovers_alone(
    stage: Stage, victim: KafkaProcess, length: Length, how: str, full_s: float
) -> None:
    bridge = stage.start(mqtt={"keep_alive_s": 2})
    devices = stage.lean()
    devices.start(fleet(DEVICES), rate_per_s=2_000.0)
    await_received(bridge, 2_000)

    with Watcher(bridge) as watcher:
        victim.kill() if how == "kill" else victim.freeze()
        bridge.wait_not_ready()
        let_last(length(6.0, full_s))
        not_ready = bridge.wait_not_ready().json()["checks"]["kafka"]
        spooled = bridge.metric("bridge_messages_spooled")
        victim.start() if how == "kill" else victim.thaw()
        bridge.wait_ready(QUIET_DEADLINE_S)
        devices.stop()
        reckoning = stage.prove(bridge)

    report(f"{spooled:.0f} spooled, peak {watcher.rss_peak_bytes / 1e6:.0f} MB; {reckoning}")
    assert "kafka_away" == not_ready["state"]
    assert {200} == set(watcher.live)
    assert 1 == len(bridge.events("mqtt_connected")), "keep-alive did not go on"
    assert spooled > 0
    assert watcher.rss_peak_bytes < MEMORY_MAX


@pytest.mark.slow
def test_kafka_away_for_minutes_at_full_rate_with_a_kill_in_the_middle(
    stage: Stage, victim: KafkaProcess, length: Length
) -> None:
    rate_per_s, away_s = 5_000.0, length(20.0, 300.0)
    bridge = stage.start()
    devices = [stage.lean(window=2_000), stage.lean(window=2_000)]
    messages = int(rate_per_s * away_s / 2)
    fleets = [fleet(100, messages, prefix=name) for name in ("a", "b")]

    with Watcher(bridge) as watcher:
        victim.freeze()
        for each, part in zip(devices, fleets, strict=True):
            each.start(part, rate_per_s=rate_per_s / 2)
        let_last(away_s / 2)
        bridge.kill()
        bridge.start()
        for each in devices:
            each.wait(3 * away_s + 60.0)
        await_spooled(bridge, 2 * messages)
        victim.thaw()
        began_s = time.monotonic()
        bridge.wait_ready(QUIET_DEADLINE_S)
        await_drained(bridge, deadline_s=2 * away_s + 60.0)
        took_s = time.monotonic() - began_s
        reckoning = stage.prove(bridge)

    drained_per_s = 2 * messages / took_s
    report(
        f"away {away_s:.0f} s at {rate_per_s:.0f}/s; {2 * messages} drained in {took_s:.1f} s,"
        f" {drained_per_s:.0f}/s, {drained_per_s / rate_per_s:.1f} times the inflow;"
        f" peak {watcher.rss_peak_bytes / 1e6:.0f} MB; {reckoning}"
    )
    assert {200, None} >= set(watcher.live), "None only around the kill"
    assert watcher.rss_peak_bytes < MEMORY_MAX
    if length(0, 1):
        assert drained_per_s >= 5 * rate_per_s


@pytest.mark.slow
def test_a_start_with_kafka_away_acknowledges_and_doubles_nothing_later(
    stage: Stage, victim: KafkaProcess, length: Length
) -> None:
    bridge = stage.start()
    devices = stage.devices(window=500)
    devices.publish(fleet(DEVICES, 1_000))
    # Some of these come again after the kill, and Kafka has them: nobody knows before it is back.
    devices.start(fleet(DEVICES, 3_000, first=1_000))
    await_in_flight(bridge, 1)
    bridge.kill()
    victim.freeze()
    devices.wait()

    bridge.start()
    await_metric(bridge, "bridge_pubacks_sent_total", lambda sent: sent >= 1_000)
    devices.publish(fleet(DEVICES, 2_000, first=4_000))
    let_last(length(10.0, 60.0))
    received = await_received(bridge, 2_000)
    await_metric(bridge, "bridge_pubacks_sent_total", lambda sent: sent >= received)
    not_ready = bridge.wait_not_ready().json()
    victim.thaw()
    bridge.wait_ready(QUIET_DEADLINE_S)
    reckoning = stage.prove(bridge)

    report(f"{received} received and acknowledged with Kafka away; {not_ready}; {reckoning}")
    assert 200 == live_status(bridge)


@pytest.mark.slow
def test_a_sigterm_with_kafka_away_exits_within_the_budget_and_the_next_start_delivers_all(
    stage: Stage, victim: KafkaProcess
) -> None:
    # The spool would take over only after the stop: SIGTERM finds everything unsettled.
    bridge = stage.start(shutdown={"drain_timeout_s": 10}, spool={"after_s": 4.0})
    devices = stage.devices(window=500)
    devices.publish(fleet(DEVICES, 500))
    stage.await_nothing_in_flight(bridge)
    victim.freeze()
    devices.publish(fleet(DEVICES, 2_000, first=500))
    await_in_flight(bridge, 1_500)

    began_s = time.monotonic()
    exit_code = bridge.stop(timeout_s=30.0)
    took_s = time.monotonic() - began_s
    stopped = stopped_event(bridge)
    bridge.start()
    opened = bridge.wait_for_event("spool_opened", count=2)
    victim.thaw()
    bridge.wait_ready(QUIET_DEADLINE_S)
    reckoning = stage.prove(bridge)

    report(f"stopped in {took_s:.1f} s: {stopped}; {opened}; {reckoning}")
    assert (0, 0, 0) == (exit_code, stopped["residue"], stopped["unsettled"])
    assert 2_000 == stopped["spooled"] == opened["rows"]
    assert opened["after_clean_stop"]


@pytest.mark.slow
def test_a_full_spool_is_announced_holds_and_stays_live_and_loses_nothing_afterwards(
    stage: Stage, victim: KafkaProcess, length: Length
) -> None:
    # Room for some 14,000 messages; then the window, then the MQTT broker's queue hold the rest.
    bridge = stage.start(
        spool={"bytes_max": 8_000_000},
        mqtt={
            "unsettled_max": 2_000,
            "unsettled_bytes_max": 4_194_304,
            "broker_queue_messages": 400_000,
        },
    )
    devices = stage.lean(window=2_000)
    devices.publish(fleet(DEVICES, 2_000))
    stage.await_nothing_in_flight(bridge)

    with Watcher(bridge) as watcher:
        victim.freeze()
        # 20 minutes of 2,000/s would be hours of reading back for the oracle.
        devices.start(fleet(DEVICES, first=2_000), rate_per_s=length(2_000.0, 500.0))
        low = bridge.wait_for_event("outage_budget_low", deadline_s=60.0)
        budget_s = await_metric(bridge, "bridge_outage_budget_seconds", lambda left: left > 0)
        full = bridge.wait_for_event("spool_full", deadline_s=60.0)
        not_ready = bridge.wait_not_ready().json()["checks"]["spool"]
        acknowledged = bridge.metric("bridge_pubacks_sent_total")
        let_last(length(15.0, 1_200.0))
        still = bridge.metric("bridge_pubacks_sent_total")
        devices.stop(120.0)
        victim.thaw()
        bridge.wait_ready(QUIET_DEADLINE_S)
        reckoning = stage.prove(bridge)

    report(f"{low}; budget {budget_s:.0f} s; {full}; {not_ready}; {reckoning}")
    assert {200} == set(watcher.live)
    assert "spool_full" == not_ready["state"]
    assert acknowledged == still, "PUBACKs although neither Kafka nor the spool has the records"
    assert watcher.rss_peak_bytes < MEMORY_MAX
    bridge.wait_for_event("spool_room_again")
