"""How a topic is read from here to there: the consumer, offsets by time, the records between."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from bridge.kafka.partitions import Place
from bridge.kafka.properties import Value

REQUEST_TIMEOUT_S: Final = 5.0
_CONSUME_S: Final = 0.02
"""`consume` waits so long for a whole batch, even when every partition has reached its end."""
_PASSED_ON: Final = (
    "security.",
    "ssl.",
    "enable.ssl.",
    "sasl.",
    "enable.sasl.",
    "https.",
    "socket.",
    "broker.",
    "client.",
    "plugin.library.paths",
)
"""How the brokers are reached and who asks them: the same for a reader as for the producer."""


class SilentError(Exception):
    """No record came in time, though some are to come."""


class Extent(msgspec.Struct, frozen=True):
    """Where each partition begins, after what retention has deleted, and where it ends."""

    lows: dict[Place, int]
    ends: dict[Place, int]

    def only(self, places: Iterable[Place]) -> "Extent":
        """Leave the other partitions out."""
        chosen = list(places)
        return Extent(
            {place: self.lows[place] for place in chosen},
            {place: self.ends[place] for place in chosen},
        )


def reader_properties(properties: Mapping[str, Value], group_id: str) -> dict[str, Any]:
    """Build a consumer's configuration from the producer's; its group is never joined."""
    passed_on = {name: value for name, value in properties.items() if name.startswith(_PASSED_ON)}
    return passed_on | {
        "bootstrap.servers": properties["bootstrap.servers"],
        "group.id": group_id,  # Librdkafka wants one.
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        # Retention may pass a start between the question and the first fetch.
        "auto.offset.reset": "earliest",
        "log_level": 0,
    }


def place_of(message: Message) -> Place:
    """Tell where a record lies."""
    return str(message.topic()), int(message.partition() or 0)


def as_bytes(sent: bytes | str | None) -> bytes:
    """Give a key or a value as it was sent; without one, nothing."""
    return sent.encode() if isinstance(sent, str) else sent or b""


def offsets_at(consumer: Consumer, places: Iterable[Place], unix_ms: int) -> dict[Place, int]:
    """Ask for the first offsets that are not older; absent where there is none.

    `OFFSET_BEGINNING` and `OFFSET_END` are times too, to Kafka; one request a broker, not two a
    partition as for watermarks.

    Raises:
        KafkaException: The cluster does not answer, or refuses.
    """
    spots = [TopicPartition(*place, unix_ms) for place in places]
    if not spots:
        return {}
    found: dict[Place, int] = {}
    for each in consumer.offsets_for_times(spots, timeout=REQUEST_TIMEOUT_S):
        if each.error is not None:
            raise KafkaException(each.error)
        if each.offset >= 0:
            found[each.topic, each.partition] = each.offset
    return found


def messages_between(
    consumer: Consumer,
    starts: Mapping[Place, int],
    ends: Mapping[Place, int],
    *,
    batch: int,
    patience_s: float = REQUEST_TIMEOUT_S,
) -> Iterator[list[Message]]:
    """Give the records from each start on, until every partition has reached its end.

    Not every offset is a record: compaction leaves gaps, a transaction its marker. So a partition
    is over where it says its end, or where the last record before the end comes. Records beyond an
    end are among them while another partition is not over.

    Raises:
        KafkaException: The cluster refuses.
        SilentError: Nothing came within `patience_s`.
    """
    unread = {place for place, start in starts.items() if start < ends[place]}
    if not unread:
        return
    consumer.assign([TopicPartition(*place, starts[place]) for place in sorted(unread)])
    heard_at = time.monotonic()
    while unread:
        messages = consumer.consume(batch, timeout=_CONSUME_S)
        if not messages and time.monotonic() - heard_at > patience_s:
            raise SilentError(f"no record within {patience_s:g} s")
        records: list[Message] = []
        for message in messages:
            error, place = message.error(), place_of(message)
            if error is None:
                records.append(message)
                if int(message.offset() or 0) + 1 >= ends[place]:
                    unread.discard(place)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                unread.discard(place)
            else:
                raise KafkaException(error)
        if records:
            yield records
        if messages:
            heard_at = time.monotonic()
