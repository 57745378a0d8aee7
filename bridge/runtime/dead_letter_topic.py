"""The dead letter topic as one-shot commands read it: letters, and what a replay committed."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, cast

from confluent_kafka import KafkaException, Message, TopicPartition

from bridge.kafka.partitions import Place
from bridge.kafka.properties import Value
from bridge.pipeline.letters.letter import Letter, read_letter
from bridge.pipeline.letters.marks import Committed
from bridge.pipeline.letters.selection import GROUP_PREFIX, Selection
from bridge.runtime.kafka_reading import Extent, as_bytes, place_of
from bridge.runtime.topic_reading import TopicReading, raise_for

SETTLE_S: Final = 40.0
"""So long for committed offsets: a transaction of a killed replay may be open for 30 s."""
GROUP_OF_READERS: Final = "mqtt-kafka-bridge-dlq"


class DeadLetterTopic(TopicReading):
    """Reads letters; nothing is joined, and only a replay commits."""

    remedies: Mapping[str, str] = {
        "UNKNOWN_TOPIC_OR_PART": "create the topic, or correct dead_letter.kafka_topic",
        "TOPIC_AUTHORIZATION_FAILED": "grant READ and DESCRIBE on the topic",
        "GROUP_AUTHORIZATION_FAILED": f"grant READ on the groups with the prefix {GROUP_PREFIX}",
        "UNSTABLE_OFFSET_COMMIT": (
            "a replay of the same filter is under way, or was killed less than 30 s ago: try again"
        ),
    }

    def __init__(
        self, properties: Mapping[str, Value], kafka_topic: str, group: str = GROUP_OF_READERS
    ) -> None:
        super().__init__(properties, kafka_topic, group)

    def starts_for(self, selection: Selection, extent: Extent) -> dict[Place, int]:
        """Ask from where on letters may be that are meant.

        Raises:
            UnavailableError: As `extent`.
        """
        return self.starts_since(selection.since_us, extent)

    def committed(self, places: Iterable[Place]) -> dict[Place, Committed]:
        """Ask what the group has committed.

        Raises:
            UnavailableError: As `extent`.
        """
        spots = [TopicPartition(topic, partition) for topic, partition in places]
        found: dict[Place, Committed] = {}
        try:
            for each in self.consumer.committed(spots, timeout=SETTLE_S):
                raise_for(each.error)
                if each.offset >= 0:
                    found[each.topic, each.partition] = Committed(
                        each.offset, str(each.metadata or "")
                    )
        except KafkaException as error:
            raise self.unavailable(error) from error
        return found

    def read(
        self, starts: Mapping[Place, int], ends: Mapping[Place, int], *, batch: int
    ) -> Iterator[list[Letter]]:
        """Give the letters between, in the order of each partition, at most `batch` at a time.

        Raises:
            UnavailableError: As `extent`.
        """
        for messages in self.read_messages(starts, ends, batch=batch):
            yield [letter_of(each) for each in messages]


def letter_of(message: Message) -> Letter:
    """Read a record of the topic."""
    headers = cast("list[tuple[str, bytes | None]] | None", message.headers())
    kafka_topic, partition = place_of(message)
    return read_letter(
        kafka_topic=kafka_topic,
        partition=partition,
        offset=int(message.offset() or 0),
        key=as_bytes(message.key()),
        payload=as_bytes(message.value()),
        headers=headers or (),
        timestamp_ms=message.timestamp()[1],
    )
