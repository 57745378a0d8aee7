"""Nothing is in Kafka twice: through redelivery, crashes, and a Kafka that comes back late."""

import pytest

from tests.integration.scene import (
    Scene,
    assert_nothing_doubled_untold,
    await_in_flight,
    await_owed,
    await_received,
    report,
)
from tests.support.devices import fleet
from tests.support.kafka_cluster import KafkaProcess

DEVICES = 50


def test_what_a_frozen_kafka_takes_after_the_bridge_was_killed_is_not_produced_again(
    victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics()
    bridge = scene.start()
    devices = scene.devices()
    devices.publish(fleet(DEVICES, 500))
    scene.await_nothing_in_flight(bridge)

    victim.freeze()
    devices.publish(fleet(DEVICES, 1_000))
    unsettled = await_in_flight(bridge, 1_000)
    bridge.kill()
    bridge.start()
    bridge.wait_for_event("mqtt_subscribed", count=2)
    victim.thaw()
    bridge.wait_ready(120.0)
    reckoning = scene.reckon_when_quiet(bridge)

    report(f"unsettled at the kill: {unsettled}; doubled: {reckoning.duplicates}")
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()


def test_a_stop_with_everything_unsettled_doubles_nothing_though_the_time_to_live_has_passed(
    victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics()
    dedup = {"ttl_s": 1}
    bridge = scene.start(dedup=dedup, shutdown={"drain_timeout_s": 6}, spool={"bytes_max": 0})
    devices = scene.devices()
    devices.publish(fleet(DEVICES, 500))
    scene.await_nothing_in_flight(bridge)

    victim.freeze()
    devices.publish(fleet(DEVICES, 2_000))
    await_in_flight(bridge, 2_000)
    assert 0 == bridge.stop(timeout_s=30)
    victim.thaw()
    bridge.start()
    bridge.wait_ready(120.0)
    reckoning = scene.reckon_when_quiet(bridge)

    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()


def test_a_publisher_that_sends_everything_again_adds_nothing(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    devices = scene.devices()
    messages = list(fleet(DEVICES, 1_000))

    devices.publish(messages)
    scene.await_nothing_in_flight(bridge)
    devices.publish(messages)
    await_received(bridge, 2_000)
    scene.await_nothing_in_flight(bridge)
    found = scene.read()

    assert 1_000 == sum(
        each.key != b"probe" and b"device" in (each.key or b"") for each in found.telemetry
    )
    assert 1_000 == bridge.metric("bridge_messages_settled_total", outcome="duplicate")
    assert 0 == bridge.metric("bridge_conservation_residue")


def test_after_a_restart_the_bridge_knows_what_kafka_has(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    devices = scene.devices()
    messages = list(fleet(DEVICES, 1_000))
    devices.publish(messages)
    scene.await_nothing_in_flight(bridge)
    bridge.kill()

    bridge.start()
    bridge.wait_ready(60.0)
    devices.publish(messages)
    await_received(bridge, 1_000)
    scene.await_nothing_in_flight(bridge)

    assert 1_000 == bridge.metric("bridge_messages_settled_total", outcome="duplicate")
    assert 0 == bridge.metric("bridge_messages_settled_total", outcome="produced")


def test_turned_off_every_copy_is_carried(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start(dedup={"keys_max": 0})
    devices = scene.devices()
    messages = list(fleet(DEVICES, 200))

    devices.publish(messages)
    devices.publish(messages)
    await_received(bridge, 400)
    scene.await_nothing_in_flight(bridge)

    assert 0 == bridge.metric("bridge_messages_settled_total", outcome="duplicate")


@pytest.mark.slow
def test_a_kafka_killed_under_load_comes_back_to_no_loss_and_no_double_untold(
    victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics(partitions=4)
    bridge = scene.start()
    devices = scene.devices(window=500)
    devices.start(fleet(DEVICES), rate_per_s=1_500.0)

    for _ in range(3):
        await_received(bridge, 2_000)
        victim.kill()
        await_owed(bridge, 500)
        victim.start()
        bridge.wait_ready(120.0)
    devices.stop()
    reckoning = scene.reckon_when_quiet(bridge)

    report(f"doubled: {reckoning.duplicates}")
    reckoning.assert_holds()
    assert_nothing_doubled_untold(bridge, reckoning)
