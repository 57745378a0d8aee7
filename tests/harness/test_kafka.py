"""A real Kafka: what is produced comes back, and outlives a SIGKILL."""

from collections.abc import Callable

import pytest
from confluent_kafka import KafkaException

from tests.support.kafka_choice import ChosenKafka
from tests.support.kafka_client import KafkaClient
from tests.support.kafka_cluster import AUTHORIZER, KafkaProcess

UniqueName = Callable[[str], str]


def test_what_is_produced_comes_back_in_order_with_its_headers(
    kafka: ChosenKafka, unique_name: UniqueName
) -> None:
    topic = kafka.client.create_topic(unique_name("telemetry"), partitions=3)
    values = [b"%d" % number for number in range(1_000)]

    kafka.client.produce(topic, values, key=b"device-1", headers=[("kind", b"a"), ("kind", b"b")])

    records = kafka.client.consume_all(topic)
    assert values == [record.value for record in records]
    assert {b"device-1"} == {record.key for record in records}
    assert [("kind", b"a"), ("kind", b"b")] == records[0].headers
    assert b"b" == records[0].header("kind")
    assert 1_000 == kafka.client.count(topic)


def test_an_empty_topic_and_a_tombstone_are_read_as_they_are(
    kafka: ChosenKafka, unique_name: UniqueName
) -> None:
    topic = kafka.client.create_topic(unique_name("telemetry"))

    assert [] == kafka.client.consume_all(topic)
    kafka.client.produce(topic, [None, b""], key=b"")

    assert [None, b""] == [record.value for record in kafka.client.consume_all(topic, until=2)]


def test_a_deleted_topic_is_gone_and_none_is_made_by_asking(
    kafka: ChosenKafka, unique_name: UniqueName
) -> None:
    topic = kafka.client.create_topic(unique_name("telemetry"))

    kafka.client.delete_topic(topic)

    with pytest.raises(KafkaException):
        kafka.client.consume_all(topic, deadline_s=1.0)
    assert topic not in kafka.client.topic_names()


def test_records_outlive_a_sigkill_on_the_same_port(own_kafka: KafkaProcess) -> None:
    own_kafka.start()
    bootstrap = own_kafka.bootstrap
    topic = own_kafka.client.create_topic("telemetry")
    own_kafka.client.produce(topic, [b"before"])

    own_kafka.kill()
    assert 0 == own_kafka.client.brokers_up()
    own_kafka.start()
    own_kafka.client.produce(topic, [b"after"])

    records = KafkaClient(bootstrap).consume_all(topic)
    assert [b"before", b"after"] == [record.value for record in records]


def test_a_right_to_write_can_be_taken_away_and_given_back(own_kafka: KafkaProcess) -> None:
    own_kafka.add_properties(AUTHORIZER)
    own_kafka.start()
    topic = own_kafka.client.create_topic("telemetry")

    own_kafka.client.deny_write(topic)
    with pytest.raises((KafkaException, AssertionError), match="TOPIC_AUTHORIZATION_FAILED"):
        own_kafka.client.produce(topic, [b"refused"])
    own_kafka.client.allow_write(topic)
    own_kafka.client.produce(topic, [b"taken"])

    assert [b"taken"] == [record.value for record in own_kafka.client.consume_all(topic)]


@pytest.mark.slow
def test_a_frozen_node_answers_nobody_until_it_is_thawed(own_kafka: KafkaProcess) -> None:
    own_kafka.start()

    own_kafka.freeze()
    assert 0 == own_kafka.client.brokers_up()
    own_kafka.thaw()

    own_kafka.await_ready()
