"""Kafka for the demo: librdkafka's mock cluster, inside this process, and a reader of its topics.

It speaks the Kafka protocol over TCP on the loopback interface, so the bridge cannot tell. It keeps
nothing on disk and 5 MB a partition, so the demo reads as it goes. It is for showing only: what the
bridge promises is proven on a real Kafka.
"""

import logging
import threading
import time

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    Message,
    Producer,
    TopicPartition,
)

TELEMETRY = "telemetry-raw"
DEAD_LETTERS = "telemetry-dlq"
METADATA_TIMEOUT_S = 10.0
BATCH_MAX = 1_000
_QUIET = logging.getLogger("bridge.kafka_in_process")
"""librdkafka says on standard error that a mock cluster is in use; the screen says it better."""
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """One record as a consumer sees it."""

    kafka_topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: dict[str, bytes]
    arrived_at: float
    """On the monotonic clock."""


class KafkaInProcess:
    """One broker with both topics, alive as long as this object."""

    def __init__(self) -> None:
        self._cluster = Producer({"test.mock.num.brokers": 1}, logger=_QUIET)
        brokers = self._cluster.list_topics(timeout=METADATA_TIMEOUT_S).brokers.values()
        self.bootstrap_servers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        self.partitions: list[tuple[str, int]] = []
        for kafka_topic in (TELEMETRY, DEAD_LETTERS):
            # To ask for a topic creates it.
            found = self._cluster.list_topics(kafka_topic, timeout=METADATA_TIMEOUT_S)
            numbers = sorted(found.topics[kafka_topic].partitions)
            self.partitions += [(kafka_topic, number) for number in numbers]


class TopicReader:
    """Reads every partition of both topics from the beginning, without a consumer group."""

    def __init__(self, cluster: KafkaInProcess) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": cluster.bootstrap_servers,
                "group.id": "demo",  # The client wants a name, though nothing is ever committed.
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                # The mock cluster holds a fetch for this whole time instead of answering at the
                # first record, so it is added to every latency: p50 is 1.3 ms at 1, 52 ms at 100.
                "fetch.wait.max.ms": 1,
            },
            logger=_QUIET,
        )
        self._partitions = [
            TopicPartition(kafka_topic, number, OFFSET_BEGINNING)
            for kafka_topic, number in cluster.partitions
        ]
        self._consumer.assign(self._partitions)
        # A reading task that is cancelled leaves its thread in `poll`; closing then would crash.
        self._in_use = threading.Lock()

    def read(self, *, patience_s: float) -> list[Arrival]:
        """Wait for records, then take all that are there; a partition's come in its order."""
        with self._in_use:
            first = self._consumer.poll(patience_s)
            if first is None:
                return []
            arrived_at = time.monotonic()
            records = (first, *self._consumer.consume(BATCH_MAX, timeout=0))
        return [
            _arrival(record, arrived_at=arrived_at) for record in records if not _is_error(record)
        ]

    def is_at_end(self) -> bool:
        """Tell whether everything that is in the topics now was read."""
        with self._in_use:
            for position in self._consumer.position(self._partitions):
                _, end = self._consumer.get_watermark_offsets(
                    TopicPartition(position.topic, position.partition), timeout=METADATA_TIMEOUT_S
                )
                if max(position.offset, 0) < end:
                    return False
            return True

    def close(self) -> None:
        """Leave the cluster."""
        with self._in_use:
            self._consumer.close()


def _is_error(record: Message) -> bool:
    error = record.error()
    # What is in transit heals by itself; what a record lacks then shows in the books.
    assert error is None or not error.fatal(), error
    return error is not None


def _arrival(record: Message, *, arrived_at: float) -> Arrival:
    kafka_topic, partition, offset = record.topic(), record.partition(), record.offset()
    assert kafka_topic is not None, "a record that was fetched has its topic"
    assert partition is not None, "a record that was fetched has its partition"
    assert offset is not None, "a record that was fetched has its offset"
    return Arrival(
        kafka_topic=kafka_topic,
        partition=partition,
        offset=offset,
        key=_bytes(record.key()),
        value=_bytes(record.value()),
        headers=_headers(record),
        arrived_at=arrived_at,
    )


def _headers(record: Message) -> dict[str, bytes]:
    headers = record.headers() or []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return {name: _bytes(value) for name, value in pairs}


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
