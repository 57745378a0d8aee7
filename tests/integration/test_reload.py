"""The configuration read anew while messages flow: what is taken, refused, and left for later."""

import itertools
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scene import Scene, assert_nothing_doubled_untold, await_received
from tests.support.bridge_process import BridgeProcess, HttpAnswer
from tests.support.devices import fleet, telemetry
from tests.support.eventually import eventually, let_last
from tests.support.kafka_cluster import KafkaProcess

RATE_PER_S = 500.0


def reload(bridge: BridgeProcess, config: Mapping[str, Any]) -> None:
    bridge.write_config(config)
    bridge.send_signal(signal.SIGHUP)


def test_a_range_that_changed_judges_the_next_message(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    devices = scene.devices()
    devices.publish([telemetry("device-1", 1)])
    scene.await_quiet(bridge)

    reload(bridge, scene.config(validation={"ranges": {"temperature": [0, 20]}}))
    reloaded = bridge.wait_for_event("configuration_reloaded", cause="signal")
    devices.publish([telemetry("device-1", 2)])

    assert ["validation.ranges.temperature: [-50.0, 150.0] -> [0.0, 20.0]"] == reloaded["changed"]
    assert [] == reloaded["needs_restart"]
    scene.await_quiet(bridge)
    warnings = [
        b'"warnings"' in (each.value or b"")
        for each in scene.read().telemetry
        if each.key == b"device-1"
    ]
    assert [False, True] == sorted(warnings)
    assert 1 == bridge.metric("bridge_reloads_total", outcome="taken")
    status = bridge.get("/status")
    assert status is not None
    assert ("taken", "signal") == (
        status.json()["reload"]["outcome"],
        status.json()["reload"]["cause"],
    )


def test_a_file_that_was_saved_is_read_without_being_told(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()

    bridge.write_config(scene.config(log={"level": "debug"}))

    reloaded = bridge.wait_for_event("configuration_reloaded", cause="file")
    assert ['log.level: "info" -> "debug"'] == reloaded["changed"]


def test_a_bad_file_leaves_all_as_it_is_and_is_told_with_its_line(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    devices = scene.devices()

    reload(
        bridge, scene.config(limits={"burst": 0}, validation={"ranges": {"temperature": [0, 1]}})
    )

    refused = bridge.wait_for_event("reload_refused")
    (problem,) = refused["problems"]
    assert "limits.burst" in problem
    assert " line " in problem
    devices.publish([telemetry("device-1", 1)])
    reckoning = scene.reckon_when_quiet(bridge)
    reckoning.assert_holds()
    assert not any(b'"warnings"' in (each.value or b"") for each in scene.read().telemetry)
    assert 1 == bridge.metric("bridge_reloads_total", outcome="refused")


def test_a_secret_that_nobody_would_ever_finish_reading_is_refused_and_reloads_go_on(
    scene: Scene, tmp_path: Path
) -> None:
    scene.create_topics()
    password = tmp_path / "password"
    password.write_text("first")
    password.chmod(0o600)
    config = scene.config(mqtt={"username": "b", "password": {"file": password}})
    bridge = scene.start(mqtt={"username": "b", "password": {"file": password}})

    password.unlink()
    os.mkfifo(password, 0o600)
    bridge.send_signal(signal.SIGHUP)

    (problem,) = bridge.wait_for_event("reload_refused", cause="signal")["problems"]
    assert "it is no regular file" in problem
    password.unlink()
    password.write_text("second")
    password.chmod(0o644)
    reload(bridge, config)
    bridge.wait_for_event("configuration_reloaded", renewed=["mqtt"])
    assert "mode 0644" in bridge.wait_for_event("configuration_warned")["warning"]


def test_what_needs_a_restart_is_named_and_the_rest_is_taken(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()

    missing = HttpAnswer(0, '{"reload": null}')

    reload(
        bridge,
        scene.config(mqtt={"keep_alive_s": 20}, spool={"after_s": 7}, log={"level": "warning"}),
    )

    status = eventually(
        lambda: (bridge.get("/status") or missing).json()["reload"],
        what="the reload is in /status",
    )
    assert ["mqtt.keep_alive_s", "spool.after_s"] == status["needs_restart"]
    assert ['log.level: "info" -> "warning"'] == status["changed"]
    assert [] == bridge.events("configuration_reloaded"), "an info event, below the level"


def test_a_route_comes_and_one_goes_under_load_and_nothing_is_lost(
    scene: Scene, unique_name: Callable[[str], str]
) -> None:
    scene.create_topics()
    sites = unique_name("sites")
    scene.client.create_topic(sites, 2)
    bridge = scene.start()
    devices = scene.devices()
    devices.start(fleet(20), rate_per_s=RATE_PER_S)
    await_received(bridge, 200)
    both = scene.config()
    both["route"].append({"filter": "sites/+/t", "kafka_topic": sites})

    reload(bridge, both)

    bridge.wait_for_event("mqtt_subscribed", filters=["devices/+/telemetry", "sites/+/t"])
    elsewhere = scene.devices()
    elsewhere.publish([telemetry("site-1", n, mqtt_topic="sites/site-1/t") for n in range(50)])
    scene.client.consume_all(sites, until=lambda found: len(found) == 50)

    reload(bridge, {**both, "route": both["route"][1:]})

    bridge.wait_for_event("mqtt_unsubscribed", filters=["devices/+/telemetry"], refused=[])
    bridge.wait_ready()
    devices.stop()
    scene.await_nothing_in_flight(bridge)
    received = bridge.metric("bridge_messages_received_total")
    found = scene.read()
    assert (received - 50, []) == (len(found.telemetry), found.dead_letters)
    assert 0 == bridge.metric("bridge_conservation_residue")
    # What it left stays left: the broker sends nothing of it to the next process either.
    assert 0 == bridge.stop()
    devices.publish([telemetry("device-1", 1_000_000 + n) for n in range(20)])
    bridge.start()
    bridge.wait_ready()
    elsewhere.publish([telemetry("site-1", 99, mqtt_topic="sites/site-1/t")])
    scene.client.consume_all(sites, until=lambda records: len(records) == 51)
    assert len(found.telemetry) == len(scene.read().telemetry)


def test_a_filter_that_only_the_file_of_the_last_process_had_is_left_at_a_start(
    scene: Scene,
) -> None:
    scene.create_topics()
    config = scene.config()
    config["route"].append({"filter": "sites/+/t", "kafka_topic": scene.telemetry})
    bridge = scene.start()
    reload(bridge, config)
    bridge.wait_for_event("mqtt_subscribed", filters=["devices/+/telemetry", "sites/+/t"])
    bridge.stop()
    bridge.write_config(scene.config())

    bridge.start()

    bridge.wait_for_event("mqtt_unsubscribed", filters=["sites/+/t"], refused=[])


def test_what_was_queued_for_a_route_that_a_restart_removed_is_carried_once(scene: Scene) -> None:
    scene.create_topics()
    both = scene.config()
    both["route"].append({"filter": "sites/+/t", "kafka_topic": scene.telemetry})
    bridge = scene.start()
    reload(bridge, both)
    bridge.wait_for_event("mqtt_subscribed", filters=["devices/+/telemetry", "sites/+/t"])
    devices = scene.devices(window=500)
    devices.start(
        (
            telemetry(f"site-{n % 20}", n // 20, mqtt_topic=f"sites/site-{n % 20}/t")
            for n in itertools.count()
        ),
        rate_per_s=1_000.0,
    )
    await_received(bridge, 1_500)

    bridge.kill()
    let_last(0.5)
    devices.stop()
    bridge.write_config(scene.config())
    bridge.start()

    bridge.wait_for_event("mqtt_unsubscribed", filters=["sites/+/t"])
    reckoning = scene.reckon_when_quiet(bridge)
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()
    assert [] == scene.read().dead_letters


def test_signals_in_a_row_are_answered_and_messages_go_on(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    devices = scene.devices()
    devices.start(fleet(20), rate_per_s=RATE_PER_S)
    await_received(bridge, 100)

    for burst in range(10, 30):
        reload(bridge, scene.config(limits={"per_device_per_s": 0, "burst": burst}))
    eventually(
        lambda: [each["changed"] for each in bridge.events("configuration_reloaded")],
        lambda changed: any(texts and texts[-1].endswith("-> 29") for texts in changed),
        what="the last of them is taken",
    )
    await_received(bridge, 1_000)
    devices.stop()

    scene.reckon_when_quiet(bridge).assert_holds()


def test_a_producer_with_other_properties_takes_over_under_load(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    devices = scene.devices(window=500)
    devices.start(fleet(50), rate_per_s=2_000.0)
    await_received(bridge, 2_000)

    for linger in (20, 1, 50):
        reload(bridge, scene.config(kafka={"properties": {"linger.ms": linger}}))
        bridge.wait_for_event("configuration_reloaded", renewed=["kafka"], count=1)
        await_received(bridge, int(bridge.metric("bridge_messages_received_total")) + 1_000)
    devices.stop()

    reckoning = scene.reckon_when_quiet(bridge)
    reckoning.assert_holds()
    assert 0 == reckoning.duplicates
    renewals = bridge.events("kafka_producer_renewed")
    assert [True] * 3 == [each["is_drained"] for each in renewals]
    assert 0 == bridge.metric("bridge_producer_rebuilds_total")


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_renewal_loses_doubles_and_reorders_nothing(
    scene: Scene,
) -> None:
    scene.create_topics()
    bridge = scene.start()
    devices = scene.devices(window=500)
    devices.start(fleet(50), rate_per_s=1_500.0)
    for linger in (250, 200, 150):
        await_received(bridge, 1_500)
        reload(bridge, scene.config(kafka={"properties": {"linger.ms": linger}}))
        let_last(0.35)  # The file has come to rest by then, and the successor is being tried.
        bridge.kill()
        bridge.start()
        bridge.wait_ready(120.0)
    devices.stop()

    reckoning = scene.reckon_when_quiet(bridge)
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()


def test_properties_that_kafka_does_not_answer_to_are_not_taken(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    devices = scene.devices()

    reload(bridge, scene.config(kafka={"properties": {"security.protocol": "SSL"}}))

    bridge.wait_for_event("kafka_renewal_failed", deadline_s=60.0)
    devices.publish([telemetry("device-1", 1)])
    scene.reckon_when_quiet(bridge).assert_holds()
    assert [] == bridge.events("kafka_producer_renewed")


def test_a_file_that_is_empty_for_a_moment_is_not_all_defaults(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()

    bridge.config_path.write_text("")
    bridge.send_signal(signal.SIGHUP)

    (problem,) = bridge.wait_for_event("reload_refused", cause="signal")["problems"]
    assert "is empty" in problem
    assert [] == bridge.events("configuration_reloaded")


@pytest.mark.slow
def test_a_reload_that_lacked_a_file_is_taken_once_the_file_is_there(
    scene: Scene, tmp_path: Path
) -> None:
    scene.create_topics()
    bridge = scene.start()
    secret = tmp_path / "password"

    reload(bridge, scene.config(mqtt={"username": "bridge", "password": {"file": str(secret)}}))
    bridge.wait_for_event("reload_refused", cause="signal")
    # Whoever watches the configuration asks as well, for the last time.
    (problem,) = bridge.wait_for_event("reload_refused", cause="file")["problems"]
    secret.write_text("correct horse\n", encoding="utf-8")
    reloaded = bridge.wait_for_event("configuration_reloaded", deadline_s=90.0, cause="retry")

    assert str(secret) in problem
    assert ["mqtt"] == reloaded["renewed"]


@pytest.mark.slow
def test_a_kafka_that_dies_in_the_middle_of_a_renewal_gets_everything_once_or_it_is_told(
    victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics()
    bridge = scene.start(spool={"after_s": 3})
    devices = scene.devices(window=500)
    devices.start(fleet(50), rate_per_s=1_000.0)
    await_received(bridge, 1_000)

    reload(bridge, scene.config(spool={"after_s": 3}, kafka={"properties": {"linger.ms": 20}}))
    let_last(0.3)
    victim.kill()
    bridge.wait_for_event("kafka_unreachable", deadline_s=60.0)
    victim.start()
    bridge.wait_for_event("kafka_producer_renewed", deadline_s=90.0)
    await_received(bridge, 3_000)
    devices.stop()

    reckoning = scene.reckon_when_quiet(bridge)
    reckoning.assert_holds()
    assert_nothing_doubled_untold(bridge, reckoning)


@pytest.mark.slow
def test_a_frozen_kafka_does_not_hold_a_renewal_and_nothing_is_doubled(
    victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics()
    bridge = scene.start(spool={"after_s": 3})
    devices = scene.devices(window=500)
    devices.start(fleet(50), rate_per_s=1_000.0)
    await_received(bridge, 1_000)
    victim.freeze()
    bridge.wait_for_event("kafka_unreachable", deadline_s=60.0)

    reload(bridge, scene.config(spool={"after_s": 3}, kafka={"properties": {"linger.ms": 20}}))

    renewed = bridge.wait_for_event("kafka_producer_renewed", deadline_s=90.0)
    victim.thaw()
    devices.stop()
    assert False is renewed["is_drained"]
    reckoning = scene.reckon_when_quiet(bridge)
    reckoning.assert_holds()
    assert 0 == reckoning.duplicates
