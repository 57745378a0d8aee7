"""Brokers and names that are not there: the bridge waits, says so, and comes up alone."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.scene import QUIET_DEADLINE_S, Scene
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import fleet
from tests.support.eventually import eventually
from tests.support.kafka_cluster import KafkaProcess

NOWHERE = "does-not-exist.invalid"
# A resolver that knows the name once the file `address` is there: /etc/hosts belongs to root.
RESOLVER = """\
import pathlib, socket
asked = socket.getaddrinfo
known = pathlib.Path({address!r})
def getaddrinfo(host, *rest, **more):
    if host in ({name!r}, {name!r}.encode()) and known.exists():
        host = "127.0.0.1"
    return asked(host, *rest, **more)
socket.getaddrinfo = getaddrinfo
"""


def checks_of(bridge: BridgeProcess) -> dict[str, Any]:
    answer = bridge.get("/health/ready")
    assert answer is not None
    checks: dict[str, Any] = answer.json()["checks"]
    return checks


def assert_live(bridge: BridgeProcess) -> None:
    answer = bridge.get("/health/live")
    assert answer is not None
    assert 200 == answer.status, answer.body


@pytest.mark.slow
@pytest.mark.parametrize("first", ["mosquitto", "kafka"])
def test_a_bridge_that_starts_before_both_brokers_comes_up_alone(
    first: str, victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics()
    brokers = {"mosquitto": scene.mosquitto.start, "kafka": victim.start}
    victim.kill()
    scene.mosquitto.kill()
    bridge = scene.spawn()
    bridge.wait_for_event("mqtt_connect_failed")
    bridge.wait_for_event("kafka_unreachable")
    both_away = bridge.wait_not_ready().json()["checks"]
    assert_live(bridge)

    brokers.pop(first)()
    came, away = ("mqtt", "kafka") if first == "mosquitto" else ("kafka", "mqtt")
    eventually(
        lambda: checks_of(bridge),
        lambda checks: checks[came]["ok"],
        what=f"{came} is well",
        deadline_s=QUIET_DEADLINE_S,
    )
    one_away = bridge.wait_not_ready().json()["checks"]
    assert_live(bridge)
    for start in brokers.values():
        start()
    bridge.wait_ready(QUIET_DEADLINE_S)
    scene.devices().publish(fleet(10, 100))

    assert (False, False) == (both_away["mqtt"]["ok"], both_away["kafka"]["ok"])
    assert (True, False) == (one_away[came]["ok"], one_away[away]["ok"])
    reckoning = scene.reckon_when_quiet(bridge)
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()


@pytest.mark.slow
def test_ready_is_refused_while_kafka_is_frozen_and_live_is_not(
    victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics()
    bridge = scene.start()
    devices = scene.devices()
    devices.publish(fleet(10, 100))

    victim.freeze()
    devices.publish(fleet(10, 100))
    refused = bridge.wait_not_ready(QUIET_DEADLINE_S).json()
    assert_live(bridge)
    unreachable = bridge.wait_for_event("kafka_unreachable")
    victim.thaw()
    bridge.wait_ready(QUIET_DEADLINE_S)

    assert (True, False) == (refused["checks"]["mqtt"]["ok"], refused["checks"]["kafka"]["ok"])
    assert "kafka_away" == refused["checks"]["kafka"]["state"]
    assert unreachable["error"]
    bridge.wait_for_event("kafka_recovered")
    scene.reckon_when_quiet(bridge).assert_holds()


def test_a_name_that_dns_does_not_know_is_told_and_tried_until_it_does(
    scene: Scene, tmp_path: Path
) -> None:
    scene.create_topics()
    address = tmp_path / "address"
    resolver = tmp_path / "resolver"
    resolver.mkdir()
    (resolver / "sitecustomize.py").write_text(
        RESOLVER.format(address=str(address), name=NOWHERE), encoding="utf-8"
    )
    config = scene.config(mqtt={"host": NOWHERE})
    repository = Path(__file__).parents[2]
    bridge = BridgeProcess(
        tmp_path / "bridge",
        config,
        # uvloop asks the resolver itself, past what is put in its place here.
        env={"PYTHONPATH": f"{resolver}:{repository}", "BRIDGE_EVENT_LOOP": "asyncio"},
    )
    bridge.start()
    try:
        failed = bridge.wait_for_event("mqtt_connect_failed", count=2)
        not_ready = bridge.wait_not_ready()
        assert_live(bridge)

        address.touch()
        bridge.wait_ready(QUIET_DEADLINE_S)
        scene.devices().publish(fleet(10, 100))

        assert f"{NOWHERE}:{scene.mosquitto.port}" == failed["address"]
        assert "name" in failed["reason"].lower(), failed[
            "reason"
        ]  # The words are the C library's.
        assert "mqtt_away" == not_ready.json()["checks"]["mqtt"]["state"]
        scene.reckon_when_quiet(bridge).assert_holds()
    finally:
        bridge.kill()


def test_a_kafka_name_that_dns_does_not_know_keeps_the_bridge_waiting(scene: Scene) -> None:
    bridge = scene.spawn(kafka={"bootstrap_servers": f"{NOWHERE}:9092"})

    unreachable = bridge.wait_for_event("kafka_unreachable")
    checks = bridge.wait_not_ready().json()["checks"]

    assert f"{NOWHERE}:9092" == unreachable["bootstrap_servers"]
    assert "kafka_away" == checks["kafka"]["state"]
    assert_live(bridge)
    assert 0 == bridge.stop()
