"""librdkafka's own statistics, from a mock cluster: they come without anybody asking."""

import math
from collections.abc import Iterator

import pytest

from bridge.observe.kafka_facts import KafkaFacts
from bridge.runtime.kafka_producer import KafkaProducer
from tests.support.eventually import eventually
from tests.support.in_process_kafka import InProcessKafka


@pytest.fixture
def cluster() -> Iterator[InProcessKafka]:
    kafka = InProcessKafka(2)
    yield kafka
    kafka.close()


def make_producer(cluster: InProcessKafka, interval_ms: int) -> KafkaProducer:
    return KafkaProducer(
        {"bootstrap.servers": cluster.bootstrap, "statistics.interval.ms": interval_ms},
        on_error=lambda *_: None,
    )


def test_the_producer_knows_its_brokers_and_what_it_sent(cluster: InProcessKafka) -> None:
    topic = cluster.create_topic("telemetry", (1, 2))
    producer = make_producer(cluster, 20)
    assert math.isnan(producer.facts().round_trip_p99_s)
    for key in (b"a", b"b", b"c"):
        assert producer.send_aside(topic, key, b"{}", lambda _: None)

    def look() -> KafkaFacts:
        producer.poll()
        return producer.facts()

    facts = eventually(
        look,
        lambda seen: seen.records_sent == 3 and not seen.queue_records,
        what="three records are sent",
    )
    producer.close()

    assert (2, 0, 0) == (facts.brokers, facts.request_errors, facts.requests_waiting)
    assert facts.sent_bytes > 0
    assert facts.round_trip_p99_s >= 0


def test_an_operator_may_turn_the_statistics_off(cluster: InProcessKafka) -> None:
    topic = cluster.create_topic("telemetry")
    producer = make_producer(cluster, 0)
    reports: list[str | None] = []

    producer.send_aside(topic, b"a", b"{}", reports.append)
    eventually(lambda: (producer.poll(), reports)[1], what="the record is reported")
    producer.close()

    assert 0 == producer.facts().records_sent
