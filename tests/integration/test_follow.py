"""`follow` and `run --device` on a real bridge between real brokers."""

import json
import subprocess
import sys

from tests.integration.scene import Scene
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import DeviceMessage, telemetry
from tests.support.kafka_cluster import KafkaProcess


def follow(bridge: BridgeProcess, *arguments: str) -> "subprocess.CompletedProcess[str]":
    state = str(bridge.directory / "state")
    command = [sys.executable, "-m", "bridge", "follow", "--state-directory", state]
    return subprocess.run(
        [*command, "--config", str(bridge.config_path), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_running_bridge_tells_one_device_message_by_message(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    good = telemetry("dev-1", 1)
    bad = DeviceMessage(topic="devices/dev-1/telemetry", payload=b"no json")

    asked = follow(bridge, "dev-1")
    bridge.wait_for_event("follow_began", device_id="dev-1", for_s=600.0)
    scene.devices().publish([good, bad, telemetry("dev-2", 1)])
    scene.await_quiet(bridge)
    stopped = follow(bridge, "--stop")
    scene.devices().publish([telemetry("dev-1", 2)])
    scene.await_quiet(bridge)

    assert (0, 0) == (asked.returncode, stopped.returncode), asked.stderr + stopped.stderr
    assert "message_followed" in asked.stdout
    told = bridge.events("message_followed")
    assert ["dev-1", "dev-1"] == [each["device_id"] for each in told]
    found = scene.read()
    (accepted,) = (each for each in told if each["verdict"] == "accepted")
    assert (accepted["partition"], accepted["offset"]) in {
        (each.partition, each.offset) for each in found.telemetry if each.key == b"dev-1"
    }
    (rejected,) = (each for each in told if each["verdict"] == "rejected")
    (letter,) = found.dead_letters
    assert (rejected["partition"], rejected["offset"]) == (letter.partition, letter.offset)
    assert rejected["dlq_id"].encode() == letter.header("dlq.id")
    (ended,) = bridge.events("follow_ended")
    assert ("stopped", 2) == (ended["cause"], ended["messages"])


def test_a_bridge_follows_a_device_from_its_start_until_it_stops(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    bridge.stop()
    scene.devices().publish([telemetry("dev-1", 1)])
    bridge.arguments = ("--device", "dev-1", "--device-for", "300")

    bridge.start()
    bridge.wait_for_event("message_followed", device_id="dev-1", end="produced")
    bridge.stop()

    (began,), (ended,) = bridge.events("follow_began"), bridge.events("follow_ended")
    assert 300.0 == began["for_s"]
    assert ("stopped", 1) == (ended["cause"], ended["messages"])


def test_where_no_bridge_runs_nothing_is_left_for_a_later_one(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    bridge.stop()

    done = follow(bridge, "dev-1")

    assert 69 == done.returncode
    assert "no bridge took the request" in done.stderr
    assert not (bridge.directory / "state" / "follow.json").exists()


def test_what_goes_over_the_disk_is_told_there_and_again_once_kafka_has_it(
    victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics()
    bridge = scene.start(spool={"after_s": 1.0})
    follow(bridge, "dev-1")

    victim.freeze()
    scene.devices().publish([telemetry("dev-1", 1)])
    spooled = bridge.wait_for_event("message_followed", end="spooled")
    victim.thaw()
    drained = bridge.wait_for_event("message_followed", end="drained", deadline_s=120.0)

    scene.await_nothing_in_flight(bridge)
    (record,) = (each for each in scene.read().telemetry if each.key == b"dev-1")
    assert (record.partition, record.offset) == (drained["partition"], drained["offset"])
    assert "partition" not in spooled
    assert spooled["packet_id"] >= 1
    assert spooled["idempotency_key"] == drained["idempotency_key"]


def test_each_reading_of_a_batch_is_told(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start(route={"kind": "batch"})
    good = json.loads(telemetry("dev-1", 1).payload)
    readings = [
        {"timestamp": good["timestamp"], "metrics": {"number": number}} for number in range(3)
    ]
    body = {"device_id": "dev-1", "batch_id": "b-1", "readings": [*readings, {"metrics": 1}]}
    follow(bridge, "dev-1")

    batch = DeviceMessage(topic="devices/dev-1/telemetry", payload=json.dumps(body).encode())
    scene.devices().publish([batch])
    bridge.wait_for_event("message_followed", count=4)

    told = bridge.events("message_followed", batch_id="b-1")
    assert {0: "accepted", 1: "flagged", 2: "flagged", 3: "rejected"} == {
        each["reading_index"]: each["verdict"] for each in told
    }
    assert 1 == len({each["packet_id"] for each in told})
