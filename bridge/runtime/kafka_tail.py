"""What Kafka already has: the ends of the partitions that the bridge writes, read back.

A record whose fate is unknown, after a crash or a fatal error, may be in Kafka. So before anything
is produced a second time each partition is read to its end, and the `idempotency-key` headers found
there are known. The end must have stood still for a moment: a request of a dead producer may lie
in the socket of a broker that was frozen, and land after it wakes up. Other writers of the same
topics never stand still, so the wait has a bound: such a request lands right after the first answer
of its broker, not after ever so many records of somebody else.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Final, cast

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from bridge.fleet.dedup_window import KEY_BYTES, Kind, compact, compact_copy
from bridge.kafka.partitions import Place
from bridge.kafka.properties import Value
from bridge.runtime.kafka_reading import (
    REQUEST_TIMEOUT_S,
    Extent,
    SilentError,
    messages_between,
    offsets_at,
    place_of,
    reader_properties,
)

SLOW_ANSWER_S: Final = 1.0
"""A first answer that took longer came from a cluster that was away."""
STILL_S: Final = 0.2
"""How long the ends must stand still after a cluster that was never away."""
STILL_FACTOR_MAX: Final = 5
"""Ends that have moved for so many times that long are moved by other writers."""
PARTITION_RECORDS_MAX: Final = 1_000_000
"""No more of one partition is read from a checkpoint: some 10 s, and 16 MB of keys."""
PATIENCE_MAX_S: Final = 80.0
"""A megabyte at 100 kbit/s."""
_FETCH_BYTES: Final = 131_072
"""Of one partition in one answer."""
_FETCH_MAX_BYTES: Final = 1_048_576
"""Of one answer; librdkafka wants no less than the largest message, a million bytes."""
_CONSUME_BATCH: Final = 2_000
_HEADER: Final = "idempotency-key"
_ABSENT: Final = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC})  # noqa: SLF001
_FORBIDDEN: Final = frozenset(
    {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
)


Ends = Mapping[Place, int]
"""For each partition the offset of the record that comes next."""


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


class Tail(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, oldest first, and the ends up to which all was read."""

    chunks: list[Chunk]
    ends: dict[Place, int]
    shrunk: list[Place] = []
    """Partitions that end before the start that was asked for: their topic was made anew, or the
    cluster has lost records. They were read as for a whole window."""

    lacking: frozenset[Place] = frozenset()
    """Partitions that have no leader, so what lies in them is not known yet."""
    partitions: dict[str, int] = {}
    """How many partitions each topic has, those without a leader too."""

    def count_keys(self) -> int:
        """Count the keys that were found."""
        return sum(len(each.keys) for each in self.chunks) // KEY_BYTES


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """How far back to read for a whole dedup window."""

    ttl_s: float
    keys_max: int
    keys_min: int


class Scope(msgspec.Struct):
    """Which partitions are to be read, and what came of it."""

    only: frozenset[Place] | None = None
    """None: all there are."""
    may_lack: bool = False
    """Leave out what has no leader, instead of asking again later for all."""
    lacking: set[Place] = msgspec.field(default_factory=set)
    partitions: dict[str, int] = msgspec.field(default_factory=dict)

    def take(self, topic: str, partition: int, *, has_leader: bool) -> bool:
        """Tell whether a partition is to be read."""
        place = (topic, partition)
        if self.only is not None and place not in self.only:
            return False
        if has_leader or not self.may_lack:
            return True
        self.lacking.add(place)
        return False


FindStarts = Callable[[Consumer, Extent], dict[Place, int]]


class KafkaTail:
    """Reads the ends of the topics; every call blocks, so it belongs in a thread.

    Read committed: a record of an aborted transaction (a `dlq replay` that failed) is not in
    Kafka, so its key may not be known. An end is the last stable offset, and what lies behind a
    transaction that is still open is not seen.
    """

    def __init__(self, properties: Mapping[str, Value], topics: Mapping[str, Kind]) -> None:
        self.renew(properties)
        self._topics = dict(topics)
        self._patience_s = REQUEST_TIMEOUT_S

    def renew(self, properties: Mapping[str, Value]) -> None:
        """Connect with these from the next reading on."""
        renewed = reader_properties(properties, "mqtt-kafka-bridge-tail")
        renewed |= {
            "fetch.wait.max.ms": 50,
            # Answers small enough that one comes in time over a link of 2 Mbit/s.
            "fetch.message.max.bytes": _FETCH_BYTES,
            "fetch.max.bytes": _FETCH_MAX_BYTES,
        }
        self._properties = renewed

    def add(self, kafka_topics: Iterable[str]) -> None:
        """Read these topics too: records of an earlier configuration lie in the spool."""
        # Another dict: the thread may be walking through this one.
        self._topics = {**dict.fromkeys(kafka_topics, Kind.TELEMETRY), **self._topics}

    def read_window(
        self, window: Window, *, quiet_s: float, was_away: bool, scope: Scope | None = None
    ) -> Tail:
        """Read what a dedup window should hold, oldest first.

        `quiet_s` is how long the ends must stand still if the cluster `was_away`, or lets us wait
        for its first answer now.

        Raises:
            TailUnavailableError: Ask again later.
            TailForbiddenError: The bridge has no right to READ.
        """
        return self._read(
            lambda consumer, extent: _window_starts(consumer, extent, window, self._patience_s),
            quiet_s,
            was_away,
            scope,
        )

    def read_from(
        self,
        starts: Ends,
        window: Window,
        *,
        quiet_s: float,
        was_away: bool,
        scope: Scope | None = None,
    ) -> Tail:
        """Read everything from the ends of a checkpoint on; raises as `read_window` does.

        A partition without a start (it, or its topic, is new to the bridge) is read as for a whole
        window; so is one that ends before its start, and `Tail.shrunk` names it.
        """
        tail = self._read(
            lambda consumer, extent: _starts_from(
                consumer, extent, starts, window, self._patience_s
            ),
            quiet_s,
            was_away,
            scope,
        )
        only = None if scope is None else scope.only
        shrunk = [
            place
            for place, start in starts.items()
            if place[0] in self._topics
            and place not in tail.lacking
            and (only is None or place in only)
            and start > tail.ends.get(place, 0)
        ]
        return msgspec.structs.replace(tail, shrunk=shrunk)

    def read_since(self, unix_ms: int, *, quiet_s: float) -> Tail:
        """Read everything that is not older than a moment; raises as `read_window` does."""
        return self._read(
            lambda consumer, extent: _starts_at(consumer, extent, unix_ms), quiet_s, was_away=True
        )

    def ends(self) -> dict[Place, int]:
        """Ask where every partition ends now; raises as `read_window` does.

        A consumer of its own each time: 5 ms of CPU, and nothing to keep alive in between.
        """
        with self._consumer() as consumer:
            return self._ends(consumer, Scope())

    def _read(
        self,
        find_starts: FindStarts,
        quiet_s: float,
        was_away: bool,  # noqa: FBT001
        scope: Scope | None = None,
    ) -> Tail:
        scope = scope or Scope()
        with self._consumer() as consumer:
            asked_at = time.monotonic()
            self._ends(consumer, scope)
            is_quiet_due = was_away or time.monotonic() - asked_at > SLOW_ANSWER_S
            ends = self._still_ends(consumer, quiet_s if is_quiet_due else STILL_S, scope)
            extent = Extent(offsets_at(consumer, ends, OFFSET_BEGINNING), ends)
            starts = find_starts(consumer, extent)
            chunks = sorted(
                self._read_between(consumer, starts, ends), key=lambda each: each.unix_ms
            )
            self._patience_s = REQUEST_TIMEOUT_S
            return Tail(
                chunks=chunks,
                ends=ends,
                lacking=frozenset(scope.lacking),
                partitions=scope.partitions,
            )

    @contextlib.contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        """Give a consumer for one reading; whatever it says of Kafka is one of our two errors.

        A file of the configuration may be unreadable just now: that passes too.
        """
        try:
            consumer = Consumer(self._properties)
        except KafkaException as error:
            raise TailUnavailableError(str(error.args[0].str())) from error
        try:
            yield consumer
        except KafkaException as error:
            raise _translated(error.args[0]) from error
        except SilentError as error:
            # The link may be slow, and not the cluster away: then the same again would never end.
            self._patience_s = min(2 * self._patience_s, PATIENCE_MAX_S)
            raise TailUnavailableError(str(error)) from error
        finally:
            consumer.close()

    def _still_ends(self, consumer: Consumer, still_s: float, scope: Scope) -> dict[Place, int]:
        """Wait until no partition has grown for so long, or all have grown for far longer."""
        ends = self._ends(consumer, scope)
        begun = since = time.monotonic()
        while (now := time.monotonic()) - since < still_s:
            if now - begun >= STILL_FACTOR_MAX * still_s:
                break
            time.sleep(min(0.05, still_s))
            again = self._ends(consumer, scope)
            if again != ends:
                ends, since = again, time.monotonic()
        return ends

    def _ends(self, consumer: Consumer, scope: Scope) -> dict[Place, int]:
        led_by: dict[int, list[Place]] = {}
        scope.lacking.clear()
        for topic in self._topics:
            metadata = consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
            if metadata.error is not None:
                if metadata.error.code() in _ABSENT:
                    continue  # What is not there has nothing in it.
                raise KafkaException(metadata.error)
            scope.partitions[topic] = len(metadata.partitions)
            for number, partition in metadata.partitions.items():
                if scope.take(topic, number, has_leader=partition.leader >= 0):
                    led_by.setdefault(partition.leader, []).append((topic, number))
        if not scope.may_lack:
            return offsets_at(consumer, list(chain.from_iterable(led_by.values())), OFFSET_END)
        # A leader that is named may be gone all the same: each is asked for its own.
        ends: dict[Place, int] = {}
        for places in led_by.values():
            try:
                ends |= offsets_at(consumer, places, OFFSET_END)
            except KafkaException as error:
                if error.args[0].code() in _FORBIDDEN:
                    raise
                scope.lacking.update(places)
        return ends

    def _read_between(self, consumer: Consumer, starts: Ends, ends: Ends) -> Iterator[Chunk]:
        """Read what lies between; records beyond an end are known too where they come along."""
        for messages in messages_between(
            consumer, starts, ends, batch=_CONSUME_BATCH, patience_s=self._patience_s
        ):
            keys = b"".join(self._key_of(each, str(each.topic())) for each in messages)
            if keys:
                yield Chunk(max(each.timestamp()[1] for each in messages), keys)

    def _key_of(self, message: Message, topic: str) -> bytes:
        headers = cast("list[tuple[str, bytes | None]] | None", message.headers())
        told = {name: value for name, value in headers or () if value is not None}
        key = told.get(_HEADER)
        if key is None:
            return b""
        try:
            if told.get("dlq.copy") == b"true":
                return compact_copy(key, told.get("dlq.reason", b""))
            return compact(key, self._topics[topic])
        except ValueError:
            return b""  # Somebody else's record.


def _starts_from(
    consumer: Consumer, extent: Extent, starts: Ends, window: Window, patience_s: float
) -> dict[Place, int]:
    known = {
        place: max(starts[place], extent.lows[place], end - PARTITION_RECORDS_MAX)
        for place, end in extent.ends.items()
        if place in starts and starts[place] <= end
    }
    others = extent.only(place for place in extent.ends if place not in known)
    return known | _window_starts(consumer, others, window, patience_s)


def _window_starts(
    consumer: Consumer, extent: Extent, window: Window, patience_s: float
) -> dict[Place, int]:
    """Go back from the newest record of each partition, not from now: it may be long ago."""
    starts: dict[Place, int] = {}
    newest_ms = _newest_ms(consumer, extent, patience_s)
    for place, end in extent.ends.items():
        low = extent.lows[place]
        by_count = max(low, end - window.keys_min)
        if place not in newest_ms:
            starts[place] = by_count
            continue
        since_ms = max(0, newest_ms[place] - int(window.ttl_s * 1_000))
        by_time = offsets_at(consumer, [place], since_ms).get(place, end)
        records_max = max(window.keys_max, window.keys_min)
        starts[place] = max(min(by_time, by_count), end - records_max, low)
    return starts


def _newest_ms(consumer: Consumer, extent: Extent, patience_s: float) -> dict[Place, int]:
    """Read the last record of each partition for its timestamp."""
    spots = [
        TopicPartition(*place, end - 1)
        for place, end in extent.ends.items()
        if end > extent.lows[place]
    ]
    newest: dict[Place, int] = {}
    if not spots:
        return newest
    consumer.assign(spots)
    unread = {(spot.topic, spot.partition) for spot in spots}
    while unread:
        messages = consumer.consume(len(unread), timeout=patience_s)
        if not messages:
            raise SilentError(f"no record within {patience_s:g} s")
        for message in messages:
            place, error = place_of(message), message.error()
            if error is None:
                newest[place] = max(newest.get(place, 0), message.timestamp()[1])
            elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001
                raise KafkaException(error)
            unread.discard(place)
    consumer.unassign()
    return newest


def _starts_at(consumer: Consumer, extent: Extent, unix_ms: int) -> dict[Place, int]:
    found = offsets_at(consumer, extent.ends, unix_ms)
    return {place: found.get(place, end) for place, end in extent.ends.items()}


def _translated(error: KafkaError) -> Exception:
    if error.code() in _FORBIDDEN:
        return TailForbiddenError(error.str())
    return TailUnavailableError(f"{error.name()}: {error.str()}")
