"""The dead letter topic as one-shot commands read it: from here to a fixed end; blocking."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from bridge.config.paths import quoted
from bridge.errors import UnavailableError
from bridge.kafka.partitions import Place
from bridge.kafka.properties import Value
from bridge.pipeline.letters.letter import Letter, read_letter
from bridge.pipeline.letters.marks import Committed
from bridge.pipeline.letters.selection import GROUP_PREFIX, Selection
from bridge.runtime.kafka_reading import (
    Extent,
    SilentError,
    as_bytes,
    messages_between,
    offsets_at,
    place_of,
    reader_properties,
)

ANSWER_S: Final = 10.0
"""So long a cluster may take for one answer; then it counts as away."""
SETTLE_S: Final = 40.0
"""So long for committed offsets: a transaction of a killed replay may be open for 30 s."""
GROUP_OF_READERS: Final = "mqtt-kafka-bridge-dlq"
_FETCH_KBYTES: Final = 16_384


class DeadLetterTopic:
    """Reads letters; nothing is joined, and only a replay commits.

    Read committed: what an aborted transaction of a replay has written is no letter. An end is the
    last stable offset, so what lies behind a transaction that is open is left for later.
    """

    def __init__(
        self, properties: Mapping[str, Value], kafka_topic: str, group: str = GROUP_OF_READERS
    ) -> None:
        self.kafka_topic = kafka_topic
        settings: dict[str, Any] = reader_properties(properties, group)
        settings |= {
            "fetch.wait.max.ms": 50,
            "queued.max.messages.kbytes": _FETCH_KBYTES,
            "error_cb": lambda _: None,
        }
        self.consumer = Consumer(settings)

    def close(self) -> None:
        """Let go of the consumer."""
        self.consumer.close()

    def extent(self) -> Extent:
        """Ask where the partitions begin and end now.

        Raises:
            UnavailableError: The cluster does not answer, or refuses.
        """
        try:
            metadata = self.consumer.list_topics(self.kafka_topic, timeout=ANSWER_S)
            topic = metadata.topics[self.kafka_topic]
            _raise(topic.error)
            places = [(self.kafka_topic, each) for each in sorted(topic.partitions)]
            ends = offsets_at(self.consumer, places, OFFSET_END)
            lows = offsets_at(self.consumer, places, OFFSET_BEGINNING)
        except KafkaException as error:
            raise self._unavailable(error) from error
        return Extent({place: lows.get(place, end) for place, end in ends.items()}, ends)

    def starts_for(self, selection: Selection, extent: Extent) -> dict[Place, int]:
        """Ask from where on letters may be that are meant.

        Raises:
            UnavailableError: As `extent`.
        """
        if selection.since_us is None:
            return extent.lows
        try:
            # Kafka gives the first record that is not older; some behind it may be, and no matter.
            found = offsets_at(self.consumer, extent.ends, max(0, selection.since_us // 1_000))
        except KafkaException as error:
            raise self._unavailable(error) from error
        return {place: found.get(place, end) for place, end in extent.ends.items()}

    def committed(self, places: Iterable[Place]) -> dict[Place, Committed]:
        """Ask what the group has committed.

        Raises:
            UnavailableError: As `extent`.
        """
        spots = [TopicPartition(topic, partition) for topic, partition in places]
        found: dict[Place, Committed] = {}
        try:
            for each in self.consumer.committed(spots, timeout=SETTLE_S):
                _raise(each.error)
                if each.offset >= 0:
                    found[each.topic, each.partition] = Committed(
                        each.offset, str(each.metadata or "")
                    )
        except KafkaException as error:
            raise self._unavailable(error) from error
        return found

    def read(
        self, starts: Mapping[Place, int], ends: Mapping[Place, int], *, batch: int
    ) -> Iterator[list[Letter]]:
        """Give the letters between, in the order of each partition, at most `batch` at a time.

        Raises:
            UnavailableError: As `extent`.
        """
        try:
            for messages in messages_between(
                self.consumer, starts, ends, batch=batch, patience_s=ANSWER_S
            ):
                letters = [
                    _read(each)
                    for each in messages
                    # What is written beyond the end meanwhile is not for us.
                    if int(each.offset() or 0) < ends[place_of(each)]
                ]
                if letters:
                    yield letters
        except SilentError as error:
            raise UnavailableError(f"Kafka topic {quoted(self.kafka_topic)}: {error}") from error
        except KafkaException as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: KafkaException) -> UnavailableError:
        reason = error.args[0]
        remedy = _REMEDIES.get(reason.name(), "see whether kafka.bootstrap_servers is right and up")
        return UnavailableError(
            f"Kafka topic {quoted(self.kafka_topic)} could not be read:"
            f" {reason.name()}: {reason.str()}; {remedy}"
        )


_REMEDIES: Final = {
    "UNKNOWN_TOPIC_OR_PART": "create the topic, or correct dead_letter.kafka_topic",
    "TOPIC_AUTHORIZATION_FAILED": "grant READ and DESCRIBE on the topic",
    "GROUP_AUTHORIZATION_FAILED": f"grant READ on the groups with the prefix {GROUP_PREFIX}",
    "UNSTABLE_OFFSET_COMMIT": (
        "a replay of the same filter is under way, or was killed less than 30 s ago: try again"
    ),
}


def _raise(error: KafkaError | None) -> None:
    if error is not None:
        raise KafkaException(error)


def _read(message: Message) -> Letter:
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
