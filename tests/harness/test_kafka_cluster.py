"""Three real Kafka nodes: one may be away, and its leaders move."""

import pytest

from tests.support.kafka_cluster import KafkaCluster


@pytest.mark.slow
def test_a_cluster_of_three_goes_on_without_the_leader(own_cluster: KafkaCluster) -> None:
    own_cluster.start()
    topic = own_cluster.client.create_topic("telemetry", replication_factor=3)
    own_cluster.client.produce(topic, [b"before"])

    leader = own_cluster.leader_of(topic)
    leader.kill()
    own_cluster.client.produce(topic, [b"without the leader"])
    leader.start()
    own_cluster.await_in_sync(topic)

    values = [record.value for record in own_cluster.client.consume_all(topic)]
    assert [b"before", b"without the leader"] == values
