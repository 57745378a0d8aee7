"""A Kafka topic as one-shot commands read it: from here to a fixed end; blocking."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
)

from bridge.config.paths import quoted
from bridge.errors import UnavailableError
from bridge.kafka.partitions import Place
from bridge.kafka.properties import Value
from bridge.runtime.kafka_reading import (
    Extent,
    SilentError,
    messages_between,
    offsets_at,
    place_of,
    reader_properties,
)

ANSWER_S: Final = 10.0
"""So long a cluster may take for one answer; then it counts as away."""
_FETCH_KBYTES: Final = 16_384


class TopicReading:
    """Reads a topic; nothing is joined and nothing committed, so no trace of a group is left.

    Read committed: what an aborted transaction has written is no record. An end is the last stable
    offset, so what lies behind a transaction that is open is left for later.
    """

    remedies: Mapping[str, str] = {}
    """What helps, by the name of librdkafka's error."""

    def __init__(self, properties: Mapping[str, Value], kafka_topic: str, group: str) -> None:
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
            raise_for(topic.error)
            places = [(self.kafka_topic, each) for each in sorted(topic.partitions)]
            ends = offsets_at(self.consumer, places, OFFSET_END)
            lows = offsets_at(self.consumer, places, OFFSET_BEGINNING)
        except KafkaException as error:
            raise self.unavailable(error) from error
        return Extent({place: lows.get(place, end) for place, end in ends.items()}, ends)

    def starts_since(self, since_us: int | None, extent: Extent) -> dict[Place, int]:
        """Ask from where on records may be that are not older; None, all are meant.

        Raises:
            UnavailableError: As `extent`.
        """
        if since_us is None:
            return extent.lows
        try:
            # Kafka gives the first record that is not older; some behind it may be, and no matter.
            found = offsets_at(self.consumer, extent.ends, max(0, since_us // 1_000))
        except KafkaException as error:
            raise self.unavailable(error) from error
        return {place: found.get(place, end) for place, end in extent.ends.items()}

    def read_messages(
        self, starts: Mapping[Place, int], ends: Mapping[Place, int], *, batch: int
    ) -> Iterator[list[Message]]:
        """Give the records between, in the order of each partition, at most `batch` at a time.

        Raises:
            UnavailableError: As `extent`.
        """
        try:
            for messages in messages_between(
                self.consumer, starts, ends, batch=batch, patience_s=ANSWER_S
            ):
                # What is written beyond the end meanwhile is not for us.
                wanted = [
                    each for each in messages if int(each.offset() or 0) < ends[place_of(each)]
                ]
                if wanted:
                    yield wanted
        except SilentError as error:
            raise UnavailableError(f"Kafka topic {quoted(self.kafka_topic)}: {error}") from error
        except KafkaException as error:
            raise self.unavailable(error) from error

    def unavailable(self, error: KafkaException) -> UnavailableError:
        """Say what was refused, and what helps."""
        reason = error.args[0]
        otherwise = "see whether kafka.bootstrap_servers is right and up"
        remedy = self.remedies.get(reason.name(), otherwise)
        return UnavailableError(
            f"Kafka topic {quoted(self.kafka_topic)} could not be read:"
            f" {reason.name()}: {reason.str()}; {remedy}"
        )


def raise_for(error: KafkaError | None) -> None:
    """Raise what Kafka says of a part of an answer."""
    if error is not None:
        raise KafkaException(error)
