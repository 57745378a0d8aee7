"""The detour over the disk: who takes it, what comes of it, and when its rows leave again.

`bridge.spool.outage` decides, `bridge.kafka.outbox` holds what Kafka is to get; this is where the
two meet: here a record becomes an entry and a row a shipment again. `turn` and the results of the
disk drive it; what has to be done outside is told to the `Carrier`.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Final, cast

from bridge.fleet.dedup_window import DedupWindow, Knowledge
from bridge.kafka.outbox import Outbox
from bridge.kafka.record import Record
from bridge.kafka.rows import RowError, from_row, identity_of, is_promised, key_of, to_row
from bridge.kafka.shipment import Settleable, Shipment, memory_bytes_of, promised
from bridge.observe.counters import Counters, Outcome, Status
from bridge.runtime.clock import Clock
from bridge.runtime.detour import Carrier, Follower, Held, Safe, Shedder
from bridge.runtime.spool_disk import Disk, DiskResult, Failed, Fetched, Written
from bridge.spool.entry import Entry, Read, State, Write
from bridge.spool.outage import Outage
from bridge.spool.row import Row, Scanned

FOUND_MAX: Final = 100_000_000
"""What is found in Kafka goes as a whole; how much it is, journal and tail bound: their keys."""

PRESSED_AFTER_S: Final = 0.5
"""What was passed by so much that came later goes to disk early where all the rest would wait
behind it: a window of 2,000 is full after a second at 2,000 messages a second."""
SLOW_FACTOR: Final = 2.0
"""Or by so many times what Kafka takes for what it confirms, where that is more. Partitions are
sent in turn, so one may be confirmed a turn before another: where all is slow, nothing is stuck."""


class Spooling:
    """Send over the disk what Kafka does not take for now.

    Invariant: a receipt is handed to `on_spooled` only after its row is committed; a row is removed
    only after its record was confirmed, found in Kafka, or replaced by its letter.
    """

    def __init__(  # noqa: PLR0913  the parts that it joins
        self,
        machine: Outage,
        outbox: Outbox,
        disk: Disk | None,
        *,
        counters: Counters,
        clock: Clock,
        after_s: float,
        bytes_max: int,
    ) -> None:
        """Without a disk, or with `bytes_max` of 0, nothing is ever diverted."""
        self.machine = machine
        self.carrier: Carrier | None = None
        self.is_blind = False
        """Nobody knows yet what Kafka has: everything takes the detour."""
        self._lag_until_s = 0.0
        """Until when it counts how long Kafka took for what it confirmed: twice as long as that."""
        self._served_s = 0.0
        """When the youngest of what Kafka confirmed was handed over."""
        self.spooled = 0
        """QoS 1 messages that are acknowledged, on disk and not yet in Kafka."""
        self.owed_receipts = 0
        """Receipts of followers that the disk does not have yet."""
        self.waiting_records = 0
        """Followers that the disk does not have yet."""
        self.waiting_bytes = 0
        self.known_rows: Counter[str] = Counter()
        """Rows of each topic that Kafka was found to have, until somebody tells of them."""
        self.shedder: Shedder | None = None
        """Who sends the less important over the disk while Kafka is slow, if anybody does."""
        self._counters = counters
        self._outbox = outbox
        self._unsettled = outbox.unsettled
        self._disk = disk
        self._clock = clock
        self._after_s = after_s
        self._bytes_max = bytes_max
        self._found: DedupWindow | None = None
        self._last_row: dict[str, int] = {}
        """The last row of each topic."""
        self._found_up_to: dict[str, int] = {}
        """The last row of each topic that was written before it was known what Kafka has."""
        self._job: Write | Read | None = None
        self._job_since_s = 0.0
        self._is_finishing = False
        self.is_permitted = False
        """It is known what Kafka has: rows may leave."""
        self._idle = asyncio.Event()

    # ------------------------------------------------------------------ start

    @property
    def is_on(self) -> bool:
        """True where there is a disk to go to."""
        return self._disk is not None and self._bytes_max > 0

    @property
    def is_quiet(self) -> bool:
        """True while nothing takes the detour."""
        return self.machine.is_quiet and not self.is_blind and not self.is_shedding

    def restore(self, rows: Iterable[Scanned], live_bytes: int) -> None:
        """Take over the rows of an earlier process; they rest until `permit`."""

        def count() -> Iterable[Scanned]:
            for row in rows:
                self.spooled += is_promised(row.identity)
                self._last_row[row.kafka_topic] = row.sequence
                self._found_up_to[row.kafka_topic] = row.sequence
                yield row

        self.machine.restore(count(), live_bytes)

    def permit(
        self, found: Iterable[Sequence[bytes]], closed: Iterable[tuple[str, int]] = ()
    ) -> None:
        """Let rows leave, but for those whose key is `found` in Kafka, and all of what is `closed`.

        Closed are partitions of which it is not known yet.
        """
        for kafka_topic, partition in closed:
            self.machine.close(kafka_topic, partition)
        if not self.machine.is_quiet:
            self._note_found(found)
        self.is_blind = False
        self.is_permitted = True
        self.machine.permit_drain()

    def open(self, partitions: Iterable[tuple[str, int]], found: Iterable[Sequence[bytes]]) -> None:
        """Let leave what was closed, but for the keys that are found there."""
        self._note_found(found)
        for kafka_topic, partition in partitions:
            self._found_up_to[kafka_topic] = self._last_row.get(kafka_topic, 0)
            self.machine.open(kafka_topic, partition)

    def _note_found(self, found: Iterable[Sequence[bytes]]) -> None:
        if self._found is None:
            self._found = DedupWindow(ttl_s=float("inf"), keys_max=FOUND_MAX, keys_min=FOUND_MAX)
        for keys in found:
            self._found.note(keys, 0.0)

    def forbid(self) -> None:
        """Keep rows back while the ends of the partitions are read again."""
        self.machine.permit_drain(is_permitted=False)

    def resume(self) -> None:
        """Let rows leave again; what was in hand meanwhile was looked up by the outbox."""
        self.machine.permit_drain(is_permitted=self.is_permitted)

    @property
    def is_shedding(self) -> bool:
        """True while the less important goes over the disk for the sake of the rest."""
        return self.is_on and self.shedder is not None and self.shedder.is_shedding

    # ------------------------------------------------------------------ records in

    def divide(
        self, records: Sequence[Record], receipts: Sequence[Settleable | None], now: float
    ) -> list[Shipment]:
        """Take a batch over; return what is to be produced now, in order."""
        if self.is_quiet:
            return self._outbox.add(records, receipts, now)
        direct: list[Record] = []
        direct_receipts: list[Settleable | None] = []
        followers: dict[str, list[Entry]] = {}
        shedder = self.shedder if self.is_shedding else None
        for record, receipt in zip(records, receipts, strict=True):
            # Asked first, so that all that is shed is counted, and not its first record alone.
            is_shed = shedder is not None and shedder.takes(record)
            if is_shed or self.is_blind or self.machine.follows(record.kafka_topic, record.key):
                follower = self._follower_of(record, receipt)
                followers.setdefault(record.kafka_topic, []).append(follower)
            else:
                direct.append(record)
                direct_receipts.append(receipt)
        for kafka_topic, entries in followers.items():
            self._divert_direct(kafka_topic, now, {each.key for each in entries})
            self.machine.divert(entries, now)
        return self._outbox.add(direct, direct_receipts, now)

    def _follower_of(self, record: Record, receipt: Settleable | None) -> Entry:
        is_blind = self.is_blind or self.machine.is_closed(record.kafka_topic, record.key)
        follower = Follower(record, receipt, memory_bytes_of(record), is_blind)
        self._count_waiting(1, follower)
        return _entry_of(record, follower, is_promised=promised(receipt))

    def _count_waiting(self, records: int, follower: Follower) -> None:
        size_bytes = records * follower.memory_bytes
        self._unsettled.take(records, size_bytes)
        self.waiting_records += records
        self.waiting_bytes += size_bytes
        self.owed_receipts += records * promised(follower.receipt)

    def _divert_direct(
        self,
        kafka_topic: str,
        now: float,
        followed: Collection[bytes],
        after_s: float | None = None,
    ) -> None:
        """Give an entry to what is stuck, and to what precedes those that follow."""
        chosen = self.machine.choose(
            kafka_topic,
            [
                (each.record.key, each.owed_since_s, each)
                for each in self._outbox.direct(kafka_topic)
            ],
            now,
            followed,
            after_s,
        )
        self._divert_in_hand(chosen.stuck, now, is_stuck=True)
        self._divert_in_hand(chosen.along, now, is_stuck=False)

    def _divert_in_hand(self, shipments: list[Shipment], now: float, *, is_stuck: bool) -> None:
        entries: list[Entry] = []
        for each in shipments:
            entry = _entry_of(each.record, each, is_promised=promised(each.receipt))
            entry.is_in_hand = True
            self._outbox.attach(each, entry)
            entries.append(entry)
        self.machine.divert(entries, now, is_stuck=is_stuck)

    def replace(self, shipment: Shipment, letter: Record, now: float) -> list[Shipment]:
        """Let a letter take the place of a refused shipment; return what is to be produced now."""
        self._outbox.withdraw(shipment)
        if shipment.entry is None:
            return self.divide([letter], [shipment.receipt], now)
        entry = cast("Entry", shipment.entry)
        self.machine.replace(entry, self._letter_entry(entry, letter, shipment.receipt), now)
        return []

    def _letter_entry(self, entry: Entry, letter: Record, receipt: Settleable | None) -> Entry:
        follower = self._follower_of(letter, receipt)
        follower.identity = identity_of(letter.dedup_key, is_promised=is_promised(entry.identity))
        return follower

    def drop(self, shipment: Shipment, now: float) -> None:
        """Let a refused shipment go without a letter: the same one is known already."""
        self._outbox.withdraw(shipment)
        if shipment.entry is None:
            return
        entry = cast("Entry", shipment.entry)
        if entry.state is State.ROW:
            self._count_found([entry])
        self.machine.found([entry], now)

    def rest(self, shipment: Shipment, now: float) -> bool:
        """Keep the row of a refused shipment for later, if it has one: it is acknowledged."""
        entry = cast("Entry | None", shipment.entry)
        if entry is None or entry.state is not State.ROW:
            return False
        self._outbox.withdraw(shipment)
        self.machine.rest(entry, now)
        return True

    def _count_found(self, entries: list[Entry]) -> None:
        self.known_rows.update(each.kafka_topic for each in entries)
        counted = sum(is_promised(each.identity) for each in entries)
        self.spooled -= counted
        self._counters.spool_rows_drained += len(entries)
        self._counters.messages[Status.DUPLICATE] += counted
        self._counters.settled[Outcome.DUPLICATE] += counted

    # ------------------------------------------------------------------ reports in

    def alive(
        self, kafka_topics: Collection[str], confirmed: Sequence[Shipment], now: float
    ) -> None:
        """Note that Kafka confirmed these, of these topics, in the order of its reports."""
        self.machine.alive(kafka_topics, now)
        self._note_pace(confirmed, now)

    def _note_pace(self, confirmed: Sequence[Shipment], now: float) -> None:
        # Forgotten by and by: one fast partition says nothing of the others. And bounded, since
        # what was stuck and comes back is no measure of what Kafka takes now.
        lag_s = min(now - confirmed[0].owed_since_s, self._after_s)
        self._lag_until_s = max(self._lag_until_s, now + 2 * lag_s)
        self._served_s = max(self._served_s, confirmed[-1].owed_since_s)

    def _pressed_after_s(self, now: float) -> float:
        """Tell how old is stuck: not by the clock, but by what came later and is confirmed."""
        patience_s = max(PRESSED_AFTER_S, SLOW_FACTOR * (self._lag_until_s - now) / 2)
        return min(now - self._served_s + patience_s, self._after_s)

    def confirmed(self, shipments: Sequence[Shipment], now: float) -> list[bool]:
        """Take what Kafka confirmed of the detour; tell for each whether it is a QoS 1 message."""
        self._note_pace(shipments, now)
        entries = [cast("Entry", each.entry) for each in shipments]
        are_promised = [is_promised(each.identity) for each in entries]
        for entry, is_counted in zip(entries, are_promised, strict=True):
            if entry.state is State.ROW:
                self.spooled -= is_counted
                self._counters.spool_rows_drained += 1
        self.machine.confirmed(entries, now)
        return are_promised

    # ------------------------------------------------------------------ what is due

    def turn(self, now: float, *, is_pressed: bool = False) -> None:
        """Divert what is stuck, give the disk its next job, hand back what needs no detour.

        `is_pressed` says that others wait behind what is stuck, since PUBACKs keep their order.
        """
        if self.is_on and not self._is_finishing:
            after_s = self._pressed_after_s(now) if is_pressed else self._after_s
            for kafka_topic in self._outbox.topics_owing_since(now - after_s):
                self._divert_direct(kafka_topic, now, (), after_s)
        machine = self.machine
        if machine.is_quiet:
            self._found = None
            return
        if self._is_finishing:
            return
        due = machine.due(now, None if self.shedder is None else self.shedder.drain_max)
        if due.forward:
            self._forward(due.forward, now)
        if due.disk is not None:
            self._start(due.disk)

    def _start(self, job: Write | Read) -> None:
        assert self._disk is not None, "a job without a disk"
        self._job = job
        self._job_since_s = self._clock.monotonic_s()
        self._disk.start(job, self._on_done)

    def _forward(self, entries: list[Entry], now: float) -> None:
        """Produce from memory what was on its way to the disk and need not go there."""
        carrier = self._carrier()
        known: list[Follower] = []
        records: list[Record] = []
        receipts: list[Settleable | None] = []
        for entry in entries:
            follower = entry.item
            assert isinstance(follower, Follower), "only followers are handed back"
            entry.item = None
            self._count_waiting(-1, follower)
            if follower.is_blind and self._is_found(entry.identity):
                known.append(follower)
            else:
                records.append(follower.record)
                receipts.append(follower.receipt)
        if known:
            carrier.on_found(known, now)
        carrier.carry(self._outbox.add(records, receipts, now))

    def _is_found(self, identity: bytes) -> bool:
        key = key_of(identity)
        return bool(key) and self._found is not None and self._found.ask(key) is Knowledge.SAME

    def _is_row_found(self, kafka_topic: str, row: Row) -> bool:
        """Tell whether Kafka has a row; what came later was judged by what is known since."""
        is_old = row.sequence <= self._found_up_to.get(kafka_topic, 0)
        return is_old and self._is_found(row.identity)

    def _on_done(self, result: DiskResult) -> None:
        now = self._clock.monotonic_s()
        job, self._job = self._job, None
        match result:
            case Written():
                self._take_written(result, now)
            case Fetched():
                assert isinstance(job, Read), "rows without a read"
                drained = self.machine.read(
                    result.rows,
                    now,
                    is_last=result.is_last,
                    is_in_kafka=partial(self._is_row_found, job.kafka_topic),
                )
                self._count_found(drained.found)
                self._hand_out(drained.taken, now)
            case Failed():
                self._counters.spool_failures += 1
                if isinstance(job, Read):
                    self.machine.read_failed(result.error, now)
                else:
                    self.machine.write_failed(result.error, now)
        self._idle.set()
        self._carrier().on_disk_done()

    def _take_written(self, result: Written, now: float) -> None:
        safe: list[Safe] = []
        for entry in self.machine.written(result.sequences, result.live_bytes):
            held = cast("Held", entry.item)
            safe.append(Safe(held.record, held.receipt))
            self.spooled += promised(held.receipt)
            self._counters.spool_rows_written += 1
            self._last_row[entry.kafka_topic] = entry.sequence
            if isinstance(held, Shipment):
                self._outbox.release(held)
            else:
                if held.is_blind:
                    self._found_up_to[entry.kafka_topic] = entry.sequence
                self._count_waiting(-1, held)
                entry.item = None
        if safe:
            self._carrier().on_spooled(safe, now)

    def _hand_out(self, entries: list[Entry], now: float) -> None:
        """Produce rows."""
        records: list[Record] = []
        kept: list[Entry] = []
        for entry in entries:
            try:
                record = from_row(entry.record, dedup_key=key_of(entry.identity), monotonic_s=now)
            except RowError as error:
                letter = self._carrier().letter_of_row(entry, str(error))
                self.machine.replace(entry, self._letter_entry(entry, letter, None), now)
                continue
            entry.record = b""
            records.append(record)
            kept.append(entry)
        self._carrier().carry(self._outbox.add_spooled(records, kept, now))

    def _carrier(self) -> Carrier:
        assert self.carrier is not None, "nobody carries what leaves the detour"
        return self.carrier

    # ------------------------------------------------------------------ the end

    def halt(self) -> None:
        """Give the disk no further job but those of `finish`."""
        self._is_finishing = True

    async def finish(self, *, timeout_s: float) -> bool:
        """Put on disk what is unconfirmed, let go what Kafka has; tell whether that was done."""
        self.halt()
        if self._disk is None:
            return not self._unsettled.records
        try:
            async with asyncio.timeout(timeout_s):
                await self._await_disk()
                now = self._clock.monotonic_s()
                for kafka_topic in self._outbox.topics if self.is_on else ():
                    self._divert_in_hand(self._outbox.direct(kafka_topic), now, is_stuck=True)
                while (write := self.machine.last_write()) is not None:
                    self._start(write)
                    await self._await_disk()
                    if self.machine.write_error is not None:
                        return False
        except TimeoutError:
            return False
        return not self._unsettled.records

    async def _await_disk(self) -> None:
        while self._job is not None:
            self._idle.clear()
            await self._idle.wait()

    def job_age_s(self, now: float) -> float:
        """Tell how long the disk has been at its job; 0 while it has none."""
        return 0.0 if self._job is None else max(0.0, now - self._job_since_s)

    @property
    def oldest_received_s(self) -> float | None:
        """Tell when the oldest follower that the disk does not have yet was received."""
        return min(
            (
                cast("Held", each).record.received.monotonic_s
                for each in self.machine.oldest_pending
            ),
            default=None,
        )


def _entry_of(record: Record, held: Held, *, is_promised: bool) -> Entry:
    return Entry(
        record.kafka_topic,
        record.key,
        identity_of(record.dedup_key, is_promised=is_promised),
        to_row(record),
        held,
    )
