"""The two links as metrics: when our certificates end, and what librdkafka says of Kafka."""

import enum
import math
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from bridge.observe.kafka_facts import KafkaFacts


class Link(enum.StrEnum):
    """Which of the two links of the bridge."""

    MQTT = "mqtt"
    KAFKA = "kafka"


def certificate_families(ends: Mapping[Link, float]) -> Iterator[Metric]:
    """Give when each certificate ends; NaN where none is configured, or none is legible."""
    family = GaugeMetricFamily(
        "bridge_certificate_expiry_timestamp_seconds",
        "When our own certificate for a link ends, Unix seconds; NaN: none, or not legible.",
        labels=["link"],
    )
    for link in Link:
        family.add_metric([link], ends.get(link, math.nan))
    yield family


def kafka_families(facts: KafkaFacts) -> Iterator[Metric]:
    """Give what librdkafka measures, over all brokers: their names are no closed set."""
    for name, meaning, value in (
        (
            "bridge_kafka_round_trip_p99_seconds",
            "From a request to its answer, 99 % of them, at the slowest Kafka broker.",
            facts.round_trip_p99_s,
        ),
        (
            "bridge_kafka_queue_wait_p99_seconds",
            "From produce to the request of the record, 99 % of them, at the slowest.",
            facts.queue_wait_p99_s,
        ),
        (
            "bridge_kafka_throttle_max_seconds",
            "Longest time that a Kafka broker told us to wait.",
            facts.throttle_max_s,
        ),
        ("bridge_kafka_queue_records", "Records in librdkafka's queue.", facts.queue_records),
        ("bridge_kafka_queue_bytes", "Bytes of them.", facts.queue_bytes),
        ("bridge_kafka_requests_waiting", "Requests not yet sent.", facts.requests_waiting),
        (
            "bridge_kafka_requests_in_flight",
            "Requests sent and not yet answered.",
            facts.requests_in_flight,
        ),
        ("bridge_kafka_brokers", "Kafka brokers that are known.", facts.brokers),
        (
            "bridge_kafka_brokers_up",
            "Kafka brokers that are connected.",
            facts.brokers_up,
        ),
    ):
        yield GaugeMetricFamily(name, meaning, value=value)
    for name, meaning, value in (
        ("bridge_kafka_records_sent", "Records sent, again too.", facts.records_sent),
        ("bridge_kafka_sent_bytes", "Bytes of them.", facts.sent_bytes),
        ("bridge_kafka_request_retries", "Requests sent again.", facts.request_retries),
        ("bridge_kafka_request_timeouts", "Requests without an answer.", facts.request_timeouts),
        ("bridge_kafka_request_errors", "Requests that could not be sent.", facts.request_errors),
    ):
        yield CounterMetricFamily(name, meaning, value=value)
