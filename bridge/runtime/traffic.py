"""The way of the messages at run time: packets in, records out, reports in, PUBACKs out.

Everything here runs once for a batch: a socket read, a poll of the producer, a transaction of the
spool. Per message there is only what the pure rooms do, one `produce`, and one iteration in
`Accounts.confirm`. Clock, timers, producer and disk are arguments: the simulation runs this code.
"""

import asyncio
from collections.abc import Callable, Collection, Container, Sequence
from typing import Final

from bridge.fleet.duplicates import Duplicates
from bridge.kafka.lane import RETRY_S, Settlement
from bridge.kafka.outbox import Outbox
from bridge.kafka.partitions import Place
from bridge.kafka.properties import headers_bytes
from bridge.kafka.record import Instant, Record
from bridge.kafka.shipment import Shipment
from bridge.mqtt.events import Received
from bridge.mqtt.session import Session
from bridge.pipeline.flow import Flow
from bridge.pipeline.verdict import Duplicate
from bridge.runtime.accounts import Accounts, Books, Journal
from bridge.runtime.clock import Clock, Timer
from bridge.runtime.detour import Follower, Safe
from bridge.runtime.early import Early
from bridge.runtime.fault_points import reach
from bridge.runtime.kafka_narrator import KafkaNarrator
from bridge.runtime.kafka_tail import Chunk
from bridge.runtime.polling import POLL_MAX_S, Polling
from bridge.runtime.reading import Reading
from bridge.runtime.shedder import LoadShedder
from bridge.runtime.sorter import Sorter
from bridge.runtime.spooling import PRESSED_AFTER_S, Spooling
from bridge.runtime.traffic_peers import Attendance, Producer
from bridge.spool.entry import Entry

EARLY_TURN: Final = 2_000
"""Packets and records of what waited, before the loop gets its turn: PINGREQ and `live` wait."""
DEAD_LETTER_HEADERS_BYTES: Final = 32_768
"""Room left for the headers of a dead letter that is yet to be written; each of them is cut."""


class Traffic:
    """Carry batches both ways.

    Invariant: a receipt is settled only for a shipment in `Settlement.confirmed`, or for a record
    that the spool has committed, so a PUBACK never leaves before Kafka or the disk has the record.
    """

    def __init__(  # noqa: PLR0913  the parts that it joins
        self,
        *,
        flow: Flow,
        duplicates: Duplicates,
        session: Session,
        outbox: Outbox,
        spooling: Spooling,
        producer: Producer,
        journal: Journal,
        value_bytes_max: int,
        books: Books,
        clock: Clock,
        on_bug: Callable[[Exception], None],
        on_rebuilt: Callable[[], None],
        attendance: Attendance | None = None,
        shedder: LoadShedder | None = None,
        early_turn: int = EARLY_TURN,
    ) -> None:
        self._early = Early(outbox.unsettled)
        self.reading = Reading(outbox, self._early, session, duplicates, books.log)
        self.last_confirmed_s: float | None = None
        """When Kafka last confirmed anything, on the monotonic clock."""
        self.last_progress_s = clock.monotonic_s()
        self.last_reported_s = self.last_progress_s
        """When the producer last reported anything, errors too."""
        self.rebuilt_s = -RETRY_S
        self.flow = flow
        """A reload puts another one here, between two batches."""
        self.value_bytes_max = value_bytes_max
        self._duplicates = duplicates
        self._session = session
        self._outbox = outbox
        self._unsettled = outbox.unsettled
        self._spooling = spooling
        self._producer = producer
        self._journal = journal
        self._books = books
        self._narrator = KafkaNarrator(books.counters, books.log, books.examples)
        self._accounts = Accounts(books, duplicates, journal)
        self._sorter = Sorter(self._accounts, duplicates, books.counters)
        self._clock = clock
        self._on_bug = on_bug
        self._on_rebuilt = on_rebuilt
        self._attendance = attendance
        self._shedder = shedder
        self._poll_timer: Timer | None = None
        self._polling = Polling()
        self._early_turn = early_turn
        self._is_in_judge_early = False
        self._recalled: list[Chunk] = []
        """What the journal says Kafka has, and then the tail; until `release`."""
        self._is_released = False
        self._is_closed = False
        spooling.carrier = self

    # ------------------------------------------------------------------ packets in

    def take(self, received: Received) -> None:
        """Carry the PUBLISHes of one socket read."""
        now = self._clock.instant()
        if self._early.is_waiting:
            self._early.put(received, now)
            self._judge_early()
        else:
            self._judge(received, now, now.monotonic_s)
        self.reading.pause_at_bounds(now.monotonic_s)

    def _judge(self, received: Received, at: Instant, now: float) -> int:
        """Judge what came at that time and carry it; return how many records it became."""
        counters = self._books.counters
        receipts = received.receipts
        best_effort = receipts.count(None)
        counters.received += len(receipts) - best_effort
        if best_effort:
            counters.received_qos0 += best_effort
            first = received.packets[receipts.index(None)]
            self._books.log.emit("mqtt_qos0_received", mqtt_topic=first.topic)
        outcomes = self.flow.process(received.packets, at)
        if self._books.witnesses.is_on:
            self._books.witnesses.judged(received.packets, outcomes, at)
        records, owed = self._sorter.sort(outcomes, receipts)
        if self._shedder is not None and self._shedder.is_dropping:
            records, owed, dropped = self._shedder.split(records, owed)
            self._accounts.settle_shed(dropped)
        if [each for each in records if each.dead_letter is not None]:
            self._fit_dead_letters(records)
            self._narrator.tell_dead_letters(records)
        self._books.active.note(
            {each.key for each in records if each.dead_letter is None}, at.monotonic_s
        )
        if self._attendance is not None:
            self._attendance.note(records, at)
        if not len(self._outbox):
            self.last_progress_s = now
        self.carry(self._spooling.divide(records, owed, now))
        self.serve()
        self._acknowledge(now)
        self._schedule()
        return len(records)

    @property
    def is_owed(self) -> bool:
        """True while the producer has something to report."""
        return len(self._outbox) > 0

    @property
    def is_judging(self) -> bool:
        """False while what comes waits: for what Kafka has, or behind what waited for that."""
        return not self._early.is_waiting

    @property
    def has_rows(self) -> bool:
        """True while the spool has rows that are not known to be in Kafka."""
        return self._spooling.machine.spooled > 0

    @property
    def waiting(self) -> int:
        """Count the PUBLISHes that wait to be judged."""
        return self._early.held.records

    @property
    def waiting_since_s(self) -> float | None:
        """Tell when, on the monotonic clock, the oldest of them was received."""
        return self._early.oldest_received_s

    @property
    def oldest_received_us(self) -> int | None:
        """Tell when, on the wall clock, the oldest record under way was received."""
        return self._outbox.oldest_received_us

    @property
    def is_released(self) -> bool:
        """False until it is known what Kafka already has."""
        return self._is_released

    def go_blind(self) -> None:
        """Judge what came by what is known without Kafka; the spool takes it all."""
        if not self._early.is_kept or not self._spooling.is_on:
            return
        self._spooling.is_blind = True
        self._early.is_kept = False
        self._judge_early()

    def recall(self, chunks: Sequence[Chunk]) -> None:
        """Let the dedup window know keys that Kafka has, oldest first."""
        self._recalled += chunks
        now = self._clock.instant()
        for chunk in chunks:
            age_s = max(0.0, now.unix_us / 1e6 - chunk.unix_ms / 1e3)
            self._duplicates.recall(chunk.split(), now.monotonic_s - age_s)

    def release(
        self,
        chunks: Sequence[Chunk],
        *,
        is_whole: bool = False,
        closed: Collection[Place] = (),
    ) -> None:
        """Carry on, now that it is known what Kafka has: the keys that were found there.

        A row may also have been found by an earlier start, which had no time to remove it; the
        journal knows. Not so where the whole window was read: then the journal speaks of
        records that are gone.
        """
        assert not self._is_released, "released twice"
        self._is_released = True
        self.recall(chunks)
        found = chunks if is_whole else self._recalled
        self._recalled = []
        self._spooling.permit((chunk.split() for chunk in found), closed)
        self._early.is_kept = False
        self.serve()
        self._schedule()
        self.reading.resume_below_bounds(self._clock.monotonic_s())

    def open(self, places: Collection[Place], chunks: Sequence[Chunk]) -> None:
        """Carry on with partitions that were closed: these keys were found there."""
        self.recall(chunks)
        self._recalled = []
        self._spooling.open(places, (chunk.split() for chunk in chunks))
        self.serve()
        self._schedule()

    def _judge_early(self) -> None:
        """Judge some of what waited, as far as there is room; the rest at a later turn."""
        if self._is_in_judge_early:
            return  # It was called by what it does itself.
        early, judged = self._early, 0
        self._is_in_judge_early = True
        try:
            while judged < self._early_turn and early.is_due and not self._unsettled.is_full:
                received, at = early.pop()
                judged += len(received.packets)
                judged += self._judge(received, at, self._clock.monotonic_s())
        finally:
            self._is_in_judge_early = False
        if judged:
            # Here, since no report follows where all of it is known already.
            now = self._clock.monotonic_s()
            self.reading.resume_below_bounds(now)
            self.reading.pause_at_bounds(now)

    def reconcile(self, found: Container[bytes]) -> None:
        """Go on with a new producer: what was found in Kafka is confirmed, the rest produced."""
        settlement = self._outbox.unseal(found)
        now = self._clock.monotonic_s()
        self._books.counters.records_produced_again += len(self._outbox)
        self._settle(settlement, now)
        self._spooling.resume()
        self.carry(self._outbox.due(now))
        self._judge_early()
        self._schedule()
        self.reading.resume_below_bounds(now)  # All may be found, and no report follows.

    def count_in_flight(self) -> int:
        """Count the QoS 1 messages that are counted as received and not settled."""
        return (
            self._outbox.count_owed_receipts()
            + self._spooling.owed_receipts
            + self._duplicates.count_joined()
        )

    def _fit_dead_letters(self, records: list[Record]) -> None:
        """Cut dead letters to what Kafka's client lets through."""
        for position, record in enumerate(records):
            if record.dead_letter is None:
                continue
            room = self.value_bytes_max - headers_bytes(record.headers)
            if len(record.value) > room:
                records[position] = self.flow.shorten(record, value_bytes_max=room)

    def carry(self, shipments: list[Shipment]) -> None:
        """Hand shipments to the producer; what its queue does not take waits in the outbox."""
        if shipments:
            refused = self._producer.send(shipments)
            if refused:
                self._outbox.put_back(refused)
            self._schedule()

    def carry_held_back(self) -> None:
        """Hand over all that waited for a producer, as far as its queue takes it."""
        self.carry(self._outbox.due(self._clock.monotonic_s(), is_whole=True))

    # ------------------------------------------------------------------ reports in

    def serve(self) -> int:
        """Take the delivery reports that are there; return how many records were confirmed."""
        reports = self._producer.poll()
        now = self._clock.monotonic_s()
        if reports:
            reach("delivery_reported")
            self.last_reported_s = now
            self._settle(self._outbox.settle(reports, now), now)
        self.carry(self._outbox.due(now, is_room_likely=bool(reports)))
        # What waits for another producer is no load: it goes in a moment.
        if self._shedder is not None and not self.reading.is_handover:
            self._shedder.look(now, waiting=self._early.held.records)
        self._spooling.turn(now, is_pressed=self._is_pressed(now))
        self._judge_early()
        self.reading.resume_below_bounds(now)  # What was found in Kafka is not reported.
        return len(reports)

    def _is_pressed(self, now: float) -> bool:
        """Tell whether what is stuck takes the window from what Kafka would take."""
        confirmed_s = self.last_confirmed_s
        if confirmed_s is None or now - confirmed_s > PRESSED_AFTER_S:
            return False
        return 2 * len(self._session.ledger) >= self._session.settings.receive_maximum

    def serve_guarded(self) -> bool:
        """Serve for a caller that must not be ended by a bug of ours; tell whether reports came."""
        try:
            return self.serve() > 0
        except Exception as error:  # noqa: BLE001  asyncio would only log it and poll no more
            self.close()
            self._on_bug(error)
            return False

    def _settle(self, settlement: Settlement, now: float) -> None:
        if settlement.confirmed:
            self._spooling.alive(settlement.alive, settlement.confirmed, now)
            self._accounts.confirm(settlement.confirmed, now)
        if settlement.spooled:
            promised = self._spooling.confirmed(settlement.spooled, now)
            self._accounts.confirm_spooled(settlement.spooled, promised, now)
        if settlement.confirmed or settlement.spooled:
            self.last_confirmed_s = self.last_progress_s = now
            self._acknowledge(now)
        for refusal in settlement.refusals:
            self._refuse(refusal.shipment, refusal.error, now)
        self._narrator.tell(settlement, now)
        self._narrator.tell_reordered(self._outbox.reordered)
        if settlement.fatal is not None:
            self.rebuild(settlement.fatal)

    def _acknowledge(self, now: float) -> None:
        sent = self._session.acknowledge(now=now)
        if sent and self.reading.reader is not None:
            self._books.counters.pubacks_sent += sent
            self.reading.reader.flush()
            reach("puback_flushed")

    def _refuse(self, shipment: Shipment, error: str, now: float) -> None:
        """Make a dead letter of what Kafka will never take; cut a dead letter by half."""
        record = shipment.record
        limit = self.value_bytes_max - DEAD_LETTER_HEADERS_BYTES
        if record.dead_letter is not None:
            limit = min(limit, len(record.value) // 2)
        letter = self.flow.refuse(record, error=error, value_bytes_max=limit)
        if isinstance(letter, Duplicate):
            self._drop_known(shipment, letter, now)
            return
        self._narrator.tell_refused(record, letter, error)
        self.carry(self._spooling.replace(shipment, letter, now))

    def _drop_known(self, shipment: Shipment, known: Duplicate, now: float) -> None:
        """Let a refused shipment go whose letter is in Kafka already, or on its way there.

        What is on its way may be in memory alone, so a row that is acknowledged stays until then.
        """
        receipt = shipment.receipt
        if known.is_under_way and self._spooling.rest(shipment, now):
            return
        self._spooling.drop(shipment, now)
        if receipt is not None and known.is_under_way:
            self._duplicates.join(known.key, receipt)
        elif receipt is not None:
            self._accounts.settle_duplicates([receipt])
        if not known.is_under_way:
            self._accounts.settle_duplicates(self._duplicates.abandon(shipment.record.dedup_key))
        self._acknowledge(now)

    def rebuild(self, error: str, *, cause: str = "fatal") -> None:
        """Replace the producer; nothing is produced until `reconcile` says what Kafka has."""
        now = self._clock.monotonic_s()
        if now - self.rebuilt_s < RETRY_S or self._outbox.is_sealed:
            return  # What failed is tried again in a moment, and fails into the next rebuild.
        self.rebuilt_s = now
        self._outbox.seal()
        self._spooling.forbid()
        error = self._producer.rebuild() or error
        self._narrator.tell_rebuilt(cause, error, len(self._outbox))
        self._on_rebuilt()

    # ------------------------------------------------------------------ the spool

    def on_spooled(self, safe: list[Safe], now: float) -> None:
        """Acknowledge what is on disk."""
        self._accounts.settle_spooled(safe, now)
        self._acknowledge(now)

    def on_found(self, followers: Sequence[Follower], now: float) -> None:
        """Acknowledge what was not produced, because Kafka was found to have it."""
        self._accounts.settle_found(followers)
        self._acknowledge(now)

    def letter_of_row(self, entry: Entry, error: str) -> Record:
        """Make a dead letter of a row that cannot be read."""
        letter = self.flow.salvage(
            entry.record,
            key=entry.key,
            kafka_topic=entry.kafka_topic,
            error=error,
            received=self._clock.instant(),
        )
        self._narrator.tell_unreadable(entry, letter, error)
        return letter

    def on_disk_done(self) -> None:
        """Go on: the disk did its job, or failed at it."""
        now = self._clock.monotonic_s()
        self._spooling.turn(now)
        self._judge_early()
        self._schedule()
        self.reading.resume_below_bounds(now)

    def mark(self) -> int:
        """Tell the number of the record that was handed out last, for `has_settled`."""
        return self._outbox.last_sequence

    def has_settled(self, mark: int) -> bool:
        """Tell whether nothing up to a mark is under way."""
        return self._outbox.is_settled_up_to(mark)

    # ------------------------------------------------------------------ time

    def _schedule(self) -> None:
        is_quiet = self._spooling.machine.is_quiet and not self._early.is_due
        is_owed = len(self._outbox) > 0 or not is_quiet
        if self._poll_timer is None and is_owed and not self._is_closed:
            self._poll_timer = self._clock.call_later(self._polling.pause_s, self._on_poll_timer)

    def _on_poll_timer(self) -> None:
        self._poll_timer = None
        self._polling.asked(
            was_answered=self.serve_guarded(),
            is_puback_urgent=self._session.is_puback_urgent(now=self._clock.monotonic_s()),
        )
        self._schedule()

    # ------------------------------------------------------------------ the end

    def stop_reading(self) -> None:
        """Read nothing more; what was not judged yet is left to the MQTT broker."""
        self.reading.stop()
        self._early.forget()

    async def drain(self, *, timeout_s: float, is_cut_short: asyncio.Event) -> bool:
        """Wait until all is in Kafka or on disk; False when the time is over first."""
        deadline = self._clock.monotonic_s() + timeout_s
        while self._unsettled.records and not is_cut_short.is_set():
            left = deadline - self._clock.monotonic_s()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(min(left, POLL_MAX_S)):
                    await is_cut_short.wait()
            except TimeoutError:
                self.serve_guarded()
        return not self._unsettled.records

    def close(self) -> None:
        """Take no further reports: those of the purge that follows say nothing about Kafka."""
        self._is_closed = True
        if self._poll_timer is not None:
            self._poll_timer.cancel()
            self._poll_timer = None
