"""SIGKILL in the middle of the flow: nothing that the MQTT broker took over is lost."""

import pytest

from tests.integration.scene import (
    Scene,
    await_oldest_unsettled,
    await_owed,
    await_received,
    report,
)
from tests.support.devices import fleet
from tests.support.kafka_cluster import KafkaProcess

KILLS = 5
UNSETTLED_AT_LEAST = 500
RECEIVED_BETWEEN = 4_000
RATE_PER_S = 2_500.0
DEVICES = 200
LINGER_MS = 300


@pytest.mark.slow
def test_five_kills_each_with_hundreds_unsettled_lose_nothing_and_keep_the_order(
    victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics(partitions=8)
    # Linger keeps a part of the flow unsettled also while Kafka takes records.
    bridge = scene.start(kafka={"properties": {"linger.ms": LINGER_MS}})
    devices = scene.devices(window=1_000)
    devices.start(fleet(DEVICES), rate_per_s=RATE_PER_S)
    unsettled: list[int] = []

    for kill in range(KILLS):
        await_received(bridge, RECEIVED_BETWEEN)
        if kill % 2:
            # Requests lie in the socket of a Kafka that takes them after the bridge is dead.
            victim.freeze()
            await_oldest_unsettled(bridge, 4 * LINGER_MS / 1000)
        unsettled.append(await_owed(bridge, UNSETTLED_AT_LEAST))
        bridge.kill()
        victim.thaw()
        bridge.start()
        bridge.wait_ready(120.0)
    await_received(bridge, RECEIVED_BETWEEN)
    devices.stop()
    reckoning = scene.reckon_when_quiet(bridge)

    report(f"unsettled just before each kill: {unsettled}; doubled: {reckoning.duplicates}")
    assert [True] * KILLS == [each >= UNSETTLED_AT_LEAST for each in unsettled], unsettled
    assert KILLS == len(bridge.events("session_resumed"))
    reckoning.assert_holds()
    assert 0 == reckoning.duplicates
