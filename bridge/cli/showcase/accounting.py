"""The books of the demo: each message, and the one place where it must turn up.

Theory of operation. The fleet knows what each message must become. A message is *owed* from the
moment it is published until its record is read: a telemetry record is known by its device and the
sequence number in its metadata, a dead letter by its device and its bytes. What is read and owed to
nobody is a duplicate when it was settled before, else unexpected. So is a record that is in the
wrong topic, has another reason, or says something else than the device did. Everything here is
bounded by what is owed, which the fleet keeps below OWED_MAX, and by SETTLED_MAX.
"""

import time
from collections import OrderedDict, deque
from typing import Any, TypeAlias

import msgspec

from bridge.cli.showcase.kafka_in_process import DEAD_LETTERS, TELEMETRY, Arrival
from bridge.cli.showcase.traffic import Kind, Message

OWED_MAX = 5_000
"""The fleet waits when so many are on their way: what the mock cluster keeps is far more."""
SETTLED_MAX = 50_000
"""How far back a second copy is still recognised as one; older, it is called unexpected."""
RECENT_MAX = 12
LATENCIES_MAX = 1_000
UNEXPECTED_MAX = 5
"""How many of the unexpected are told apart; the rest are counted."""

Name: TypeAlias = tuple[str, int | bytes]
"""A message by its device and its sequence number, or by its device and its bytes."""


class Owed(msgspec.Struct, frozen=True):
    """A message on its way."""

    message: Message
    sent_at: float


class Letter(msgspec.Struct, kw_only=True):
    """The dead letters of one reason, and the last of them."""

    count: int = 0
    detail: str = ""
    device_id: str = ""


class RecentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A telemetry record as the screen shows it."""

    device_id: str
    sequence: int
    metrics: dict[str, Any]
    server_received_at: str
    time_drift_s: float
    partition: int
    offset: int
    latency_s: float


class _Metadata(msgspec.Struct):
    sequence: int


class _Telemetry(msgspec.Struct):
    device_id: str
    metrics: dict[str, Any]
    metadata: _Metadata
    server_received_at: str = ""
    time_drift_seconds: float = 0.0


_DECODER = msgspec.json.Decoder(_Telemetry)


class Accounting:
    """Who is owed what; a witness of the fleet on one side, a reader of Kafka on the other."""

    def __init__(self) -> None:
        self.sent_total = 0
        self.acknowledged = 0
        self.telemetry = 0
        self.dead_letters: dict[str, Letter] = {}
        self.duplicates = 0
        self.out_of_order = 0
        self.copies = 0
        self.unexpected = 0
        self.unexpected_texts: deque[str] = deque(maxlen=UNEXPECTED_MAX)
        self.recent: deque[RecentRecord] = deque(maxlen=RECENT_MAX)
        self.latencies_s: deque[float] = deque(maxlen=LATENCIES_MAX)
        self._owed: dict[Name, Owed] = {}
        self._settled: OrderedDict[Name, None] = OrderedDict()
        self._last_sequence: dict[str, int] = {}

    @property
    def owed(self) -> int:
        """Messages on their way."""
        return len(self._owed)

    @property
    def dead_letters_total(self) -> int:
        """Dead letters that were due, of all reasons."""
        return sum(letter.count for letter in self.dead_letters.values())

    def sent(self, message: Message) -> None:
        """Note a message that is about to be published."""
        assert message.kind is not Kind.DUPLICATE, "the books of a demo know each message once"
        self.sent_total += 1
        name: Name = (
            (message.device.device_id, message.sequence)
            if message.expected is None
            else (message.device.device_id, message.payload)
        )
        assert name not in self._owed, f"two messages of {name[0]} cannot be told apart"
        self._owed[name] = Owed(message, time.monotonic())

    def answered(self, message: Message) -> None:  # noqa: ARG002 (a PUBACK counts, whatever for)
        """Note a PUBACK of the MQTT broker."""
        self.acknowledged += 1

    def refused(self) -> None:
        """Note a PUBACK that said no: the demo's broker never does."""
        self._surprise("the MQTT broker refused a message")

    def arrived(self, arrival: Arrival) -> None:
        """Settle what this record is owed to."""
        if arrival.kafka_topic == TELEMETRY:
            self._telemetry(arrival)
        elif arrival.kafka_topic == DEAD_LETTERS:
            self._dead_letter(arrival)
        else:
            raise AssertionError(f"nobody reads {arrival.kafka_topic}")

    def _telemetry(self, arrival: Arrival) -> None:
        try:
            telemetry = _DECODER.decode(arrival.value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._surprise(f"a telemetry record cannot be read: {error}")
            return
        device_id, sequence = arrival.key.decode(errors="replace"), telemetry.metadata.sequence
        owed = self._settle((device_id, sequence), what=f"telemetry {sequence} of {device_id}")
        if owed is None:
            return
        if telemetry.device_id != device_id or _metrics(owed.message) != telemetry.metrics:
            self._surprise(f"telemetry {sequence} of {device_id} is not what the device sent")
            return
        self.telemetry += 1
        if sequence < self._last_sequence.get(device_id, 0):
            self.out_of_order += 1
        self._last_sequence[device_id] = sequence
        latency_s = arrival.arrived_at - owed.sent_at
        self.latencies_s.append(latency_s)
        self.recent.append(
            RecentRecord(
                device_id=device_id,
                sequence=sequence,
                metrics=telemetry.metrics,
                server_received_at=telemetry.server_received_at,
                time_drift_s=telemetry.time_drift_seconds,
                partition=arrival.partition,
                offset=arrival.offset,
                latency_s=latency_s,
            )
        )

    def _dead_letter(self, arrival: Arrival) -> None:
        if arrival.headers.get("dlq.copy") == b"true":
            self.copies += 1  # Its record was forwarded too, and that is the one that is owed.
            return
        device_id = arrival.key.decode(errors="replace")
        reason = arrival.headers.get("dlq.reason", b"").decode(errors="replace")
        detail = arrival.headers.get("dlq.detail", b"").decode(errors="replace")
        what = f"a dead letter of {device_id} for {reason} ({detail})"
        owed = self._settle((device_id, arrival.value), what=what)
        if owed is None:
            return
        if owed.message.expected is None or owed.message.expected.value != reason:
            self._surprise(f"{what} should have been {owed.message.expected}")
            return
        letter = self.dead_letters.setdefault(reason, Letter())
        letter.count += 1
        letter.detail = detail
        letter.device_id = device_id

    def _settle(self, name: Name, *, what: str) -> Owed | None:
        owed = self._owed.pop(name, None)
        if owed is not None:
            self._settled[name] = None
            if len(self._settled) > SETTLED_MAX:
                self._settled.popitem(last=False)
        elif name in self._settled:
            self.duplicates += 1
        else:
            self._surprise(f"{what} is owed to nobody")
        return owed

    def _surprise(self, text: str) -> None:
        self.unexpected += 1
        self.unexpected_texts.append(text)

    def summary(self) -> dict[str, Any]:
        """Say it as JSON."""
        return {
            "sent": self.sent_total,
            "telemetry": self.telemetry,
            "dead_letters": self.dead_letters_total,
            "dead_letters_by_reason": {
                reason: letter.count for reason, letter in sorted(self.dead_letters.items())
            },
            "missing": self.owed,
            "unexpected": self.unexpected,
            "duplicates": self.duplicates,
            "out_of_order": self.out_of_order,
            "flagged_copies": self.copies,
        }

    @property
    def is_balanced(self) -> bool:
        """Every message is in exactly the right place, once and in order."""
        settled = self.telemetry + self.dead_letters_total
        return self.is_sound and self.owed == 0 and self.sent_total == settled

    @property
    def is_sound(self) -> bool:
        """What came is right, though something may still be on its way."""
        return self.unexpected + self.duplicates + self.out_of_order == 0


def _metrics(message: Message) -> dict[str, Any]:
    metrics: dict[str, Any] = msgspec.json.decode(message.payload)["metrics"]
    return metrics


def quantile(values: list[float], share: float) -> float | None:
    """Read a quantile by the nearest rank; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
