"""What Kafka already has: the ends of the partitions that the bridge writes, read back.

A record whose fate is unknown, after a crash or a fatal error, may be in Kafka. So before anything
is produced a second time each partition is read to its end, and the `idempotency-key` headers found
there are known. The end must have stood still for a moment: a request of a dead producer may lie
in the socket of a broker that was frozen, and land after it wakes up.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from bridge.fleet.dedup_window import KEY_BYTES, Kind, compact
from bridge.kafka.properties import Value

REQUEST_TIMEOUT_S: Final = 5.0
SLOW_ANSWER_S: Final = 1.0
"""A first answer that took longer came from a cluster that was away."""
STILL_S: Final = 0.2
"""How long the ends must stand still after a cluster that was never away."""
_CONSUME_BATCH: Final = 2_000
_PASSED_ON: Final = ("security.", "ssl.", "sasl.", "socket.", "broker.", "client.id")
_HEADER: Final = "idempotency-key"
_ABSENT: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})  # noqa: SLF001
_FORBIDDEN: Final = frozenset(
    {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
)


Place = tuple[str, int]
FindStarts = Callable[[Consumer, Mapping[Place, int]], dict[Place, int]]


class TailUnavailableError(Exception):
    """The cluster does not answer, or a topic is not there: ask again."""


class TailForbiddenError(Exception):
    """The bridge may not read a topic that it writes."""


class Chunk(msgspec.Struct, frozen=True):
    """Keys that were found, joined, and the time of the newest of their records."""

    unix_ms: int
    keys: bytes

    def split(self) -> list[bytes]:
        """Give the keys one by one."""
        return [self.keys[i : i + KEY_BYTES] for i in range(0, len(self.keys), KEY_BYTES)]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """How far back to read for a whole dedup window."""

    ttl_s: float
    keys_max: int
    keys_min: int


class KafkaTail:
    """Reads the ends of the topics; every call blocks, so it belongs in a thread."""

    def __init__(self, properties: Mapping[str, Value], topics: Mapping[str, Kind]) -> None:
        self._properties: dict[str, Any] = {
            name: value for name, value in properties.items() if name.startswith(_PASSED_ON)
        } | {
            "bootstrap.servers": properties["bootstrap.servers"],
            "group.id": "mqtt-kafka-bridge-tail",  # Librdkafka wants one; it is never joined.
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }
        self._topics = dict(topics)

    def read_window(self, window: Window, *, quiet_s: float, was_away: bool) -> list[Chunk]:
        """Read what a dedup window should hold, oldest first.

        `quiet_s` is how long the ends must stand still if the cluster `was_away`, or lets us wait
        for its first answer now.

        Raises:
            TailUnavailableError: Ask again later.
            TailForbiddenError: The bridge has no right to READ.
        """
        return self._read(
            lambda consumer, ends: _window_starts(consumer, ends, window), quiet_s, was_away
        )

    def read_since(self, unix_ms: int, *, quiet_s: float) -> list[Chunk]:
        """Read everything that is not older than a moment; raises as `read_window` does."""
        return self._read(
            lambda consumer, ends: _starts_at(consumer, ends, unix_ms), quiet_s, was_away=True
        )

    def _read(self, find_starts: FindStarts, quiet_s: float, was_away: bool) -> list[Chunk]:  # noqa: FBT001
        consumer = Consumer(self._properties)
        try:
            asked_at = time.monotonic()
            self._ends(consumer)
            is_quiet_due = was_away or time.monotonic() - asked_at > SLOW_ANSWER_S
            ends = self._still_ends(consumer, quiet_s if is_quiet_due else STILL_S)
            starts = find_starts(consumer, ends)
            return sorted(self._read_between(consumer, starts, ends), key=lambda each: each.unix_ms)
        except KafkaException as error:
            raise _translated(error.args[0]) from error
        finally:
            consumer.close()

    def _still_ends(self, consumer: Consumer, still_s: float) -> dict[tuple[str, int], int]:
        """Wait until no partition has grown for so long."""
        ends = self._ends(consumer)
        since = time.monotonic()
        while time.monotonic() - since < still_s:
            time.sleep(min(0.05, still_s))
            again = self._ends(consumer)
            if again != ends:
                ends, since = again, time.monotonic()
        return ends

    def _ends(self, consumer: Consumer) -> dict[tuple[str, int], int]:
        ends: dict[tuple[str, int], int] = {}
        for topic in self._topics:
            metadata = consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
            if metadata.error is not None:
                if metadata.error.code() in _ABSENT:
                    continue  # What is not there has nothing in it.
                raise KafkaException(metadata.error)
            for partition in metadata.partitions:
                marks = consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=REQUEST_TIMEOUT_S
                )
                ends[topic, partition] = marks[1]
        return ends

    def _read_between(
        self,
        consumer: Consumer,
        starts: Mapping[tuple[str, int], int],
        ends: Mapping[tuple[str, int], int],
    ) -> Iterator[Chunk]:
        unread = {place for place, start in starts.items() if start < ends[place]}
        if not unread:
            return
        consumer.assign([_spot(place, starts[place]) for place in unread])
        while unread:
            messages = consumer.consume(_CONSUME_BATCH, timeout=REQUEST_TIMEOUT_S)
            if not messages:
                raise TailUnavailableError("no record within the time of a request")
            newest, keys = 0, bytearray()
            for message in messages:
                error = message.error()
                place = (str(message.topic()), int(message.partition() or 0))
                offset = int(message.offset() or 0)
                if error is not None:
                    if error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                        raise KafkaException(error)
                    unread.discard(place)
                    continue
                newest = max(newest, message.timestamp()[1])
                keys += self._key_of(message, place[0])
                if offset + 1 >= ends[place]:
                    unread.discard(place)
            if keys:
                yield Chunk(newest, bytes(keys))

    def _key_of(self, message: Message, topic: str) -> bytes:
        headers = cast("list[tuple[str, bytes | None]] | None", message.headers())
        for name, value in headers or ():
            if name == _HEADER and value is not None:
                try:
                    return compact(value, self._topics[topic])
                except ValueError:
                    return b""  # Somebody else's record.
        return b""


def _window_starts(
    consumer: Consumer, ends: Mapping[tuple[str, int], int], window: Window
) -> dict[tuple[str, int], int]:
    """Go back from the newest record of each partition, not from now: it may be long ago."""
    starts: dict[tuple[str, int], int] = {}
    newest_ms = _newest_ms(consumer, ends)
    for place, end in ends.items():
        by_count = max(0, end - window.keys_min)
        if place not in newest_ms:
            starts[place] = by_count
            continue
        since_ms = max(0, newest_ms[place] - int(window.ttl_s * 1_000))
        by_time = _offsets_at(consumer, [place], since_ms).get(place, end)
        starts[place] = max(min(by_time, by_count), end - window.keys_max, 0)
    return starts


def _newest_ms(
    consumer: Consumer, ends: Mapping[tuple[str, int], int]
) -> dict[tuple[str, int], int]:
    """Read the last record of each partition for its timestamp."""
    places = [place for place, end in ends.items() if end > 0]
    newest: dict[tuple[str, int], int] = {}
    consumer.assign([_spot(place, max(0, ends[place] - 1)) for place in places])
    unread = set(places)
    while unread:
        messages = consumer.consume(len(unread), timeout=REQUEST_TIMEOUT_S)
        if not messages:
            raise TailUnavailableError("no record within the time of a request")
        for message in messages:
            place = (str(message.topic()), int(message.partition() or 0))
            error = message.error()
            if error is None:
                newest[place] = max(newest.get(place, 0), message.timestamp()[1])
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                raise KafkaException(error)
            unread.discard(place)
    consumer.unassign()
    return newest


def _starts_at(
    consumer: Consumer, ends: Mapping[tuple[str, int], int], unix_ms: int
) -> dict[tuple[str, int], int]:
    found = _offsets_at(consumer, list(ends), unix_ms)
    return {place: found.get(place, end) for place, end in ends.items()}


def _offsets_at(
    consumer: Consumer, places: Sequence[tuple[str, int]], unix_ms: int
) -> dict[tuple[str, int], int]:
    """Ask for the first offsets that are not older; absent where there is none."""
    answer = consumer.offsets_for_times(
        [_spot(place, unix_ms) for place in places], timeout=REQUEST_TIMEOUT_S
    )
    found: dict[tuple[str, int], int] = {}
    for each in answer:
        if each.error is not None:
            raise KafkaException(each.error)
        if each.offset >= 0:
            found[each.topic, each.partition] = each.offset
    return found


def _spot(place: tuple[str, int], offset: int) -> TopicPartition:
    return TopicPartition(place[0], place[1], offset)


def _translated(error: KafkaError) -> Exception:
    if error.code() in _FORBIDDEN:
        return TailForbiddenError(error.str())
    return TailUnavailableError(f"{error.name()}: {error.str()}")
