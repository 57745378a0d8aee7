"""`follow` and `run --device` on a real bridge between real brokers."""

import subprocess
import sys

from tests.integration.scene import Scene
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import DeviceMessage, telemetry


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


def test_a_bridge_follows_a_device_from_its_start_and_ends_by_itself(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    bridge.stop()
    scene.devices().publish([telemetry("dev-1", 1)])
    bridge.arguments = ("--device", "dev-1", "--device-for", "5")

    bridge.start()
    bridge.wait_for_event("message_followed", device_id="dev-1", end="produced")
    ended = bridge.wait_for_event("follow_ended")

    assert ("expired", 1) == (ended["cause"], ended["messages"])


def test_where_no_bridge_runs_nothing_is_left_for_a_later_one(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    bridge.stop()

    done = follow(bridge, "dev-1")

    assert 69 == done.returncode
    assert "no bridge took the request" in done.stderr
    assert not (bridge.directory / "state" / "follow.json").exists()
