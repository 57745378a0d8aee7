"""A full queue inside librdkafka: reading pauses, nothing is dropped, nothing spins."""

from tests.integration.scene import Scene, report
from tests.support.devices import fleet
from tests.support.eventually import let_last
from tests.support.kafka_cluster import KafkaProcess

SPAN_S = 3.0
CORES_MAX = 0.5


def test_a_full_local_queue_pauses_reading_costs_no_cpu_and_drops_nothing(
    victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics()
    bridge = scene.start(kafka={"properties": {"queue.buffering.max.messages": 10}})
    devices = scene.devices(window=500)
    devices.publish(fleet(50, 200))
    victim.freeze()

    devices.publish(fleet(50, 4_000))
    bridge.wait_for_event("reading_paused", cause="kafka_queue_full")
    before_s = bridge.cpu_s
    let_last(SPAN_S)
    used = (bridge.cpu_s - before_s) / SPAN_S
    victim.thaw()
    reckoning = scene.reckon_when_quiet(bridge)

    report(f"{used:.2f} cores used while blocked, over {SPAN_S} s")
    assert used < CORES_MAX
    assert bridge.events("reading_resumed", cause="kafka_queue_full")
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()
