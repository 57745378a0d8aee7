"""The oracle: what the devices were promised, held against what lies in Kafka.

Nothing of the bridge is imported here and none of its headers is believed where the bytes speak for
themselves: a telemetry record is recognised by the message that it carries, a dead letter by its
bytes, or by their hash where it was cut. Messages that are the same in every byte cannot be told
apart, so they are counted: as many as were sent may be there.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final, TypeAlias

import msgspec

from tests.support.devices import DeviceMessage, Ledger
from tests.support.kafka_client import ConsumedRecord

SERVER_FIELDS: Final = frozenset(
    {"server_received_at", "time_drift_seconds", "warnings", "timestamp_sent"}
)
SHOWN_MAX: Final = 5
"""How many examples a message of failure names."""

_SETTLED: Final = ("produced", "dead_lettered", "duplicates", "dropped")

Identity: TypeAlias = tuple[str, bytes]
"""Device id, and a digest of what the message says."""


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """What the bridge says of itself: one run, in QoS 1 messages."""

    received: int
    spooled_at_start: int = 0
    settled: int
    spooled: int = 0
    in_flight: int
    residue: int

    @property
    def is_balanced(self) -> bool:
        """Tell whether all that came is somewhere: conservation, as the contract writes it."""
        came = self.received + self.spooled_at_start
        return came == self.settled + self.spooled + self.in_flight

    @classmethod
    def from_metrics(cls, metrics: Mapping[str, float]) -> "Books":
        """Read them from the samples of /metrics."""
        settled = sum(
            value
            for name, value in metrics.items()
            if name.startswith("bridge_messages_settled_total{")
        )
        return cls(
            received=int(metrics["bridge_messages_received_total"]),
            spooled_at_start=int(metrics.get("bridge_messages_spooled_at_start", 0)),
            settled=int(settled),
            spooled=int(metrics.get("bridge_messages_spooled", 0)),
            in_flight=int(metrics["bridge_messages_in_flight"]),
            residue=int(metrics["bridge_conservation_residue"]),
        )

    @classmethod
    def from_stopped(cls, event: Mapping[str, Any]) -> "Books":
        """Read them from the event `bridge_stopped`."""
        return cls(
            received=event["received"],
            spooled_at_start=event.get("spooled_at_start", 0),
            settled=sum(event.get(name, 0) for name in _SETTLED),
            spooled=event.get("spooled", 0),
            in_flight=event["unsettled"],
            residue=event["residue"],
        )


class Reckoning(msgspec.Struct, frozen=True, kw_only=True):
    """What the oracle found; `assert_*` says in words what is wrong."""

    sent: int
    acknowledged: int
    """PUBACKed to their publishers: these are owed."""
    telemetry: int
    dead_letters: int
    missing: list[str]
    in_both_topics: list[str]
    unpublished: list[str]
    disordered: list[str]
    scattered: list[str]
    """Devices whose records lie in more than one partition of a topic: no order could hold."""
    duplicates: int
    """Records beyond the number of times that their message was sent."""
    copies: list[str]
    """Where these lie, and the first of them."""
    books: Books | None

    def assert_nothing_lost(self) -> None:
        """Each PUBACKed message is in exactly one topic, and nothing else is there."""
        _assert_none(self.missing, "PUBACKed but in neither topic")
        _assert_none(self.in_both_topics, "in the telemetry and in the dead letter topic")
        _assert_none(self.unpublished, "in Kafka, but never published")

    def assert_in_order(self) -> None:
        """First occurrences of each device's messages are in the order of their PUBLISH."""
        _assert_none(self.scattered, "devices in several partitions of one topic")
        _assert_none(self.disordered, "records behind a newer one of their device")

    def assert_nothing_doubled(self) -> None:
        """No record is there twice."""
        shown = "\n  ".join(self.copies[:SHOWN_MAX])
        what = f"{self.duplicates} records are there more than once:\n  {shown}"
        assert self.duplicates == 0, what

    def assert_books_balance(self) -> None:
        """Conservation: residue 0, and what came is settled, spooled or in flight."""
        books = self.books
        assert books is not None, "the oracle was given no counters of the bridge"
        assert books.residue == 0, f"residue {books.residue}: {books}"
        assert books.is_balanced, f"do not add up: {books}"

    def assert_holds(self) -> None:
        """All but (4): doubles are the caller's business."""
        self.assert_nothing_lost()
        self.assert_in_order()
        if self.books is not None:
            self.assert_books_balance()

    def __str__(self) -> str:
        """Sum up in one line, for the log of a test run."""
        return (
            f"{self.acknowledged} of {self.sent} acknowledged; {self.telemetry} telemetry,"
            f" {self.dead_letters} dead letters; missing {len(self.missing)},"
            f" in both {len(self.in_both_topics)}, unpublished {len(self.unpublished)},"
            f" out of order {len(self.disordered)}, duplicates {self.duplicates}; {self.books}"
        )


def reckon(
    ledgers: Iterable[Ledger],
    *,
    telemetry: Iterable[ConsumedRecord],
    dead_letters: Iterable[ConsumedRecord],
    metrics: Mapping[str, float] | None = None,
    stopped: Mapping[str, Any] | None = None,
    device_id_of: Callable[[str], str] | None = None,
) -> Reckoning:
    """Hold the publishers' ledgers against both topics and, where given, the bridge's counters.

    A device must not publish through two of the ledgers: between them there is no order. Dead
    letters marked `dlq.copy` are not counted, since their message is also telemetry.
    """
    owed = _Owed(device_id_of or _second_level)
    for ledger in ledgers:
        owed.add(ledger)
    good = _Topic("telemetry", owed)
    for record in telemetry:
        good.take(record, owed.identity_of_telemetry(record))
    bad = _Topic("dead letters", owed)
    for record in dead_letters:
        if record.header("dlq.copy") != b"true":
            bad.take(record, owed.identity_of_dead_letter(record))
    books = None
    if metrics is not None:
        books = Books.from_metrics(metrics)
    elif stopped is not None:
        books = Books.from_stopped(stopped)
    # The same bytes of the same device are one message, however often they are sent.
    missing = [
        owed.describe(identity)
        for identity in owed.acknowledged
        if not good.found[identity] + bad.found[identity]
    ]
    in_both = []
    duplicates = 0
    for identity, times_sent in owed.sent.items():
        times_there = good.found[identity] + bad.found[identity]
        if times_there <= times_sent:
            continue
        if good.found[identity] and bad.found[identity]:
            in_both.append(owed.describe(identity))
        else:
            duplicates += times_there - times_sent
    return Reckoning(
        sent=owed.sent.total(),
        acknowledged=owed.acknowledged.total(),
        telemetry=good.records,
        dead_letters=bad.records,
        missing=missing,
        in_both_topics=in_both,
        unpublished=good.unpublished + bad.unpublished,
        disordered=good.disordered + bad.disordered,
        scattered=good.scattered() + bad.scattered(),
        duplicates=duplicates,
        copies=good.copies + bad.copies,
        books=books,
    )


class _Owed:
    """What was published, by identity, and in which order."""

    def __init__(self, device_id_of: Callable[[str], str]) -> None:
        self.sent: Counter[Identity] = Counter()
        self.acknowledged: Counter[Identity] = Counter()
        self.positions: defaultdict[Identity, list[int]] = defaultdict(list)
        """Places in the order of all PUBLISHes of one ledger; comparable within a device."""
        self._device_id_of = device_id_of
        self._by_payload: dict[Identity, Identity] = {}
        self._heads: dict[Identity, bytes] = {}
        self._memory: dict[int, Identity] = {}
        self._ledger_of: dict[str, Ledger] = {}

    def add(self, ledger: Ledger) -> None:
        for position, message in enumerate(ledger.sent):
            identity = self._identity_of(message)
            is_alone = self._ledger_of.setdefault(identity[0], ledger) is ledger
            assert is_alone, f"{identity[0]} publishes through two ledgers: it has no order"
            self.sent[identity] += 1
            self.positions[identity].append(position)
        self.acknowledged.update(self._identity_of(message) for message in ledger.acknowledged)

    def _identity_of(self, message: DeviceMessage) -> Identity:
        known = self._memory.get(id(message))  # The ledgers keep the messages alive.
        if known is not None:
            return known
        device_id = self._device_id_of(message.topic)
        by_payload = (device_id, sha256(message.payload).digest())
        said = _what_it_says(message.payload, is_record=False)
        identity = by_payload if said is None else (device_id, said)
        self._memory[id(message)] = identity
        self._by_payload[by_payload] = identity
        self._heads[identity] = message.payload[:60]
        return identity

    def identity_of_telemetry(self, record: ConsumedRecord) -> Identity:
        key = (record.key or b"").decode("utf-8", "replace")
        said = _what_it_says(record.value or b"", is_record=True)
        return key, said or b"no JSON object"

    def identity_of_dead_letter(self, record: ConsumedRecord) -> Identity:
        mqtt_topic = (record.header("dlq.mqtt-topic") or b"").decode("utf-8", "replace")
        whole = record.header("dlq.payload-sha256")
        digest = bytes.fromhex(whole.decode()) if whole else sha256(record.value or b"").digest()
        by_payload = (self._device_id_of(mqtt_topic), digest)
        return self._by_payload.get(by_payload, by_payload)

    def describe(self, identity: Identity) -> str:
        return f"{identity[0]}: {self._heads.get(identity, b'?')!r}"


class _Topic:
    """One Kafka topic, read in the order of its partitions."""

    def __init__(self, name: str, owed: _Owed) -> None:
        self.name = name
        self.records = 0
        self.found: Counter[Identity] = Counter()
        self.unpublished: list[str] = []
        self.disordered: list[str] = []
        self.copies: list[str] = []
        self._owed = owed
        self._places: dict[Identity, tuple[int, int]] = {}
        self._newest: dict[str, int] = {}
        self._last_read: dict[int, int] = {}
        self._partitions: defaultdict[bytes | None, set[int]] = defaultdict(set)

    def take(self, record: ConsumedRecord, identity: Identity) -> None:
        last_read = self._last_read.get(record.partition, -1)
        assert last_read < record.offset, f"{self.name} is not given in the order of its offsets"
        self._last_read[record.partition] = record.offset
        self.records += 1
        self._partitions[record.key].add(record.partition)
        times_sent = self._owed.sent[identity]
        if not times_sent:
            where = f"{self.name} {record.partition}/{record.offset}"
            self.unpublished.append(f"{where}: {record.key!r} {(record.value or b'')[:60]!r}")
            return
        self.found[identity] += 1
        if self.found[identity] > times_sent:  # It says nothing about the order of the first ones.
            where = f"{self.name} {record.partition}/{record.offset}, {record.timestamp_ms} ms"
            first = self._places[identity]
            self.copies.append(f"{where}: as {first}: {self._owed.describe(identity)}")
            return
        self._places[identity] = (record.partition, record.offset)
        position = self._owed.positions[identity][self.found[identity] - 1]
        device_id = identity[0]
        if position < self._newest.get(device_id, -1):
            where = f"{self.name} {record.partition}/{record.offset}"
            self.disordered.append(f"{where}: {self._owed.describe(identity)}")
        self._newest[device_id] = max(position, self._newest.get(device_id, -1))

    def scattered(self) -> list[str]:
        return [
            f"{self.name}: {key!r} in partitions {sorted(partitions)}"
            for key, partitions in self._partitions.items()
            if len(partitions) > 1
        ]


def _what_it_says(payload: bytes, *, is_record: bool) -> bytes | None:
    """Digest the device's own message: equal as JSON values is equal, the server's fields aside."""
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict):
        return None
    own = {name: value for name, value in message.items() if name not in SERVER_FIELDS}
    # What the bridge writes there is the device's `timestamp` in its first form.
    if is_record and "timestamp_sent" in message:
        own["timestamp"] = message["timestamp_sent"]
    written = json.dumps(own, sort_keys=True, separators=(",", ":"))
    return sha256(written.encode("utf-8", "surrogatepass")).digest()


def _second_level(mqtt_topic: str) -> str:
    levels = mqtt_topic.split("/")
    return levels[1] if len(levels) > 1 else ""


def _assert_none(found: Sequence[str], what: str) -> None:
    shown = "\n  ".join(found[:SHOWN_MAX])
    assert not found, f"{len(found)} {what}:\n  {shown}"
