"""Where the contenders work: a Kafka, a directory, topics; all of it gone at the end."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.terms import Terms
from tests.support.kafka_client import KafkaClient
from tests.support.kafka_cluster import JVM_AS_SHIPPED, KafkaProcess
from tests.support.mosquitto import MosquittoProcess

PARTITIONS: Final = 6
"""Of each topic."""


class Place(msgspec.Struct, frozen=True):
    """What all measurements of a run share."""

    directory: Path
    client: KafkaClient
    kafka: KafkaProcess | None
    """None: the Kafka cluster was given, its CPU is not seen."""


def open_place(cleanup: ExitStack, bootstrap: str | None) -> Place:
    """Make a directory, and start a Kafka unless one is given."""
    directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
    if bootstrap is not None:
        return Place(directory, KafkaClient(bootstrap), None)
    kafka = KafkaProcess(directory / "kafka", jvm=JVM_AS_SHIPPED)
    cleanup.callback(kafka.remove)
    kafka.start()
    return Place(directory, kafka.client, kafka)


def make_terms(
    cleanup: ExitStack, client: KafkaClient, mosquitto: MosquittoProcess, tag: str
) -> Terms:
    """Make the topics of one contender, and say where it reads and writes."""
    topics = [f"bench-{tag}-{kind}" for kind in ("telemetry", "dlq")]
    for topic in topics:
        client.create_topic(topic, partitions=PARTITIONS)
        cleanup.callback(client.delete_topic, topic)
    return Terms(
        mqtt_port=mosquitto.port,
        bootstrap_servers=client.bootstrap,
        client_id=f"bench-{tag}",
        kafka_topic=topics[0],
        dead_letter_topic=topics[1],
    )
