"""Where each message ended: receipts settled, and everything counted."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import msgspec

from bridge.fleet.duplicates import Duplicates
from bridge.kafka.record import DeadLetter, Reading, Record
from bridge.kafka.shipment import Settleable, Share, Shipment
from bridge.observe.active_devices import ActiveDevices
from bridge.observe.counters import (
    SHED,
    Counters,
    LatencyHistogram,
    Outcome,
    Status,
)
from bridge.observe.examples import Examples
from bridge.observe.log import EventLog
from bridge.pipeline.verdict import Reason
from bridge.runtime.detour import Follower, Safe
from bridge.runtime.witnesses import Witnesses

_FAILED: Final = frozenset({str(Reason.KAFKA_REFUSED), str(Reason.INTERNAL_ERROR)})


class Journal(Protocol):
    """Where the keys are kept that Kafka was seen to have, for the next start."""

    def note(self, keys: Sequence[bytes]) -> None:
        """Keep compact keys; empty ones mean nothing."""


class Books(msgspec.Struct, frozen=True):
    """Where the runtime writes down what happened."""

    counters: Counters
    latency: LatencyHistogram
    active: ActiveDevices
    log: EventLog
    types_of: Callable[[Sequence[bytes]], Iterable[str]] | None = None
    """Labels of the types of devices; None, there is no registry."""
    witnesses: Witnesses = msgspec.field(default_factory=Witnesses)
    examples: Examples | None = None
    """Of dead letters, as they were written; None, `ops.examples` is off."""


class Accounts:
    """Settle what is safe and count it, a batch at a time.

    Invariant: for one QoS 1 PUBLISH exactly one term of the conservation equation grows by one,
    when its receipt is settled or, where the spool had settled that, when its row ends.
    """

    def __init__(self, books: Books, duplicates: Duplicates, journal: Journal) -> None:
        self._counters = books.counters
        self._latency = books.latency
        self._types_of = books.types_of
        self._witnesses = books.witnesses
        self._duplicates = duplicates
        self._journal = journal

    def settle_duplicates(self, receipts: Iterable[Settleable]) -> None:
        """Settle the receipts of messages that Kafka or the spool has from another PUBLISH."""
        counters = self._counters
        for receipt in receipts:
            receipt.settle()
            counters.messages[Status.DUPLICATE] += 1
            counters.readings[Outcome.DUPLICATE] += type(receipt) is Share
            counters.settled[Outcome.DUPLICATE] += receipt.is_promised

    def settle_shed(self, dropped: Iterable[tuple[Record, Settleable | None]]) -> None:
        """Settle what is dropped because Kafka is slow, and who waited for the same message."""
        dropped = list(dropped)
        if self._witnesses.is_on:
            self._witnesses.shed(dropped)
        for record, receipt in dropped:
            for each in (receipt, *self._duplicates.abandon(record.dedup_key)):
                self.settle_dropped(SHED, each)

    def settle_dropped(self, reason: str, receipt: Settleable | None) -> None:
        """Settle what a policy leaves out, and count it by its reason."""
        counters = self._counters
        counters.messages[Status.DROPPED] += 1
        counters.dropped[reason] += 1
        if receipt is not None:
            receipt.settle()
            counters.readings[Outcome.DROPPED] += type(receipt) is Share
            counters.settled[Outcome.DROPPED] += receipt.is_promised

    def confirm(self, confirmed: list[Shipment], now: float) -> None:
        """Settle the receipts and count where each message ended."""
        counters = self._counters
        read_at = confirmed[0].record.received
        telemetry = flagged = produced = readings = since_read = 0
        for shipment in confirmed:
            record = shipment.record
            if record.received is not read_at:
                self._latency.observe_many(read_at.monotonic_s, now, since_read)
                read_at = record.received
                since_read = 0
            since_read += 1
            receipt = shipment.receipt
            is_promised = False
            if receipt is not None:
                receipt.settle()
                is_promised = receipt.is_promised
            if record.dead_letter is None:
                telemetry += 1
                flagged += record.is_flagged
                produced += is_promised
                readings += type(record.origin) is Reading
            else:
                self._count_dead_letter(record, record.dead_letter, is_promised=is_promised)
        self._latency.observe_many(read_at.monotonic_s, now, since_read)
        self._note_known([each.record.dedup_key for each in confirmed])
        self._count_types(confirmed)
        counters.messages[Status.ACCEPTED] += telemetry - flagged
        counters.messages[Status.FLAGGED] += flagged
        counters.settled[Outcome.PRODUCED] += produced
        counters.readings[Outcome.PRODUCED] += readings
        if self._witnesses.is_on:
            self._witnesses.confirmed(confirmed, now)

    def confirm_spooled(self, shipments: list[Shipment], promised: list[bool], now: float) -> None:
        """Count what came out of the spool, or was confirmed on its way there."""
        counters = self._counters
        for shipment, is_promised in zip(shipments, promised, strict=True):
            record, receipt = shipment.record, shipment.receipt
            if receipt is not None:
                receipt.settle()
                self._latency.observe_many(record.received.monotonic_s, now, 1)
            if record.dead_letter is not None:
                self._count_dead_letter(record, record.dead_letter, is_promised=is_promised)
                continue
            counters.messages[_status(record)] += 1
            counters.settled[Outcome.PRODUCED] += is_promised
            counters.readings[Outcome.PRODUCED] += type(record.origin) is Reading
        self._note_known([each.record.dedup_key for each in shipments])
        self._count_types(shipments)
        if self._witnesses.is_on:
            self._witnesses.confirmed(shipments, now)

    def _note_known(self, keys: list[bytes]) -> None:
        """Note the keys of what Kafka has, and settle who waited for them."""
        self._journal.note(keys)
        self.settle_duplicates(self._duplicates.confirm(keys))

    def _count_dead_letter(self, record: Record, letter: DeadLetter, *, is_promised: bool) -> None:
        counters, reason = self._counters, letter.reason
        if letter.is_copy:
            counters.flagged_copies[reason] += 1
            return
        counters.dead_letters[reason] += 1
        counters.readings[Outcome.DEAD_LETTERED] += type(record.origin) is Reading
        counters.messages[_status(record)] += 1
        if is_promised:
            counters.settled[Outcome.DEAD_LETTERED] += 1

    def _count_types(self, shipments: Iterable[Shipment]) -> None:
        """Count the same messages by the type of their device."""
        if self._types_of is None:
            return
        records = [
            each.record
            for each in shipments
            if each.record.dead_letter is None or not each.record.dead_letter.is_copy
        ]
        types = self._types_of([each.key for each in records])
        counts = Counter(zip(types, map(_status, records), strict=True))
        for (device_type, status), count in counts.items():
            self._counters.note_type(device_type, status, count)

    def settle_spooled(self, safe: list[Safe], now: float) -> None:
        """Settle the receipts of what is on disk; a duplicate of it is known from now on."""
        for each in safe:
            if each.receipt is not None:
                each.receipt.settle()
                self._latency.observe_many(each.record.received.monotonic_s, now, 1)
        self.settle_duplicates(self._duplicates.confirm([each.record.dedup_key for each in safe]))
        if self._witnesses.is_on:
            self._witnesses.spooled(safe, now)

    def settle_found(self, followers: Sequence[Follower]) -> None:
        """Settle what was not produced, because Kafka was found to have it."""
        self.settle_duplicates(each.receipt for each in followers if each.receipt is not None)
        self.settle_duplicates(
            self._duplicates.confirm([each.record.dedup_key for each in followers])
        )
        if self._witnesses.is_on:
            self._witnesses.found(followers)


def _status(record: Record) -> Status:
    if record.dead_letter is not None:
        return Status.FAILED if record.dead_letter.reason in _FAILED else Status.REJECTED
    return Status.FLAGGED if record.is_flagged else Status.ACCEPTED
