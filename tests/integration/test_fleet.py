"""Who fell silent and whose clock is wrong, with real brokers: told once, to Kafka and the log."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scene import QUIET_DEADLINE_S, Scene, await_received
from tests.integration.speakers import (
    INTERVAL_S,
    MQTT,
    SILENCE,
    Alerts,
    Mortal,
    Speakers,
    with_presence,
)
from tests.support.bridge_process import BridgeProcess, Config
from tests.support.devices import DeviceMessage, fleet
from tests.support.eventually import eventually, let_last

DEVICES = [f"device-{number}" for number in range(10)]
MANY = [f"device-{number}" for number in range(40)]
SILENT_S = 3 * INTERVAL_S
JUDGED_S = 2 * SILENT_S
"""By then whoever was to be told is told."""


@pytest.fixture
def alerts(scene: Scene, unique_name: Callable[[str], str]) -> Alerts:
    scene.create_topics()
    return Alerts(scene.client, unique_name("alerts"))


def sections(alerts: Alerts, **silence: Any) -> dict[str, Any]:
    return {"mqtt": MQTT, "silence": {**SILENCE, "kafka_topic": alerts.kafka_topic, **silence}}


def await_live(bridge: BridgeProcess, devices: int) -> None:
    """Wait until their intervals are surely known."""
    eventually(
        lambda: bridge.metric("bridge_devices", state="live"),
        lambda live: live >= devices,
        what=f"{devices} devices are live",
    )
    let_last(2 * INTERVAL_S)


def ranked(bridge: BridgeProcess, sort: str) -> list[dict[str, Any]]:
    answer = bridge.get(f"/status/devices?sort={sort}")
    assert answer is not None
    assert 200 == answer.status
    found: dict[str, Any] = answer.json()
    assert sort == found["sort"]
    devices: list[dict[str, Any]] = found["devices"]
    return devices


@pytest.mark.slow
def test_a_silence_is_told_once_through_a_restart_and_so_is_its_end(
    scene: Scene, alerts: Alerts
) -> None:
    bridge = scene.start(**sections(alerts))
    silent, *others = DEVICES
    with Speakers(scene.devices(), DEVICES) as fleet:
        await_live(bridge, len(DEVICES))
        fleet.silence(silent)
        alerts.await_told(("device_silence", silent))
        assert 1 == bridge.metric("bridge_device_alerts_total", type="device_silence")
        assert 1 == bridge.metric("bridge_devices", state="silent")

        assert 0 == bridge.stop()
        bridge.start()
        bridge.wait_ready(QUIET_DEADLINE_S)
        let_last(JUDGED_S)
        assert [("device_silence", silent)] == alerts.told()
        assert 1 == bridge.metric("bridge_devices", state="silent")

        fleet.wake(silent)
        alerts.await_told(("device_recovered", silent), ("device_silence", silent))

    silence, recovered = alerts.records()
    assert (scene.client_id, INTERVAL_S) == (silence["client_id"], silence["expected_interval_s"])
    assert SILENT_S <= silence["silent_s"] < JUDGED_S + 5.0
    assert recovered["silent_s"] > silence["silent_s"]
    (event,) = bridge.events("device_silent")
    assert silent == event["device_id"]
    assert 1 == len(bridge.events("device_recovered", device_id=silent))
    assert [] == [each for each in bridge.events("device_silent") if each["device_id"] in others]


@pytest.mark.slow
def test_many_at_once_are_one_alert_and_one_when_they_are_back(
    scene: Scene, alerts: Alerts
) -> None:
    bridge = scene.start(**sections(alerts))
    with Speakers(scene.devices(), MANY) as fleet:
        await_live(bridge, len(MANY))

        fleet.silence(*MANY[:30])
        alerts.await_told(("fleet_silence", ""))
        let_last(JUDGED_S)
        assert 1.0 == bridge.metric("bridge_fleet_silent")
        fleet.wake(*MANY[:30])
        alerts.await_told(("fleet_recovered", ""), ("fleet_silence", ""))

    silence, _ = alerts.records()
    assert silence["devices"] >= 20
    assert 1 == len(bridge.events("fleet_silent")) == len(bridge.events("fleet_recovered"))
    assert [] == bridge.events("device_silent")


@pytest.mark.slow
def test_a_will_makes_a_device_offline_at_once_and_its_return_online(
    scene: Scene,
    alerts: Alerts,
    unique_name: Callable[[str], str],
    start_bridge: Callable[[Config], BridgeProcess],
) -> None:
    status = scene.client.create_topic(unique_name("status"), 4)
    bridge = start_bridge(with_presence(scene.config(**sections(alerts)), status))
    bridge.wait_ready(QUIET_DEADLINE_S)
    mortal = Mortal("device-0", scene.mosquitto.port)
    with Speakers(scene.devices(), DEVICES) as fleet:
        mortal.live()
        await_live(bridge, len(DEVICES))

        fleet.silence("device-0")
        mortal.die()
        alerts.await_told(("device_offline", "device-0"))
        assert 1 == bridge.metric("bridge_devices", state="offline")
        let_last(JUDGED_S)
        mortal.live()
        fleet.wake("device-0")
        alerts.await_told(("device_offline", "device-0"), ("device_online", "device-0"))

    carried = [each.value for each in scene.client.consume_all(status)]
    assert [b'{"status": "online"}', b"offline", b'{"status": "online"}'] == carried
    mortal.die()


@pytest.mark.slow
def test_an_outage_of_the_mqtt_broker_makes_nobody_silent(scene: Scene, alerts: Alerts) -> None:
    bridge = scene.start(**sections(alerts))
    with Speakers(scene.devices(), DEVICES):
        await_live(bridge, len(DEVICES))

        scene.mosquitto.stop()
        let_last(JUDGED_S)
        scene.mosquitto.start()
        bridge.wait_ready(QUIET_DEADLINE_S)
        let_last(JUDGED_S)

    assert [] == alerts.told()
    assert [] == bridge.events("device_silent") == bridge.events("fleet_silent")


@pytest.mark.slow
def test_a_clock_that_is_wrong_is_told_and_again_when_it_is_right_and_devices_can_be_ranked(
    scene: Scene, alerts: Alerts
) -> None:
    bridge = scene.start(**sections(alerts))
    with Speakers(scene.devices(), DEVICES) as fleet:
        fleet.wake("device-3", ahead_s=100.0)
        wrong = bridge.wait_for_event("device_clock_wrong", deadline_s=60.0)
        assert "device-3" == wrong["device_id"]
        assert -100.0 == pytest.approx(wrong["offset_s"], abs=5.0)
        assert 1.0 == bridge.metric("bridge_device_clocks_wrong")
        (worst, *_) = ranked(bridge, "drift")
        assert "device-3" == worst["device_id"]
        assert -100.0 == pytest.approx(worst["clock_offset_s"], abs=5.0)

        fleet.wake("device-3", ahead_s=0.0)
        right = bridge.wait_for_event("device_clock_right", deadline_s=120.0)
        assert "device-3" == right["device_id"]
        bad = DeviceMessage(topic="devices/device-4/telemetry", payload=b"{")
        scene.devices().publish([bad] * 50)
        eventually(
            lambda: ranked(bridge, "errors"),
            lambda devices: devices and "device-4" == devices[0]["device_id"],
            what="the device with the errors comes first",
        )
        rates = [each["messages_per_s"] for each in ranked(bridge, "rate")]

    assert 1 == len(bridge.events("device_clock_wrong"))
    assert rates == sorted(rates, reverse=True)
    assert len(rates) >= len(DEVICES)
    refused = bridge.get("/status/devices?sort=size")
    assert refused is not None
    assert (400, "sort is one of rate, errors, drift, silence") == (
        refused.status,
        refused.body.strip(),
    )
    names = "\n".join(bridge.metrics())
    assert "bridge_device_clock_offset_seconds_bucket" in names
    assert re.search(r"device-\d", names) is None, "no label names a device"


def test_messages_are_counted_by_the_type_that_the_registry_gives_their_device(
    scene: Scene, tmp_path: Path
) -> None:
    scene.create_topics()
    registry = tmp_path / "devices.toml"
    registry.write_text(
        '[device.device-0]\ntype = "thermometer"\n[device.device-1]\ntype = "hygrometer"\n'
    )
    bridge = scene.start(registry={"file": str(registry)}, validation={"business": "forward"})

    scene.devices().publish(fleet(3, 9))
    await_received(bridge, 9)
    scene.await_nothing_in_flight(bridge)

    counted = {
        (device_type, status): bridge.metric(
            "ingestion_messages_total", device_type=device_type, status=status
        )
        for device_type, status in (
            *(("thermometer", "accepted"), ("hygrometer", "accepted")),
            *(("other", "flagged"), ("unknown", "accepted")),
        )
    }
    assert {
        ("thermometer", "accepted"): 3.0,
        ("hygrometer", "accepted"): 3.0,
        ("other", "flagged"): 3.0,
        ("unknown", "accepted"): 0.0,
    } == counted
