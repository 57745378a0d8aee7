"""The way of the messages at run time: packets in, records out, reports in, PUBACKs out.

Everything here runs once for a batch: a socket read, or a poll of the producer. Per message there
is only what the pure rooms do, one `produce`, and one turn of the loop in `_count`.
"""

import asyncio
from collections.abc import Callable, Container, Iterable
from typing import Final, Protocol, cast

import msgspec

from bridge.fleet.duplicates import Duplicates
from bridge.kafka.delivery import remedy_for
from bridge.kafka.outbox import RETRY_S, Outbox, Settleable, Settlement, Shipment
from bridge.kafka.properties import headers_bytes
from bridge.kafka.record import Record
from bridge.mqtt.ack_ledger import Receipt
from bridge.mqtt.events import Received
from bridge.mqtt.session import Session
from bridge.observe.counters import ActiveDevices, Counters, LatencyHistogram, Outcome, Status
from bridge.observe.log import EventLog
from bridge.pipeline.flow import Flow
from bridge.pipeline.verdict import Duplicate, Reason
from bridge.runtime import clock
from bridge.runtime.kafka_producer import KafkaProducer
from bridge.runtime.kafka_tail import Chunk

POLL_MIN_S: Final = 0.001
POLL_MAX_S: Final = 0.020
"""How often reports are asked for while something is owed; slower while Kafka says nothing."""
DEAD_LETTER_HEADERS_BYTES: Final = 32_768
"""Room left for the headers of a dead letter that is yet to be written; each of them is cut."""

_FAILED: Final = frozenset({str(Reason.KAFKA_REFUSED), str(Reason.INTERNAL_ERROR)})


class Reader(Protocol):
    """Where PUBLISHes come from, and PUBACKs go to."""

    def pause_reading(self) -> None:
        """Read nothing more."""

    def resume_reading(self) -> None:
        """Read on."""

    def flush(self) -> None:
        """Write what the session has put into its buffer."""


class Books(msgspec.Struct, frozen=True):
    """Where the runtime writes down what happened."""

    counters: Counters
    latency: LatencyHistogram
    active: ActiveDevices
    log: EventLog


class Early(msgspec.Struct):
    """PUBLISHes that wait, unjudged and not yet counted as received."""

    batches: list[Received] = []
    bytes: int = 0

    def take(self, received: Received) -> None:
        """Keep one batch."""
        self.batches.append(received)
        self.bytes += sum(len(each.payload) for each in received.packets)


class Traffic:
    """Carry batches both ways, and stop reading at the bounds.

    Invariant: a receipt is settled only for a shipment in `Settlement.confirmed`, so a PUBACK never
    leaves before Kafka has the record.
    """

    def __init__(  # noqa: PLR0913  the parts that it joins
        self,
        *,
        flow: Flow,
        duplicates: Duplicates,
        session: Session,
        outbox: Outbox,
        producer: KafkaProducer,
        value_bytes_max: int,
        books: Books,
        on_bug: Callable[[Exception], None],
        on_rebuilt: Callable[[], None],
    ) -> None:
        self.reader: Reader | None = None
        self.last_confirmed_s: float | None = None
        """When Kafka last confirmed anything, on the monotonic clock."""
        self.last_progress_s = clock.monotonic_s()
        self._flow = flow
        self._duplicates = duplicates
        self._session = session
        self._outbox = outbox
        self._producer = producer
        self._value_bytes_max = value_bytes_max
        self._books = books
        self._on_bug = on_bug
        self._on_rebuilt = on_rebuilt
        self._loop = asyncio.get_running_loop()
        self._poll_timer: asyncio.TimerHandle | None = None
        self._poll_s = POLL_MIN_S
        self._paused_since: tuple[str, float] | None = None
        self._is_stopping = False
        self._early: Early | None = Early()
        """What came before it was known what Kafka has; None from then on."""
        self._is_closed = False
        self._held_since: dict[str, float] = {}
        self.rebuilt_s = -RETRY_S

    # ------------------------------------------------------------------ packets in

    def take(self, received: Received) -> None:
        """Carry the PUBLISHes of one socket read to Kafka."""
        counters = self._books.counters
        now = clock.instant()
        receipts = received.receipts
        if self._early is not None:
            self._early.take(received)
            self._pause_at_bounds(now.monotonic_s)
            return
        best_effort = receipts.count(None)
        counters.received += len(receipts) - best_effort
        if best_effort:
            counters.received_qos0 += best_effort
            first = received.packets[receipts.index(None)]
            self._books.log.emit("mqtt_qos0_received", mqtt_topic=first.topic)
        outcomes = self._flow.process(received.packets, now)
        records, receipts = self._set_duplicates_apart(outcomes, receipts)
        self._note_dead_letters(records)
        self._books.active.note(
            {each.key for each in records if each.dead_letter is None}, now.monotonic_s
        )
        if not len(self._outbox):
            self.last_progress_s = now.monotonic_s
        self._send(self._outbox.add(records, receipts))
        self.serve()
        self._acknowledge(now.monotonic_s)
        self._schedule()
        self._pause_at_bounds(now.monotonic_s)

    @property
    def is_released(self) -> bool:
        """False until it is known what Kafka already has."""
        return self._early is None

    def release(self, chunks: Iterable[Chunk]) -> None:
        """Judge and carry what came so far, now that the duplicates window is filled."""
        assert self._early is not None, "released twice"
        now = clock.instant()
        for chunk in chunks:
            age_s = max(0.0, now.unix_us / 1e6 - chunk.unix_ms / 1e3)
            self._duplicates.recall(chunk.split(), now.monotonic_s - age_s)
        early, self._early = self._early, None
        for received in early.batches:
            self.take(received)
        self._resume_below_bounds(now.monotonic_s)

    def reconcile(self, found: Container[bytes]) -> None:
        """Go on with a new producer: what was found in Kafka is confirmed, the rest produced."""
        confirmed = self._outbox.unseal(found)
        now = clock.monotonic_s()
        self._books.counters.records_produced_again += len(self._outbox)
        self._settle(Settlement(confirmed), now)
        self._send(self._outbox.due(now))
        self._schedule()

    def count_in_flight(self) -> int:
        """Count the QoS 1 messages that are counted as received and not settled."""
        return self._outbox.count_owed_receipts() + self._duplicates.count_joined()

    def _set_duplicates_apart(
        self, outcomes: list[Record | Duplicate], receipts: list[Receipt | None]
    ) -> tuple[list[Record], list[Receipt | None]]:
        """Settle what is known already, or let it wait with what is under way; keep the rest."""
        if Duplicate not in set(map(type, outcomes)):
            return cast("list[Record]", outcomes), receipts
        records: list[Record] = []
        kept: list[Receipt | None] = []
        for outcome, receipt in zip(outcomes, receipts, strict=True):
            if isinstance(outcome, Record):
                records.append(outcome)
                kept.append(receipt)
            elif receipt is None:
                self._books.counters.messages[Status.DUPLICATE] += 1
            elif outcome.is_under_way:
                self._duplicates.join(outcome.key, receipt)
            else:
                self._settle_duplicates([receipt])
        return records, kept

    def _settle_duplicates(self, receipts: Iterable[Settleable]) -> None:
        counters = self._books.counters
        settle = self._session.ledger.settle
        for receipt in receipts:
            settle(receipt)  # type: ignore[arg-type]  # made by a ledger of this session
            counters.messages[Status.DUPLICATE] += 1
            counters.settled[Outcome.DUPLICATE] += 1

    def _note_dead_letters(self, records: list[Record]) -> None:
        for position, record in enumerate(records):
            letter = record.dead_letter
            if letter is None:
                continue
            room = self._value_bytes_max - headers_bytes(record.headers)
            if len(record.value) > room:
                records[position] = self._flow.refuse(
                    record, error="too large for Kafka", value_bytes_max=room
                )
            self._books.log.emit(
                "message_dead_lettered",
                dlq_id=letter.dlq_id,
                reason=letter.reason,
                layer=letter.layer,
                detail=letter.detail,
                device_id=letter.device_id,
                mqtt_topic=letter.mqtt_topic,
                kafka_topic=record.kafka_topic,
            )

    def _send(self, shipments: list[Shipment]) -> None:
        if shipments:
            refused = self._producer.send(shipments)
            if refused:
                self._outbox.put_back(refused)
            self._schedule()

    # ------------------------------------------------------------------ reports in

    def serve(self) -> int:
        """Take the delivery reports that are there; return how many records were confirmed."""
        reports = self._producer.poll()
        now = clock.monotonic_s()
        if reports:
            self._settle(self._outbox.settle(reports, now), now)
        self._send(self._outbox.due(now, is_room_likely=bool(reports)))
        if reports:
            self._resume_below_bounds(now)
        return len(reports)

    def _serve_guarded(self) -> bool:
        """Serve for a caller that must not be ended by a bug of ours; tell whether reports came."""
        try:
            return self.serve() > 0
        except Exception as error:  # noqa: BLE001  asyncio would only log it and poll no more
            self.close()
            self._on_bug(error)
            return False

    def _settle(self, settlement: Settlement, now: float) -> None:
        confirmed = settlement.confirmed
        if confirmed:
            self._count(confirmed, now)
            self.last_confirmed_s = self.last_progress_s = now
            self._acknowledge(now)
        for refusal in settlement.refusals:
            self._refuse(refusal.shipment, refusal.error)
        self._report(settlement, now)
        if settlement.fatal is not None:
            self.rebuild(settlement.fatal)

    def _acknowledge(self, now: float) -> None:
        sent = self._session.acknowledge(now=now)
        if sent and self.reader is not None:
            self._books.counters.pubacks_sent += sent
            self.reader.flush()

    def _count(self, confirmed: list[Shipment], now: float) -> None:
        """Settle the receipts and count where each message ended."""
        counters = self._books.counters
        settle = self._session.ledger.settle
        read_at = confirmed[0].record.received
        telemetry = flagged = produced = since_read = 0
        for shipment in confirmed:
            record = shipment.record
            if record.received is not read_at:
                self._books.latency.observe_many(read_at.monotonic_s, now, since_read)
                read_at = record.received
                since_read = 0
            since_read += 1
            receipt = shipment.receipt
            if receipt is not None:
                settle(receipt)  # type: ignore[arg-type]  # made by a ledger of this session
            if record.dead_letter is None:
                telemetry += 1
                flagged += record.is_flagged
                produced += receipt is not None
            else:
                self._count_dead_letter(record.dead_letter.reason, is_promised=receipt is not None)
        self._books.latency.observe_many(read_at.monotonic_s, now, since_read)
        self._settle_duplicates(
            self._duplicates.confirm([each.record.dedup_key for each in confirmed])
        )
        counters.messages[Status.ACCEPTED] += telemetry - flagged
        counters.messages[Status.FLAGGED] += flagged
        counters.settled[Outcome.PRODUCED] += produced

    def _count_dead_letter(self, reason: str, *, is_promised: bool) -> None:
        counters = self._books.counters
        counters.dead_letters[reason] += 1
        counters.messages[Status.FAILED if reason in _FAILED else Status.REJECTED] += 1
        if is_promised:
            counters.settled[Outcome.DEAD_LETTERED] += 1

    def _refuse(self, shipment: Shipment, error: str) -> None:
        """Make a dead letter of what Kafka will never take; cut a dead letter by half."""
        record = shipment.record
        limit = self._value_bytes_max - DEAD_LETTER_HEADERS_BYTES
        if record.dead_letter is not None:
            limit = min(limit, len(record.value) // 2)
        letter = self._flow.refuse(record, error=error, value_bytes_max=limit)
        assert letter.dead_letter is not None, "a refused record became telemetry"
        self._books.log.emit(
            "kafka_record_refused",
            kafka_topic=record.kafka_topic,
            error=error,
            device_id=letter.dead_letter.device_id,
            dlq_id=letter.dead_letter.dlq_id,
            value_bytes=len(record.value),
        )
        self._send(self._outbox.replace(shipment, letter))

    def _report(self, settlement: Settlement, now: float) -> None:
        counters, log = self._books.counters, self._books.log
        for kafka_topic, error in settlement.held:
            self._held_since.setdefault(kafka_topic, now)
            log.emit(
                "kafka_topic_held",
                kafka_topic=kafka_topic,
                error=error,
                remedy=remedy_for(error),
            )
        for kafka_topic in settlement.recovered:
            since = self._held_since.pop(kafka_topic, now)
            log.emit("kafka_topic_recovered", kafka_topic=kafka_topic, held_s=round(now - since, 1))
        for kafka_topic, error, run_bytes_max in settlement.limited:
            log.emit(
                "kafka_batch_refused",
                kafka_topic=kafka_topic,
                error=error,
                run_bytes_max=run_bytes_max,
            )
        if settlement.again:
            counters.records_produced_again += settlement.again
            log.emit("kafka_record_produced_again", count=settlement.again)
        reordered = self._outbox.reordered - counters.records_reordered
        if reordered:
            counters.records_reordered = self._outbox.reordered
            log.emit("kafka_record_reordered", count=reordered)

    def rebuild(self, error: str, *, cause: str = "fatal") -> None:
        """Replace the producer; nothing is produced until `reconcile` says what Kafka has."""
        now = clock.monotonic_s()
        if now - self.rebuilt_s < RETRY_S or self._outbox.is_sealed:
            return  # What failed is tried again in a moment, and fails into the next rebuild.
        self.rebuilt_s = now
        self._outbox.seal()
        error = self._producer.rebuild() or error
        self._books.counters.producer_rebuilds += 1
        self._books.log.emit(
            "kafka_producer_rebuilt",
            cause=cause,
            error=error,
            remedy=remedy_for(error),
            unsettled=len(self._outbox),
            rebuilds=self._books.counters.producer_rebuilds,
        )
        self._on_rebuilt()

    # ------------------------------------------------------------------ time

    def _schedule(self) -> None:
        if self._poll_timer is None and len(self._outbox) and not self._is_closed:
            self._poll_timer = self._loop.call_later(self._poll_s, self._on_poll_timer)

    def _on_poll_timer(self) -> None:
        self._poll_timer = None
        is_news = self._serve_guarded()
        self._poll_s = POLL_MIN_S if is_news else min(self._poll_s * 1.25, POLL_MAX_S)
        self._schedule()

    # ------------------------------------------------------------------ bounds

    def _bound_reached(self) -> str | None:
        """Name the bound that asks for a pause; the ledger has the same one as the records."""
        if self._outbox.is_blocked:
            return "kafka_queue_full"
        early_bytes = 0 if self._early is None else self._early.bytes
        if self._outbox.is_full_of_bytes or early_bytes >= self._outbox.bytes_max:
            return "unsettled_bytes_max"
        if self._outbox.is_full or len(self._session.ledger) >= self._outbox.records_max:
            return "unsettled_max"
        return None

    def _pause_at_bounds(self, now: float) -> None:
        if self._paused_since is not None or self.reader is None:
            return
        cause = self._bound_reached()
        if cause is None:
            return
        self._paused_since = (cause, now)
        self.reader.pause_reading()
        self._books.log.emit(
            "reading_paused",
            cause=cause,
            unsettled=len(self._outbox),
            unsettled_bytes=self._outbox.bytes,
        )

    def _resume_below_bounds(self, now: float) -> None:
        if self._paused_since is None or self.reader is None or self._is_stopping:
            return
        has_room = (
            self._early is None
            and not self._outbox.is_blocked
            and self._outbox.has_room
            and len(self._session.ledger) <= self._outbox.records_max * 4 // 5
        )
        if not has_room:
            return
        cause, since = self._paused_since
        self._paused_since = None
        self.reader.resume_reading()
        self._books.log.emit("reading_resumed", cause=cause, paused_s=round(now - since, 3))

    def on_connected(self) -> None:
        """Keep a new connection paused while the bounds are still reached."""
        if self._paused_since is not None and self.reader is not None:
            self.reader.pause_reading()

    def stop_reading(self) -> None:
        """Read nothing more, for good: the first step of a stop."""
        self._is_stopping = True
        if self.reader is not None:
            self.reader.pause_reading()

    def close(self) -> None:
        """Take no further reports: those of the purge that follows say nothing about Kafka."""
        self._is_closed = True
        if self._poll_timer is not None:
            self._poll_timer.cancel()
            self._poll_timer = None

    async def drain(self, *, timeout_s: float, is_cut_short: asyncio.Event) -> bool:
        """Wait until Kafka has confirmed everything; False when the time is over first."""
        deadline = clock.monotonic_s() + timeout_s
        while len(self._outbox) and not is_cut_short.is_set():
            left = deadline - clock.monotonic_s()
            if left <= 0:
                break
            try:
                async with asyncio.timeout(min(left, POLL_MAX_S)):
                    await is_cut_short.wait()
            except TimeoutError:
                self._serve_guarded()
        return not len(self._outbox)
