"""The topics of the routes as `watch` reads them, one consumer group; blocking, so for a thread.

Messages are polled one by one: `consume` gives batches in which those from before a rebalance and
from after it cannot be told apart, and of the former no position may be concluded.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

import msgspec
from confluent_kafka import (
    OFFSET_END,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from bridge.fleet.listening import Told
from bridge.fleet.presence import read_presence
from bridge.fleet.timeline import Said
from bridge.kafka.partitions import Place, partition_of
from bridge.kafka.properties import Value
from bridge.observe.counters import AlertType
from bridge.runtime.kafka_reading import (
    REQUEST_TIMEOUT_S,
    SilentError,
    messages_between,
    offsets_at,
    reader_properties,
)

ASK_EVERY_S: Final = 1.0
"""How often it is asked where the partitions end: one request a broker."""
ALERTS_MAX: Final = 200_000
"""So many of the last alerts of each partition are read: months of them."""
POLLED_MAX: Final = 5_000
_ALERTS_BATCH: Final = 2_000
_MS_PER_S: Final = 1e3
_SESSION_TIMEOUT_MS: Final = 20_000
"""After it the partitions of a `watch` that died go to another; less, and a busy host loses them
for nothing, which costs reading back."""
_LASTING: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    }
)
"""All else librdkafka mends by itself; meanwhile nothing is proven, and time stands still."""
_RETAINED: Final = ("mqtt.retained", b"true")
_GONE: Final = frozenset({AlertType.DEVICE_SILENCE, AlertType.DEVICE_OFFLINE})


class WatchUnavailableError(Exception):
    """Kafka does not answer, or a topic is not there; says why."""


class PartitionsDifferError(Exception):
    """The topics have not equally many partitions, so a device has several owners."""


class Assigned(msgspec.Struct, frozen=True, kw_only=True):
    """Partitions are ours from now on; all that was heard before counts no more."""

    places: tuple[Place, ...]
    partitions: int
    """Of each topic."""
    begins_s: float
    """From here on is read back; Unix seconds."""
    assigned_s: float
    told: dict[bytes, Told]
    is_fleet_told: bool


class Revoked(msgspec.Struct, frozen=True):
    """Nothing is ours any more."""


class Heard(msgspec.Struct):
    """What was read, in the order of each partition."""

    records: list[tuple[Place, int, Said | None]] = []
    reached: list[tuple[Place, int]] = []
    ends: dict[Place, int] = {}
    """Where the partitions ended at `asked_s`."""
    asked_s: float = 0.0


News: TypeAlias = Assigned | Revoked | Heard


class _Written(msgspec.Struct):
    """What is read of an alert."""

    type: str
    client_id: str = ""
    device_id: str | None = None
    last_heard_at: str | None = None


class _Stamped(msgspec.Struct):
    """What is read of telemetry where Kafka does not keep its timestamp."""

    server_received_at: str


_ALERT: Final = msgspec.json.Decoder(_Written)
_STAMPED: Final = msgspec.json.Decoder(_Stamped)


class WatchReader:
    """Reads the topics of which a part is ours; every call in the same thread.

    Invariant: before partitions go to another member, `on_handover` has returned; so what was
    told of them is in Kafka when the next owner reads what was told.
    """

    def __init__(  # noqa: PLR0913 - all named
        self,
        properties: Mapping[str, Value],
        *,
        telemetry: Iterable[str],
        presence: Iterable[str],
        alerts: str,
        group: str,
        back_s: float,
        on_handover: Callable[[], None],
    ) -> None:
        self._reading: dict[str, Any] = reader_properties(properties, group)
        self._joining = self._reading | {
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "range",
            "session.timeout.ms": _SESSION_TIMEOUT_MS,
        }
        self._telemetry = frozenset(telemetry)
        self.topics = tuple(sorted(self._telemetry.union(presence)))
        self._alerts = alerts
        self._group = group
        self._back_s = back_s
        self._on_handover = on_handover
        self._consumer: Consumer | None = None
        self._places: tuple[Place, ...] = ()
        self._paused: frozenset[Place] = frozenset()
        self._asked_s = 0.0
        self._news: list[News] = []
        self._failure: Exception | None = None

    def step(self, timeout_s: float, *, ahead: frozenset[Place] = frozenset()) -> list[News]:
        """Wait for news, and give them; partitions that are `ahead` of others wait.

        Raises:
            WatchUnavailableError: Nothing is ours any more; call again later.
            PartitionsDifferError: The same, until somebody has seen to the topics.
        """
        try:
            if self._consumer is None:
                self._open()
            self._hold(ahead)
            self._poll(timeout_s)
            if self._failure is not None:
                raise self._failure
            self._ask_ends()
        except KafkaException as error:
            self._drop()
            failed: KafkaError = error.args[0]
            raise WatchUnavailableError(f"{failed.name()}: {failed.str()}") from error
        except (WatchUnavailableError, PartitionsDifferError):
            self._drop()
            raise
        news, self._news = self._news, []
        return news

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _drop(self) -> None:
        self._news, self._failure, self._places = [], None, ()
        with contextlib.suppress(KafkaException):
            self.close()

    def _open(self) -> None:
        self._consumer = consumer = Consumer(self._joining)
        self._ask_partitions(consumer)
        consumer.subscribe(
            list(self.topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    # ------------------------------------------------------------------ who owns what

    def _on_assign(self, consumer: Consumer, spots: list[TopicPartition]) -> None:
        places = tuple((spot.topic, spot.partition) for spot in spots)
        try:
            self._assign(consumer, places)
        except KafkaException as error:
            failed: KafkaError = error.args[0]
            self._failure = WatchUnavailableError(f"{failed.name()}: {failed.str()}")
        except (WatchUnavailableError, PartitionsDifferError) as error:
            self._failure = error
        if self._failure is not None:
            consumer.assign([])

    def _assign(self, consumer: Consumer, places: tuple[Place, ...]) -> None:
        partitions = self._ask_partitions(consumer)
        owned = {partition for _, partition in places}
        told, is_fleet_told = self._read_told(lambda key: partition_of(key, partitions) in owned)
        assigned_s = time.time()
        begins_s = assigned_s - self._back_s
        ends = offsets_at(consumer, places, OFFSET_END)
        starts = offsets_at(consumer, places, int(begins_s * _MS_PER_S))
        consumer.assign(
            [TopicPartition(*place, starts.get(place, ends[place])) for place in places]
        )
        self._places, self._paused = places, frozenset()
        self._news.append(
            Assigned(
                places=places,
                partitions=partitions,
                begins_s=begins_s,
                assigned_s=assigned_s,
                told=told,
                is_fleet_told=is_fleet_told,
            )
        )

    def _on_revoke(self, consumer: Consumer, _: list[TopicPartition]) -> None:
        self._on_handover()
        self._on_lost(consumer, _)

    def _on_lost(self, _: Consumer, __: list[TopicPartition]) -> None:
        self._places = ()
        self._news.append(Revoked())

    def _ask_partitions(self, consumer: Consumer) -> int:
        counts: dict[str, int] = {}
        for topic in self.topics:
            answer = consumer.list_topics(topic, timeout=REQUEST_TIMEOUT_S).topics[topic]
            if answer.error is not None:
                raise WatchUnavailableError(f"{topic}: {answer.error.name()}")
            counts[topic] = len(answer.partitions)
        if len(set(counts.values())) != 1:
            raise PartitionsDifferError(
                ", ".join(f"{topic}: {count}" for topic, count in counts.items())
            )
        return next(iter(counts.values()))

    # ------------------------------------------------------------------ what is read

    def _hold(self, ahead: frozenset[Place]) -> None:
        assert self._consumer is not None, "opened before"
        ahead = ahead.intersection(self._places)
        if more := ahead - self._paused:
            self._consumer.pause([TopicPartition(*place) for place in more])
        if less := self._paused - ahead:
            self._consumer.resume([TopicPartition(*place) for place in less])
        self._paused = ahead

    def _poll(self, timeout_s: float) -> None:
        assert self._consumer is not None, "opened before"
        poll = self._consumer.poll
        for number in range(POLLED_MAX):
            message = poll(0.0 if number else timeout_s)
            if message is None:
                return
            heard = self._heard()
            place = (str(message.topic()), int(message.partition() or 0))
            error, offset = message.error(), int(message.offset() or 0)
            if error is None:
                heard.records.append((place, offset, self._said(message, place[0])))
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                heard.reached.append((place, offset))
            elif error.fatal() or error.code() in _LASTING:
                raise KafkaException(error)

    def _heard(self) -> Heard:
        """Give what is being gathered: since the last rebalance, if there was one."""
        if not self._news or not isinstance(self._news[-1], Heard):
            self._news.append(Heard())
        heard = self._news[-1]
        assert isinstance(heard, Heard), "it was just made"
        return heard

    def _said(self, message: Message, topic: str) -> Said | None:
        key, value = message.key(), message.value()
        if not isinstance(key, bytes) or not key or not isinstance(value, bytes):
            return None
        is_retained = _RETAINED in (message.headers() or ())
        is_online = None if topic in self._telemetry else read_presence(value)
        if is_online is None:
            return None if is_retained else Said(key, _received_s(message, value))
        return Said(key, _received_s(message, value), is_online, is_retained)

    def _ask_ends(self) -> None:
        now = time.monotonic()
        if not self._places or now - self._asked_s < ASK_EVERY_S:
            return
        self._asked_s = now
        assert self._consumer is not None, "opened before"
        asked_s = time.time()
        with contextlib.suppress(KafkaException):  # Then nothing is proven, and time stands still.
            ends = offsets_at(self._consumer, self._places, OFFSET_END)
            heard = self._heard()
            heard.ends, heard.asked_s = ends, asked_s

    # ------------------------------------------------------------------ what was told

    def _read_told(self, is_ours: Callable[[bytes], bool]) -> tuple[dict[bytes, Told], bool]:
        """Read the alerts: of each device the last one counts."""
        values = (message.value() for message in self._read_alerts())
        return read_told(values, group=self._group, is_ours=is_ours)

    def _read_alerts(self) -> Iterable[Message]:
        consumer = Consumer(self._reading)
        try:
            answer = consumer.list_topics(self._alerts, timeout=REQUEST_TIMEOUT_S)
            places = [(self._alerts, each) for each in answer.topics[self._alerts].partitions]
            ends = offsets_at(consumer, places, OFFSET_END)
            starts = {place: max(0, end - ALERTS_MAX) for place, end in ends.items()}
            for messages in messages_between(consumer, starts, ends, batch=_ALERTS_BATCH):
                yield from messages
        except SilentError as error:
            raise WatchUnavailableError(f"{self._alerts}: {error}") from error
        finally:
            consumer.close()


def read_told(
    values: Iterable[str | bytes | None], *, group: str, is_ours: Callable[[bytes], bool]
) -> tuple[dict[bytes, Told], bool]:
    """Tell of whom alerts said last that it is gone, and whether the fleet was.

    What is no alert is passed over: others may write to the topic too, and one record of theirs
    would end every `watch` for as long as it is retained.
    """
    told: dict[bytes, Told] = {}
    is_fleet_told = False
    for value in values:
        with contextlib.suppress(ValueError, RecursionError):  # msgspec's errors are the former.
            alert = _ALERT.decode(value or b"")
            if alert.device_id is None:
                if alert.client_id == group:
                    is_fleet_told = alert.type == AlertType.FLEET_SILENCE
                continue
            device = alert.device_id.encode()
            at_s = None if alert.last_heard_at is None else _unix_s(alert.last_heard_at)
            told.pop(device, None)
            if alert.type in _GONE and at_s is not None and is_ours(device):
                told[device] = Told(at_s, alert.type == AlertType.DEVICE_OFFLINE)
    return told, is_fleet_told


def _received_s(message: Message, value: bytes) -> float:
    """Tell when a bridge received it: the timestamp, unless Kafka overwrites it."""
    kind, unix_ms = message.timestamp()
    if kind == TIMESTAMP_LOG_APPEND_TIME:
        with contextlib.suppress(ValueError, RecursionError):
            return _unix_s(_STAMPED.decode(value).server_received_at)
    return unix_ms / _MS_PER_S


def _unix_s(rfc3339: str) -> float:
    return datetime.fromisoformat(rfc3339).timestamp()


def describe(places: Sequence[Place]) -> list[int]:
    """Give the partitions once each, whatever their topics."""
    return sorted({partition for _, partition in places})
