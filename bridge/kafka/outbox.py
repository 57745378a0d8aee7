"""What is owed to Kafka, in the order in which it must arrive.

Theory of operation. Each Kafka topic is a lane. An open lane passes shipments on as they come. A
failure closes the lane: nothing more is produced to it until every shipment that is still under
way has been reported, so that what failed can be produced again before anything newer.

    OPEN --failure--> gathering --all reported, retry due--> probing --confirmed--> OPEN
                          ^------------ failure ----------------'

`HELD` errors (topic missing, not authorized) send one shipment as a probe each `RETRY_S`; its
success opens the lane. A shipment refused for its size is first tried alone, because Kafka refuses
the whole batch that it travelled in. A full local queue blocks the lane until any report comes.
"""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from bridge.kafka.delivery import Fate, fate_of
from bridge.kafka.record import Record

RETRY_S: Final = 2.0
"""How often a held lane is tried; Kafka's own clients refresh metadata at about this pace."""
BLOCKED_RUN: Final = 500
"""How many shipments a blocked lane offers to librdkafka's full queue at a time."""
AGAIN_MAX: Final = 3
"""A record that fails so often for a passing reason is held like one refused by configuration."""


class Settleable(Protocol):
    """The receipt of the PUBLISH behind a record; the outbox carries it and never looks."""

    settled: bool


class Shipment(msgspec.Struct, eq=False):
    """One record on its way to Kafka."""

    sequence: int
    record: Record
    receipt: Settleable | None
    held_bytes: int
    is_alone: bool = False
    """To be produced with nothing else under way on its lane."""
    failures: int = 0
    is_overtaken: bool = False
    """A newer record of the same key was confirmed before this one; counted once."""


class Lane(msgspec.Struct, eq=False):
    """One Kafka topic: what is under way and what waits, oldest first."""

    kafka_topic: str
    in_flight: int = 0
    is_open: bool = True
    is_blocked: bool = False
    """Closed only because librdkafka's own queue is full."""
    is_probing: bool = False
    """The one shipment under way tells whether the topic takes records again."""
    waiting: list[Shipment] = []
    is_sorted: bool = True
    held_error: str | None = None
    retry_at: float = 0.0
    passed: dict[bytes, int] = {}
    """Newest sequence confirmed for a key since the lane closed; older failures are reordered."""


class Refusal(msgspec.Struct, frozen=True):
    """A shipment that Kafka did not take, and librdkafka's name of the error."""

    shipment: Shipment
    error: str


class Settlement(msgspec.Struct):
    """What a batch of delivery reports came to."""

    confirmed: list[Shipment]
    refusals: list[Refusal] = []
    held: list[tuple[str, str]] = []
    """Kafka topics newly held, each with the error."""
    recovered: list[str] = []
    """Kafka topics that were held and take records again."""
    again: int = 0
    fatal: str | None = None


class Outbox:
    """All unsettled records, bounded by the runtime, which stops reading when `is_full`.

    Invariant: for one key of one topic, shipments are handed out in the order they were added,
    except after a failure that newer ones had already passed; those are counted.
    """

    def __init__(self, *, records_max: int, bytes_max: int) -> None:
        self.records_max = records_max
        self._bytes_max = bytes_max
        self._lanes: dict[str, Lane] = {}
        self._unsettled: dict[int, Shipment] = {}
        self._sequence = 0
        self.bytes = 0
        self.reordered = 0
        """Records handed out again after a newer one of their key was confirmed; only grows."""

    def __len__(self) -> int:
        """Count the records that Kafka has not confirmed."""
        return len(self._unsettled)

    @property
    def is_full(self) -> bool:
        """True when a bound is reached: stop reading."""
        return len(self._unsettled) >= self.records_max or self.bytes >= self._bytes_max

    @property
    def is_full_of_records(self) -> bool:
        """True when it is the number of records that reached its bound, not their size."""
        return len(self._unsettled) >= self.records_max

    @property
    def has_room(self) -> bool:
        """True when a fifth of both bounds is free again: read on."""
        return (
            len(self._unsettled) <= self.records_max * 4 // 5
            and self.bytes <= self._bytes_max * 4 // 5
        )

    @property
    def used_ratio(self) -> float:
        """Tell how much of the bounds is used, the larger of the two; 1.0 stops reading."""
        return max(len(self._unsettled) / self.records_max, self.bytes / self._bytes_max)

    @property
    def is_blocked(self) -> bool:
        """True while librdkafka's own queue is full."""
        return any(lane.is_blocked for lane in self._lanes.values())

    @property
    def held_topics(self) -> dict[str, str]:
        """Map each held Kafka topic to the error that holds it."""
        return {
            lane.kafka_topic: lane.held_error
            for lane in self._lanes.values()
            if lane.held_error is not None
        }

    @property
    def oldest_received_s(self) -> float | None:
        """Tell when, on the monotonic clock, the oldest unsettled record was received."""
        for shipment in self._unsettled.values():
            return shipment.record.received.monotonic_s
        return None

    def count_owed_receipts(self) -> int:
        """Count the unsettled records that owe a PUBACK (QoS 1)."""
        return sum(each.receipt is not None for each in self._unsettled.values())

    def add(
        self, records: Sequence[Record], receipts: Sequence[Settleable | None]
    ) -> list[Shipment]:
        """Take a batch over; return what is to be produced now, in order."""
        due: list[Shipment] = []
        sequence = self._sequence
        lanes = self._lanes
        unsettled = self._unsettled
        for record, receipt in zip(records, receipts, strict=True):
            sequence += 1
            held_bytes = len(record.origin.payload) + len(record.value)
            shipment = Shipment(sequence, record, receipt, held_bytes)
            unsettled[sequence] = shipment
            self.bytes += held_bytes
            lane = lanes.get(record.kafka_topic)
            if lane is None:
                lane = lanes[record.kafka_topic] = Lane(record.kafka_topic)
            if lane.is_open:
                lane.in_flight += 1
                due.append(shipment)
            else:
                lane.waiting.append(shipment)
        self._sequence = sequence
        return due

    def replace(self, shipment: Shipment, record: Record) -> list[Shipment]:
        """Send `record` (a dead letter) in the place of one that Kafka refused."""
        self._forget(shipment)
        return self.add([record], [shipment.receipt])

    def put_back(self, shipments: Sequence[Shipment]) -> None:
        """Take back what librdkafka's full queue did not accept; a later `due` hands it out."""
        for shipment in shipments:
            lane = self._lanes[shipment.record.kafka_topic]
            lane.in_flight -= 1
            if lane.is_open:
                lane.is_open = False
                lane.is_blocked = True
            lane.waiting.append(shipment)
            lane.is_sorted = False

    def due(self, now: float, *, is_room_likely: bool = True) -> list[Shipment]:
        """Return what closed lanes may produce by `now`.

        `is_room_likely` says that reports came since the last call: without them a full local
        queue is still full, and asking it again would only burn CPU.
        """
        due: list[Shipment] = []
        for lane in self._lanes.values():
            if not lane.is_open and lane.waiting and (is_room_likely or not lane.is_blocked):
                due += self._due_of(lane, now)
        return due

    def _due_of(self, lane: Lane, now: float) -> list[Shipment]:
        if not lane.is_sorted:
            lane.waiting.sort(key=_by_sequence)
            lane.is_sorted = True
        waiting = lane.waiting
        if lane.is_blocked:
            run = min(BLOCKED_RUN, len(waiting))
        elif lane.in_flight or now < lane.retry_at:
            return []
        elif lane.held_error is not None or waiting[0].is_alone:
            run = 1
            lane.is_probing = lane.held_error is not None
        else:
            run = next((i for i, each in enumerate(waiting) if each.is_alone), len(waiting))
        due, lane.waiting = waiting[:run], waiting[run:]
        lane.in_flight += run
        if lane.passed:
            self._count_reordered(lane, due)
        if not lane.waiting and lane.held_error is None and not due[0].is_alone:
            lane.is_open = True
            lane.is_blocked = False
            lane.passed = {}
        return due

    def _count_reordered(self, lane: Lane, due: list[Shipment]) -> None:
        for shipment in due:
            is_overtaken = lane.passed.get(shipment.record.key, 0) > shipment.sequence
            if is_overtaken and not shipment.is_overtaken:
                shipment.is_overtaken = True
                self.reordered += 1

    def settle(self, reports: Sequence[tuple[Shipment, str | None]], now: float) -> Settlement:
        """Take the delivery reports of one poll: (shipment, librdkafka's error name or None)."""
        confirmed: list[Shipment] = []
        settlement = Settlement(confirmed)
        failures: list[tuple[Shipment, str]] = []
        lanes = self._lanes
        unsettled = self._unsettled
        held_bytes = 0
        for shipment, error in reports:
            lane = lanes[shipment.record.kafka_topic]
            lane.in_flight -= 1
            if error is not None:
                failures.append((shipment, error))
                continue
            confirmed.append(shipment)
            del unsettled[shipment.sequence]
            held_bytes += shipment.held_bytes
            if not lane.is_open:
                self._confirmed_on_closed(lane, shipment, settlement)
        self.bytes -= held_bytes
        if failures:
            self._fail(failures, confirmed, settlement, now)
        return settlement

    def _confirmed_on_closed(self, lane: Lane, shipment: Shipment, settlement: Settlement) -> None:
        _note_passed(lane, shipment)
        if lane.is_probing:
            self._recover(lane, settlement)
        self._reopen_if_done(lane)

    def _recover(self, lane: Lane, settlement: Settlement) -> None:
        settlement.recovered.append(lane.kafka_topic)
        lane.is_probing = False
        lane.held_error = None
        lane.retry_at = 0.0

    def _reopen_if_done(self, lane: Lane) -> None:
        if not lane.waiting and not lane.in_flight and lane.held_error is None:
            lane.is_open = True
            lane.is_blocked = False
            lane.passed = {}

    def _fail(
        self,
        failures: list[tuple[Shipment, str]],
        confirmed: list[Shipment],
        settlement: Settlement,
        now: float,
    ) -> None:
        """Close the lanes of what failed; what newer records have passed is counted."""
        failed = {shipment.record.kafka_topic for shipment, _ in failures}
        for shipment in confirmed:
            if shipment.record.kafka_topic in failed:
                _note_passed(self._lanes[shipment.record.kafka_topic], shipment)
        for shipment, error in failures:
            lane = self._lanes[shipment.record.kafka_topic]
            fate = self._fate_of(shipment, error)
            if fate is Fate.REFUSED and shipment.is_alone:
                settlement.refusals.append(Refusal(shipment, error))
                if lane.is_probing:
                    self._recover(lane, settlement)  # It answers: the topic itself is not held.
                self._reopen_if_done(lane)
                continue
            self._close(lane, shipment)
            self._note(Refusal(shipment, error), fate, lane, settlement, now)

    def _close(self, lane: Lane, shipment: Shipment) -> None:
        lane.is_open = False
        lane.is_blocked = False
        lane.is_probing = False
        lane.waiting.append(shipment)
        lane.is_sorted = False

    @staticmethod
    def _note(failure: Refusal, fate: Fate, lane: Lane, settlement: Settlement, now: float) -> None:
        shipment, error = failure.shipment, failure.error
        match fate:
            case Fate.REFUSED:
                shipment.is_alone = True
            case Fate.FATAL:
                settlement.fatal = error
                lane.retry_at = now + RETRY_S
            case Fate.HELD:
                if lane.held_error is None:
                    settlement.held.append((lane.kafka_topic, error))
                lane.held_error = error
                lane.retry_at = now + RETRY_S
            case _:
                shipment.failures += 1
                settlement.again += 1

    def _fate_of(self, shipment: Shipment, error: str) -> Fate:
        fate = fate_of(error)
        record = shipment.record
        if fate is Fate.REFUSED and record.dead_letter is not None and not record.value:
            return Fate.HELD  # Nothing is left to cut: only a change of the topic can help.
        if fate is Fate.AGAIN and shipment.failures >= AGAIN_MAX:
            return Fate.HELD
        return fate

    def gather_all(self) -> None:
        """Take everything under way back for a new producer; reports of the old one are void."""
        for lane in self._lanes.values():
            lane.waiting = []
            lane.in_flight = 0
            lane.is_open = False
            lane.is_blocked = False
            lane.is_probing = False
            lane.retry_at = 0.0
        for shipment in self._unsettled.values():
            self._lanes[shipment.record.kafka_topic].waiting.append(shipment)
        for lane in self._lanes.values():
            lane.is_open = not lane.waiting and lane.held_error is None

    def _forget(self, shipment: Shipment) -> None:
        del self._unsettled[shipment.sequence]
        self.bytes -= shipment.held_bytes


def _note_passed(lane: Lane, shipment: Shipment) -> None:
    key = shipment.record.key
    lane.passed[key] = max(shipment.sequence, lane.passed.get(key, 0))


def _by_sequence(shipment: Shipment) -> int:
    return shipment.sequence
