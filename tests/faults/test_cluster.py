"""Three brokers, two replicas needed: leaders move, nodes restart, one partition is gone."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.faults.stage import Stage, await_metric, await_spooled
from tests.integration.scene import QUIET_DEADLINE_S, await_received, report
from tests.support import kafka_artefacts
from tests.support.devices import fleet
from tests.support.eventually import let_last
from tests.support.kafka_artefacts import KafkaMissingError
from tests.support.kafka_client import KafkaClient
from tests.support.kafka_cluster import KafkaCluster
from tests.support.latency import LatencyProbe, p99
from tests.support.watcher import Watcher

Length = Callable[[float, float], float]
MakeStage = Callable[[KafkaClient], Stage]

DEVICES = 100

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    try:
        kafka_artefacts.fetch()
    except KafkaMissingError as error:
        pytest.skip(f"no Kafka to restart: {error}")
    made = KafkaCluster(tmp_path_factory.mktemp("cluster"))
    made.start()
    yield made
    for node in made.nodes:
        node.remove()


@pytest.fixture
def cluster(_cluster: KafkaCluster) -> Iterator[KafkaCluster]:
    """Three running nodes; whole again after each test."""
    yield _cluster
    for node in _cluster.nodes:
        if not node.is_alive:
            node.start()


@pytest.fixture
def stage(make_stage: MakeStage, cluster: KafkaCluster) -> Stage:
    """A stage on the cluster, three replicas of each partition."""
    made = make_stage(cluster.client)
    for topic in (made.telemetry, made.dead_letters):
        cluster.client.create_topic(topic, 4, replication_factor=3)
    return made


def test_a_rolling_restart_under_load_loses_doubles_and_reorders_nothing(
    stage: Stage, cluster: KafkaCluster, length: Length
) -> None:
    bridge = stage.start()
    devices = stage.lean()
    devices.start(fleet(DEVICES), rate_per_s=length(500.0, 2_000.0))
    await_received(bridge, 500)

    for _ in range(int(length(1, 3))):
        for node in cluster.nodes:
            node.stop(timeout_s=60.0)
            node.start()
            cluster.await_in_sync(stage.telemetry)
    devices.stop()
    reckoning = stage.prove(bridge)

    reordered = bridge.metric("bridge_records_reordered_total")
    spooled = bridge.metric("bridge_spool_rows_written_total")
    report(f"{spooled:.0f} records took the detour over the disk; {reckoning}")
    assert 0 == reordered


def test_the_leader_killed_under_load_loses_doubles_and_reorders_nothing(
    stage: Stage, cluster: KafkaCluster, length: Length
) -> None:
    bridge = stage.start()
    devices = stage.lean()
    rate_per_s = length(500.0, 2_000.0)
    devices.start(fleet(DEVICES), rate_per_s=rate_per_s)
    await_received(bridge, 500)

    kills = int(length(1, 10))
    for _ in range(kills):
        leader = cluster.leader_of(stage.telemetry)
        leader.kill()
        received = bridge.metric("bridge_messages_received_total")
        await_received(bridge, int(received + 4 * rate_per_s))
        leader.start()
        cluster.await_in_sync(stage.telemetry)
    devices.stop()
    reckoning = stage.prove(bridge)

    report(f"{kills} kills of the leader at {rate_per_s:.0f}/s; {reckoning}")


def test_one_partition_without_a_leader_holds_its_own_devices_and_no_others(
    make_stage: MakeStage, cluster: KafkaCluster, length: Length
) -> None:
    span_s = length(8.0, 300.0)
    stage = make_stage(cluster.client)
    alone = {"min.insync.replicas": "1"}
    cluster.client.create_topic(stage.telemetry, config=alone, assignment=[[1], [2], [3]])
    cluster.client.create_topic(stage.dead_letters, 1, replication_factor=3)
    bridge = stage.start()
    devices = stage.lean()

    with LatencyProbe(cluster.client, stage.telemetry, 3) as probe, Watcher(bridge) as watcher:
        devices.start(fleet(DEVICES), rate_per_s=800.0)
        await_received(bridge, 2_000)
        began_s = time.monotonic()
        let_last(span_s)
        cluster.nodes[1].kill()
        killed_s = time.monotonic()
        await_spooled(bridge, 200)
        spooled_s = time.monotonic()
        let_last(span_s)
        ended_s = time.monotonic()
        spooled = bridge.metric("bridge_messages_spooled")
        cluster.nodes[1].start()
        bridge.wait_ready(QUIET_DEADLINE_S)
        devices.stop()
        reckoning = stage.prove(bridge)

    before = probe.ages(began_s, killed_s, without={1})
    at_first = probe.ages(killed_s, spooled_s, without={1})
    during = probe.ages(spooled_s, ended_s, without={1})
    report(
        f"p99 publish-to-consumer of the other partitions: before {p99(before) * 1e3:.1f} ms,"
        f" until the spool took over {p99(at_first) * 1e3:.1f} ms, from then on"
        f" {p99(during) * 1e3:.1f} ms ({len(during)} records); {spooled:.0f} spooled; {reckoning}"
    )
    assert {200} == set(watcher.live)
    assert len(during) > 0, "the other partitions stood still"


def test_a_start_while_a_partition_has_no_leader_serves_the_others_and_doubles_nothing(
    make_stage: MakeStage, cluster: KafkaCluster
) -> None:
    stage = make_stage(cluster.client)
    alone = {"min.insync.replicas": "1"}
    cluster.client.create_topic(stage.telemetry, config=alone, assignment=[[1], [2], [3]])
    cluster.client.create_topic(stage.dead_letters, 1, replication_factor=3)
    bridge = stage.start()
    devices = stage.lean()
    devices.publish(fleet(DEVICES, 3_000))
    stage.await_nothing_in_flight(bridge)

    devices.start(fleet(DEVICES, first=3_000), rate_per_s=500.0)
    cluster.nodes[1].kill()
    await_spooled(bridge, 200)
    bridge.kill()
    bridge.start()
    without = bridge.wait_for_event("kafka_partition_without_leader", deadline_s=60.0)
    await_metric(
        bridge, 'bridge_messages_settled_total{outcome="produced"}', lambda count: count >= 1_000
    )
    detail = bridge.wait_not_ready().json()["checks"]["kafka"]["detail"]
    cluster.nodes[1].start()
    bridge.wait_ready(QUIET_DEADLINE_S)
    devices.stop()
    reckoning = stage.prove(bridge)

    report(f"{without['partitions']} without a leader; {detail}; {reckoning}")
    assert stage.telemetry == without["kafka_topic"]
    assert "1 partitions without a leader" in detail
