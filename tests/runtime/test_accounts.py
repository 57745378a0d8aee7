"""Where messages ended, counted by the type of their device too, where there is a registry."""

import io
from collections.abc import Callable, Iterable, Sequence

import pytest

from bridge.fleet.duplicates import Duplicates
from bridge.fleet.registry import LABELS_MAX, DeviceEntry, Registry
from bridge.kafka.record import DeadLetter, Kept, Record
from bridge.kafka.shipment import Shipment, shares_of
from bridge.mqtt.ack_ledger import AckLedger
from bridge.observe.active_devices import ActiveDevices
from bridge.observe.catalogue.entry import Level
from bridge.observe.counters import Counters, LatencyHistogram
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.runtime.accounts import Accounts, Books
from tests.pipeline.given import RECEIVED

COPY = DeadLetter("id", "out_of_range", "semantic", "", "d", "t", is_copy=True)
REJECTED = DeadLetter("id", "empty", "schema", "", "d", "t")
FAILED = DeadLetter("id", "internal_error", "schema", "", "d", "t")


Types = Callable[[Sequence[bytes]], Iterable[str]]


class NoJournal:
    def note(self, keys: Sequence[bytes]) -> None:
        """Keep nothing."""


def record(key: bytes, *, letter: DeadLetter | None = None, is_flagged: bool = False) -> Record:
    origin = Kept("devices/d/telemetry", b"", None)
    return Record("t", key, b"", [], RECEIVED, origin, letter, is_flagged)


def opened(types_of: Types | None) -> tuple[Accounts, Counters]:
    log = EventLog(level=Level.DEBUG, lines=StreamLines(io.StringIO()), renderer=render_json)
    books = Books(Counters(), LatencyHistogram(), ActiveDevices(now_s=0.0), log, types_of=types_of)
    return Accounts(books, Duplicates(None), NoJournal()), books.counters


def counted(
    records: Sequence[Record], types_of: Types | None, *, is_spooled: bool = False
) -> Counters:
    accounts, counters = opened(types_of)
    shipments = [
        Shipment(number, each, None, memory_bytes=0, owed_since_s=7.0)
        for number, each in enumerate(records)
    ]
    if is_spooled:
        accounts.confirm_spooled(shipments, [False] * len(shipments), 8.0)
    else:
        accounts.confirm(shipments, 8.0)
    return counters


def registry(**types: str) -> Registry:
    found = Registry()
    found.replace({name: DeviceEntry(type=each) for name, each in types.items()})
    return found


@pytest.mark.parametrize("is_spooled", [False, True])
def test_each_message_counts_for_the_type_of_its_device_and_copies_for_none(
    *, is_spooled: bool
) -> None:
    records = [
        record(b"t1"),
        record(b"t1", is_flagged=True),
        record(b"t1", letter=COPY),
        record(b"h1", letter=REJECTED),
        record(b"h1", letter=FAILED),
        record(b"stranger"),
        record(b"\xff"),
    ]

    counters = counted(
        records,
        registry(t1="thermometer", h1="hygrometer").labels_of,
        is_spooled=is_spooled,
    )

    nothing = dict.fromkeys(counters.messages, 0)
    assert {
        "thermometer": {**nothing, "accepted": 1, "flagged": 1},
        "hygrometer": {**nothing, "rejected": 1, "failed": 1},
        "other": {**nothing, "accepted": 2},
    } == counters.messages_by_type
    assert {**nothing, "accepted": 3, "flagged": 1, "rejected": 1, "failed": 1} == counters.messages


def test_without_a_registry_and_before_it_is_known_no_type_is() -> None:
    assert {} == counted([record(b"t1")], None).messages_by_type
    assert {"unknown"} == set(counted([record(b"t1")], Registry().labels_of).messages_by_type)


def test_the_number_of_types_is_bounded_whatever_the_registry_has() -> None:
    types = {f"device-{number}": f"type-{number}" for number in range(200)}
    records = [record(name.encode()) for name in types]

    counters = counted(records, registry(**types).labels_of)

    assert LABELS_MAX + 1 == len(counters.messages_by_type)
    assert 200 - LABELS_MAX == counters.messages_by_type["other"]["accepted"]


def test_of_a_batch_that_is_shed_each_reading_counts_as_dropped() -> None:
    accounts, counters = opened(None)
    shares = shares_of(AckLedger().open(1), 3)

    accounts.settle_shed([(record(b"d"), each) for each in shares])

    assert (3, 1) == (counters.dropped["shed"], counters.settled["dropped"])
