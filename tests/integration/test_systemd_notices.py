"""What a real bridge tells systemd: up with both brokers away, alive only while it is, stopping."""

import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scene import QUIET_DEADLINE_S, Scene, await_in_flight
from tests.support.bridge_process import BridgeProcess
from tests.support.datagrams import NotifySocket
from tests.support.devices import fleet
from tests.support.eventually import eventually
from tests.support.kafka_cluster import KafkaProcess
from tests.support.processes import free_port

Watched = Callable[..., BridgeProcess]


@pytest.fixture
def notify(tmp_path: Path) -> Iterator[NotifySocket]:
    with NotifySocket(tmp_path / "notify") as made:
        yield made


@pytest.fixture
def start_watched(tmp_path: Path, notify: NotifySocket) -> Iterator[Watched]:
    """Start a bridge as a unit does, with the test in the place of systemd."""
    bridges: list[BridgeProcess] = []

    def start(config: Mapping[str, Any], **environment: str) -> BridgeProcess:
        bridge = BridgeProcess(
            tmp_path / f"watched-{len(bridges)}",
            config,
            env={"NOTIFY_SOCKET": notify.address, **environment},
        )
        bridges.append(bridge)
        bridge.start()
        return bridge

    yield start
    for each in bridges:
        each.kill()


def away() -> dict[str, Any]:
    """Name brokers that nobody is."""
    return {
        "mqtt": {"host": "127.0.0.1", "port": free_port(), "client_id": "watched"},
        "kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"},
    }


def test_the_unit_comes_up_with_both_brokers_away_and_says_what_it_waits_for(
    start_watched: Watched, notify: NotifySocket
) -> None:
    bridge = start_watched(away())

    notify.wait_for("READY")
    live = bridge.get("/health/live")
    status = notify.wait_for("STATUS")
    exit_code = bridge.stop()

    assert live is not None
    assert 200 == live.status
    assert status.startswith("waiting for the MQTT broker (mqtt_away) and Kafka (kafka_away: ")
    assert 0 == exit_code
    assert ["READY", "STOPPING", "EXTEND_TIMEOUT_USEC"] == [
        name for name, _ in notify.listen() if name != "STATUS"
    ]


def test_a_configuration_that_cannot_be_used_is_never_ready(
    start_watched: Watched, notify: NotifySocket
) -> None:
    first = start_watched(away())
    notify.wait_for("READY")
    state = str(first.directory / "state")

    second = start_watched(away(), STATE_DIRECTORY=state)

    assert 78 == second.wait()
    assert "is locked by process" in second.output()
    assert 1 == len(notify.values("READY"))


def test_the_status_tells_the_rate_once_messages_flow(
    scene: Scene, start_watched: Watched, notify: NotifySocket
) -> None:
    scene.create_topics()
    bridge = start_watched(scene.config())
    bridge.wait_ready(QUIET_DEADLINE_S)
    devices = scene.devices()
    devices.start(fleet(10), rate_per_s=200.0)

    eventually(
        lambda: notify.values("STATUS"),
        lambda values: " msg/s in, " in values[-1] and not values[-1].startswith("0 "),
        what="systemd is told a rate",
    )
    devices.stop()

    scene.reckon_when_quiet(bridge).assert_holds()


def test_a_blocked_loop_does_not_feed_the_watchdog(
    start_watched: Watched, notify: NotifySocket
) -> None:
    bridge = start_watched(away(), WATCHDOG_USEC="100000", BRIDGE_FAULT_POINTS="loop=stall:3600@3")
    notify.wait_for("WATCHDOG", after=3)

    # Nobody answers any more: from here on the loop is blocked.
    eventually(lambda: bridge.get("/health/live"), lambda answer: answer is None, what="blocked")
    fed = len(notify.values("WATCHDOG"))
    still_blocked = bridge.get("/health/live")

    assert still_blocked is None
    assert fed == len(notify.values("WATCHDOG"))
    bridge.send_signal(signal.SIGABRT)  # As systemd does; the place is then in the journal.
    assert -signal.SIGABRT == bridge.wait()
    assert "fault_points.py" in bridge.output()


def test_a_stop_with_kafka_frozen_asks_for_its_whole_budget(
    victim_scene: Scene, victim: KafkaProcess, start_watched: Watched, notify: NotifySocket
) -> None:
    scene = victim_scene
    scene.create_topics()
    bridge = start_watched(scene.config(shutdown={"drain_timeout_s": 11}))
    bridge.wait_ready(QUIET_DEADLINE_S)
    victim.freeze()
    scene.devices().publish(fleet(10, 100))
    await_in_flight(bridge, 100)

    exit_code = bridge.stop(timeout_s=60.0)
    victim.thaw()

    assert 0 == exit_code
    assert ["1"] == notify.values("STOPPING")
    assert ["21000000"] == notify.values("EXTEND_TIMEOUT_USEC")
    assert "stopping; 100 in flight, 0 in the spool" in notify.values("STATUS")
    bridge.start()
    reckoning = scene.reckon_when_quiet(bridge)
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()


def test_a_reload_is_answered_and_the_bridge_goes_on(
    start_watched: Watched, notify: NotifySocket
) -> None:
    bridge = start_watched(away())
    notify.wait_for("READY")

    bridge.send_signal(signal.SIGHUP)
    notify.wait_for("READY", after=1)

    told = [name for name, _ in notify.listen()]
    assert ["RELOADING", "MONOTONIC_USEC", "READY"] == told[-4:-1]
    assert bridge.events("configuration_reloaded", cause="signal")
    assert 0 == bridge.stop()
