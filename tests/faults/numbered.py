"""Load for hours: every message can be made again from its number, so nobody need keep it.

The ledger is two bits of memory a message instead of the message, and the oracle makes each message
anew to compare: the same sentences as `tests.support.oracle`, for millions.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final, cast

import msgspec

from tests.support.devices import DeviceMessage, Ledger
from tests.support.kafka_client import ConsumedRecord
from tests.support.oracle import SERVER_FIELDS, SHOWN_MAX

STEP_US: Final = 100
"""Between the timestamps of two messages of one device: as good as any, and never the same."""


class Numbered(DeviceMessage, frozen=True, kw_only=True):
    """One message of a device, by its number."""

    device: int
    number: int


class Load:
    """The devices of one run and all that they say; the same arguments make the same messages."""

    def __init__(self, device_ids: list[str], *, topic: str, began_at: datetime) -> None:
        """`topic` holds `{}` for the device id."""
        self.device_ids = device_ids
        self._topics = [topic.format(each) for each in device_ids]
        self._began_at = began_at

    def message(self, device: int, number: int) -> Numbered:
        """Make one message."""
        body = json.dumps(self.body(device, number)).encode()
        return Numbered(topic=self._topics[device], payload=body, device=device, number=number)

    def body(self, device: int, number: int) -> dict[str, Any]:
        """Return what the message says."""
        at = self._began_at + timedelta(microseconds=STEP_US * number)
        written = at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return {
            "device_id": self.device_ids[device],
            "timestamp": written,
            "metrics": {"sequence": number, "temperature": 21.5},
        }

    def speak(self, devices: range) -> Iterator[Numbered]:
        """Let some of the devices speak in turn, for ever."""
        for number in count():
            for device in devices:
                yield self.message(device, number)


class _Marks:
    """Looks like a list of messages to a publisher; keeps one byte of each."""

    def __init__(self) -> None:
        self.by_device: dict[int, bytearray] = {}
        self.total = 0

    def append(self, message: Numbered) -> None:
        marks = self.by_device.setdefault(message.device, bytearray())
        if len(marks) <= message.number:
            marks.extend(bytes(message.number + 1 - len(marks)))
        marks[message.number] = 1
        self.total += 1

    def __len__(self) -> int:
        return self.total


class Marks:
    """The ledger of one publisher of a `Load`."""

    def __init__(self) -> None:
        self.sent = _Marks()
        self.acknowledged = _Marks()
        self.unmatched = _Marks()
        self.refused: list[tuple[DeviceMessage, int]] = []

    def as_ledger(self) -> Ledger:
        """Pass for a ledger: a publisher only appends to its lists."""
        return cast("Ledger", self)


class Verdict(msgspec.Struct, kw_only=True):
    """What the oracle found in Kafka."""

    sent: int = 0
    acknowledged: int = 0
    records: int = 0
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    unpublished: int = 0
    """Records that nobody published, or whose content is not what was published."""
    dead_letters: int = 0
    """There are no bad messages in the load, so each is one too many."""
    examples: list[str] = []

    @property
    def holds(self) -> bool:
        """Tell whether the promise was kept."""
        wrong = self.lost + self.doubled + self.out_of_order + self.unpublished + self.dead_letters
        return not wrong


def judge(
    load: Load,
    ledgers: Iterable[Marks],
    telemetry: Iterable[ConsumedRecord],
    *,
    dead_letters: int,
) -> Verdict:
    """Hold what was acknowledged against what is in Kafka."""
    verdict = Verdict(dead_letters=dead_letters)
    sent: dict[int, bytearray] = {}
    acknowledged: dict[int, bytearray] = {}
    for ledger in ledgers:
        verdict.sent += ledger.sent.total
        verdict.acknowledged += ledger.acknowledged.total
        sent.update(ledger.sent.by_device)
        acknowledged.update(ledger.acknowledged.by_device)
    found = {device: bytearray(len(marks)) for device, marks in sent.items()}
    devices = {each.encode(): device for device, each in enumerate(load.device_ids)}
    newest: dict[int, tuple[int, int]] = {}
    for record in telemetry:
        verdict.records += 1
        device = devices.get(record.key or b"", -1)
        number = _number_of(record, load, device)
        if number is None or number >= len(found.get(device, b"")):
            verdict.unpublished += 1
            _show(verdict, f"never published: {record.key!r} {(record.value or b'')[:80]!r}")
            continue
        if found[device][number]:
            verdict.doubled += 1
            _show(verdict, f"there again: {load.device_ids[device]} {number}")
            continue
        found[device][number] = 1
        partition, last = newest.get(device, (record.partition, -1))
        if number < last or partition != record.partition:
            verdict.out_of_order += 1
            _show(verdict, f"behind {last}: {load.device_ids[device]} {number}")
        newest[device] = (record.partition, max(number, last))
    for device, marks in acknowledged.items():
        for number, mark in enumerate(marks):
            if mark and not found[device][number]:
                verdict.lost += 1
                _show(verdict, f"lost: {load.device_ids[device]} {number}")
    return verdict


def _number_of(record: ConsumedRecord, load: Load, device: int) -> int | None:
    """Return the number of the message, if it says exactly what that message said."""
    try:
        message = json.loads(record.value or b"")
        number = int(message["metrics"]["sequence"])
    except (ValueError, KeyError, TypeError):
        return None
    own = {name: value for name, value in message.items() if name not in SERVER_FIELDS}
    if device < 0 or number < 0 or own != load.body(device, number):
        return None
    return number


def _show(verdict: Verdict, text: str) -> None:
    if len(verdict.examples) < SHOWN_MAX:
        verdict.examples.append(text)
