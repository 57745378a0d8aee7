"""The device registry as a compacted Kafka topic: read in full, then followed; blocking.

Key is the device id, value its entry in JSON, no value removes the device. A consumer of its own
reads every partition from the beginning; no group is joined, nothing is committed. The topic is
read anew, in full, when its partitions are no longer those that were assigned, and when an offset
comes again: then it was deleted and made anew.

A device belongs to one partition, that of murmur2, as Java clients and `registry load` have it.
Where another client wrote it to another one, the time of the records says which is the last word;
but there its tombstone does not outlive `delete.retention.ms`, and the older record comes back.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from bridge.fleet.registry import DeviceEntry, Interning, decode_entry
from bridge.fleet.registry_file import is_device_id
from bridge.kafka.properties import Value
from bridge.runtime.kafka_reading import REQUEST_TIMEOUT_S, as_bytes, reader_properties

LOOK_AGAIN_S: Final = 30.0
"""How often the partitions of the topic are asked for."""
_CONSUME_BATCH: Final = 2_000
_GROUP_ID: Final = "mqtt-kafka-bridge-registry"
_PASSING: Final = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001 - the library's own public names
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
    }
)
"""What librdkafka mends by itself; the topic is followed on from where it was."""


class TopicUnavailableError(Exception):
    """The topic cannot be read now; says why."""


class RefusedRecord(msgspec.Struct, frozen=True):
    """A record that is no entry of a device."""

    key: str
    partition: int
    offset: int
    error: str


class Update(msgspec.Struct, frozen=True):
    """What was read of the topic, in the order of each partition."""

    changes: dict[str, DeviceEntry | None]
    """The last word on each device; None removes it."""
    refused: Sequence[RefusedRecord] = ()


class RegistryTopic:
    """One reading of the topic: `read_all` once, then `follow` for ever.

    Every call blocks, so they belong in a thread, and all in the same one.
    """

    def __init__(
        self,
        properties: Mapping[str, Value],
        kafka_topic: str,
        *,
        look_again_s: float = LOOK_AGAIN_S,
        renewed: Callable[[], Mapping[str, Value]] | None = None,
    ) -> None:
        """`renewed` gives the properties of now, once credentials were renewed in between."""
        self._given = properties
        self._renewed = renewed or (lambda: properties)
        self._kafka_topic = kafka_topic
        self._look_again_s = look_again_s
        self._consumer: Consumer | None = None
        self._next_offsets: dict[int, int] = {}
        self._looked_at = 0.0

    def read_all(self) -> Update:
        """Read every partition from its beginning to its end.

        Raises:
            TopicUnavailableError: Try again later.
        """
        self.close()
        try:
            return self._read_all()
        except KafkaException as error:
            raise TopicUnavailableError(_describe(error.args[0])) from error

    def _read_all(self) -> Update:
        # A setting that librdkafka refuses is said by the producer, which has the same.
        self._consumer = consumer = self._connect()
        partitions = self._ask_partitions(consumer)
        self._next_offsets = dict.fromkeys(partitions, 0)
        consumer.assign(
            [TopicPartition(self._kafka_topic, each, OFFSET_BEGINNING) for each in partitions]
        )
        unread = set(partitions)
        entries: dict[str, DeviceEntry | None] = {}
        refused: list[RefusedRecord] = []
        written_at: dict[str, int] = {}
        interning = Interning()
        heard_at = time.monotonic()
        while unread:
            # Short, since `consume` waits for a whole batch even at the end of all partitions.
            messages = consumer.consume(_CONSUME_BATCH, timeout=0.05)
            if messages:
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > REQUEST_TIMEOUT_S:
                raise TopicUnavailableError("no record within the time of a request")
            update, ended = self._take(messages, written_at, interning)
            unread -= ended
            refused += update.refused
            entries |= update.changes
        return Update(
            {name: entry for name, entry in sorted(entries.items()) if entry is not None}, refused
        )

    def follow(self, timeout_s: float) -> Update:
        """Wait for changes.

        Raises:
            TopicUnavailableError: The reading is over: `read_all` again.
        """
        consumer = self._consumer
        assert consumer is not None, "followed before it was read"
        try:
            if self._renewed() is not self._given:
                consumer = self._reconnect(consumer)
            if time.monotonic() - self._looked_at > self._look_again_s:
                self._look_again(consumer)
            # The first record wakes it, the rest of a burst is there by then.
            first = consumer.poll(timeout_s)
            if first is None:
                return Update({})
            messages = [first, *consumer.consume(_CONSUME_BATCH, timeout=0.05)]
            # A pool of its own: one that lived on would keep every entry that ever was.
            update, _ = self._take(messages, {}, Interning())
        except KafkaException as error:
            raise TopicUnavailableError(_describe(error.args[0])) from error
        return update

    def _connect(self) -> Consumer:
        self._given = self._renewed()
        return Consumer(reader_properties(self._given, _GROUP_ID))

    def _reconnect(self, old: Consumer) -> Consumer:
        """Go on with a new consumer where the old one was."""
        self._consumer = renewed = self._connect()
        old.close()
        renewed.assign(
            [
                TopicPartition(self._kafka_topic, partition, offset)
                for partition, offset in self._next_offsets.items()
            ]
        )
        return renewed

    def close(self) -> None:
        """Let go of the consumer."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _look_again(self, consumer: Consumer) -> None:
        self._looked_at = time.monotonic()
        try:
            partitions = self._ask_partitions(consumer)
        except KafkaException as error:
            if error.args[0].code() in _PASSING:
                return
            raise
        if set(partitions) != set(self._next_offsets):
            raise TopicUnavailableError("the topic has other partitions than before")

    def _ask_partitions(self, consumer: Consumer) -> list[int]:
        metadata = consumer.list_topics(self._kafka_topic, timeout=REQUEST_TIMEOUT_S)
        topic = metadata.topics[self._kafka_topic]
        if topic.error is not None:
            raise KafkaException(topic.error)
        self._looked_at = time.monotonic()
        return sorted(topic.partitions)

    def _take(
        self, messages: Sequence[Message], written_at: dict[str, int], interning: Interning
    ) -> tuple[Update, set[int]]:
        """Sort out messages; also name the partitions whose end was reached.

        `written_at` is when the last word on each device was written, and grows.
        """
        changes: dict[str, DeviceEntry | None] = {}
        refused: list[RefusedRecord] = []
        ended: set[int] = set()
        for message in messages:
            partition, offset = int(message.partition() or 0), int(message.offset() or 0)
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                    ended.add(partition)
                elif error.code() not in _PASSING:
                    raise KafkaException(error)
                continue
            if offset < self._next_offsets.get(partition, 0):
                raise TopicUnavailableError("the topic was made anew")
            self._next_offsets[partition] = offset + 1
            key = as_bytes(message.key())
            try:
                device_id, entry = _read(key, message.value(), interning)
            except ValueError as problem:
                shown = key.decode("utf-8", "backslashreplace")
                refused.append(RefusedRecord(shown, partition, offset, str(problem)))
                continue
            at = message.timestamp()[1]
            if at >= written_at.get(device_id, 0):
                written_at[device_id] = at
                changes[device_id] = entry
        return Update(changes, refused), ended


def _read(
    key: bytes, value: bytes | str | None, interning: Interning
) -> tuple[str, DeviceEntry | None]:
    device_id = key.decode("utf-8", "replace")
    if not is_device_id(device_id):
        raise ValueError("the key is no device id")
    if value is None:
        return device_id, None
    return device_id, interning.intern(decode_entry(as_bytes(value)))


def _describe(error: KafkaError) -> str:
    return f"{error.name()}: {error.str()}"
