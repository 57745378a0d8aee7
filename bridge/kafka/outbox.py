"""What is owed to Kafka, in the order in which it must arrive.

Theory of operation. Each Kafka topic is a lane. An open lane passes shipments on as they come. A
failure closes it: nothing more is produced until every shipment that is still under way has been
reported; then what waits goes out in runs, oldest first, each run after the reports of the last.

    OPEN ------ a report fails ------> GATHERING --- nothing waits, nothing limits ---> OPEN
    OPEN -- librdkafka's queue full --> BLOCKED ---- everything was taken ------------> OPEN
    BLOCKED --- a report fails ------> GATHERING

How long a run is depends on why the lane gathers. A topic that is held (missing, forbidden) gets
one shipment each `RETRY_S`; its success ends the hold. After a refusal for size a run is limited in
bytes, halved while it is refused and doubled while it is taken, because Kafka refuses a whole batch
for one record, or for its own size: only a record that is refused alone is refused for good.
"""

import enum
from collections.abc import Container, Iterable, Sequence
from typing import Final, Protocol, assert_never

import msgspec

from bridge.kafka.delivery import Fate, fate_of
from bridge.kafka.record import Record

RETRY_S: Final = 2.0
"""How often a held lane is tried; Kafka's own clients refresh metadata at about this pace."""
AGAIN_MAX: Final = 3
"""A record that fails so often for a passing reason is held like one refused by configuration."""
BLOCKED_RUN: Final = 500
"""How many shipments a blocked lane offers to librdkafka's full queue at a time."""
LIMITED_RUN_BYTES_MAX: Final = 262_144
"""Where a limited run begins: a quarter of librdkafka's largest batch."""
USUAL_HEADERS: Final = 2
OBJECTS_BYTES: Final = 600
"""What the objects around one unsettled message weigh beside its bytes (measured: 560 to 640)."""


class Settleable(Protocol):
    """The receipt of the PUBLISH behind a record; the outbox carries it and never looks."""

    settled: bool


class Shipment(msgspec.Struct, eq=False, gc=False):
    """One record on its way to Kafka."""

    sequence: int
    record: Record
    receipt: Settleable | None
    memory_bytes: int
    failures: int = 0
    """How often it failed for a passing reason."""
    is_refused_locally: bool = False
    """librdkafka refused the record itself, not a batch that it travelled in."""
    is_overtaken: bool = False
    """A newer record of the same key was confirmed before this one; counted once."""


class LaneState(enum.Enum):
    """Whether shipments pass; the module tells what leads where."""

    OPEN = enum.auto()
    BLOCKED = enum.auto()
    GATHERING = enum.auto()


class Lane(msgspec.Struct, eq=False):
    """One Kafka topic: what is under way and what waits, oldest first."""

    kafka_topic: str
    state: LaneState = LaneState.OPEN
    in_flight: int = 0
    waiting: list[Shipment] = []
    is_sorted: bool = True
    run: int = 0
    """Shipments of the run under way while gathering; 0 for what was under way before."""
    is_run_clean: bool = True
    held_error: str | None = None
    retry_at: float = 0.0
    run_bytes_max: int | None = None
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
    """Records that Kafka will never take."""
    limited: list[tuple[str, str, int]] = []
    """Kafka topics whose runs were limited, with the error and the new limit in bytes."""
    held: list[tuple[str, str]] = []
    """Kafka topics newly held, each with the error."""
    recovered: list[str] = []
    """Kafka topics that were held and take records again."""
    again: int = 0
    fatal: str | None = None


class Outbox:
    """All unsettled records, bounded by the runtime, which stops reading when `is_full`.

    Invariant: for one key of one topic, shipments are handed out in the order they were added,
    except after a failure that newer ones had already passed; those are counted in `reordered`.
    """

    def __init__(self, *, records_max: int, bytes_max: int) -> None:
        self.records_max = records_max
        self.bytes_max = bytes_max
        self._lanes: dict[str, Lane] = {}
        self._unsettled: dict[int, Shipment] = {}
        self._sequence = 0
        self._is_sealed = False
        self.bytes = 0
        self.reordered = 0
        """Records handed out again after a newer one of their key was confirmed; only grows."""

    def __len__(self) -> int:
        """Count the records that Kafka has not confirmed."""
        return len(self._unsettled)

    # ------------------------------------------------------------------ what is asked

    @property
    def is_full(self) -> bool:
        """True when a bound is reached: stop reading."""
        return len(self._unsettled) >= self.records_max or self.bytes >= self.bytes_max

    @property
    def is_full_of_bytes(self) -> bool:
        """True when it is the size of the records that reached its bound."""
        return self.bytes >= self.bytes_max

    @property
    def has_room(self) -> bool:
        """True when a fifth of both bounds is free again: read on."""
        return self.used_ratio <= 0.8  # noqa: PLR2004  named by the sentence above

    @property
    def used_ratio(self) -> float:
        """Tell how much of the bounds is used, the larger of the two; 1.0 stops reading."""
        return max(len(self._unsettled) / self.records_max, self.bytes / self.bytes_max)

    @property
    def is_blocked(self) -> bool:
        """True while librdkafka's own queue is full."""
        return any(lane.state is LaneState.BLOCKED for lane in self._lanes.values())

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

    # ------------------------------------------------------------------ records out

    def add(
        self, records: Sequence[Record], receipts: Sequence[Settleable | None]
    ) -> list[Shipment]:
        """Take a batch over; return what is to be produced now, in order."""
        due: list[Shipment] = []
        sequence = self._sequence
        lanes = self._lanes
        unsettled = self._unsettled
        total_bytes = 0
        for record, receipt in zip(records, receipts, strict=True):
            sequence += 1
            memory_bytes = len(record.origin.payload) + len(record.value) + OBJECTS_BYTES
            if len(record.headers) > USUAL_HEADERS:
                memory_bytes += sum(len(value) for _, value in record.headers)
            shipment = Shipment(sequence, record, receipt, memory_bytes)
            unsettled[sequence] = shipment
            total_bytes += memory_bytes
            lane = lanes.get(record.kafka_topic)
            if lane is None:
                lane = lanes[record.kafka_topic] = Lane(record.kafka_topic)
                if self._is_sealed:
                    lane.state = LaneState.GATHERING
            if lane.state is LaneState.OPEN:
                lane.in_flight += 1
                due.append(shipment)
            else:
                lane.waiting.append(shipment)
        self._sequence = sequence
        self.bytes += total_bytes
        return due

    def replace(self, shipment: Shipment, record: Record) -> list[Shipment]:
        """Send `record` (a dead letter) in the place of one that Kafka refused."""
        del self._unsettled[shipment.sequence]
        self.bytes -= shipment.memory_bytes
        return self.add([record], [shipment.receipt])

    def put_back(self, shipments: Iterable[Shipment]) -> None:
        """Take back what librdkafka's full queue did not accept; a later `due` hands it out."""
        for shipment in shipments:
            lane = self._lanes[shipment.record.kafka_topic]
            lane.in_flight -= 1
            if lane.state is LaneState.OPEN:
                lane.state = LaneState.BLOCKED
            lane.waiting.append(shipment)
            lane.is_sorted = False

    def due(self, now: float, *, is_room_likely: bool = True) -> list[Shipment]:
        """Return what closed lanes may produce by `now`.

        `is_room_likely` says that reports came since the last call: without them a full local
        queue is still full, and asking it again would only burn CPU.
        """
        due: list[Shipment] = []
        if self._is_sealed:
            return due
        for lane in self._lanes.values():
            if not lane.waiting:
                continue
            if not lane.is_sorted:
                lane.waiting.sort(key=_by_sequence)
                lane.is_sorted = True
            if lane.state is LaneState.BLOCKED:
                if is_room_likely:
                    due += self._hand_out(lane, min(BLOCKED_RUN, len(lane.waiting)))
            elif not lane.in_flight and now >= lane.retry_at:
                lane.run = _run_of(lane)
                lane.is_run_clean = True
                due += self._hand_out(lane, lane.run)
        return due

    def _hand_out(self, lane: Lane, run: int) -> list[Shipment]:
        due, lane.waiting = lane.waiting[:run], lane.waiting[run:]
        lane.in_flight += run
        for shipment in due if lane.passed else ():
            is_overtaken = lane.passed.get(shipment.record.key, 0) > shipment.sequence
            if is_overtaken and not shipment.is_overtaken:
                shipment.is_overtaken = True
                self.reordered += 1
        if lane.held_error is None and lane.run_bytes_max is None:
            _open_if_done(lane)
        return due

    # ------------------------------------------------------------------ reports in

    def settle(self, reports: Sequence[tuple[Shipment, str | None]], now: float) -> Settlement:
        """Take the delivery reports of one poll: (shipment, librdkafka's error name or None)."""
        confirmed: list[Shipment] = []
        settlement = Settlement(confirmed)
        failures: list[Refusal] = []
        closed: dict[str, Lane] = {}
        lanes = self._lanes
        unsettled = self._unsettled
        confirmed_bytes = 0
        for shipment, error in reports:
            lane = lanes[shipment.record.kafka_topic]
            lane.in_flight -= 1
            if error is not None:
                failures.append(Refusal(shipment, error))
                continue
            confirmed.append(shipment)
            del unsettled[shipment.sequence]
            confirmed_bytes += shipment.memory_bytes
            if lane.state is not LaneState.OPEN:
                closed[lane.kafka_topic] = lane
                _note_passed(lane, shipment)
        self.bytes -= confirmed_bytes
        if failures:
            closed |= self._fail(failures, confirmed, settlement, now)
        for lane in closed.values():
            _advance(lane, settlement)
        return settlement

    def _fail(
        self,
        failures: list[Refusal],
        confirmed: list[Shipment],
        settlement: Settlement,
        now: float,
    ) -> dict[str, Lane]:
        """Close the lanes of what failed, and keep it for another try; return those lanes."""
        failed = {each.shipment.record.kafka_topic: each for each in failures}
        lanes = {kafka_topic: self._lanes[kafka_topic] for kafka_topic in failed}
        for shipment in confirmed:
            if shipment.record.kafka_topic in lanes:
                _note_passed(lanes[shipment.record.kafka_topic], shipment)
        for failure in failures:
            shipment = failure.shipment
            lane = lanes[shipment.record.kafka_topic]
            fate = _fate_of(shipment, failure.error)
            is_alone = shipment.is_refused_locally or lane.run == 1
            if fate is Fate.REFUSED and is_alone:
                settlement.refusals.append(failure)
                continue
            if fate is Fate.REFUSED:
                _limit(lane, failure.error, settlement)
            else:
                _note_failure(failure, fate, lane, settlement, now)
            if lane.state is not LaneState.GATHERING:
                lane.state = LaneState.GATHERING
                lane.run = 0
            lane.is_run_clean = False
            lane.waiting.append(shipment)
            lane.is_sorted = False
        return lanes

    def seal(self) -> None:
        """Take everything under way back and hand nothing out until `unseal`.

        For a new producer: reports of the old one are void, and what it sent may be in Kafka.
        """
        self._is_sealed = True
        for lane in self._lanes.values():
            lane.waiting = []
            lane.in_flight = 0
            lane.run = 0
            lane.retry_at = 0.0
            lane.state = LaneState.GATHERING
        for shipment in self._unsettled.values():
            self._lanes[shipment.record.kafka_topic].waiting.append(shipment)

    @property
    def is_sealed(self) -> bool:
        """True while nothing is handed out."""
        return self._is_sealed

    @property
    def oldest_received_us(self) -> int | None:
        """Tell when, on the wall clock, the oldest unsettled record was received."""
        return min(
            (each.record.received.unix_us for each in self._unsettled.values()), default=None
        )

    def unseal(self, found: Container[bytes]) -> list[Shipment]:
        """Hand out again, but for the keys `found` in Kafka; those are returned as confirmed."""
        self._is_sealed = False
        confirmed: list[Shipment] = []
        for lane in self._lanes.values():
            waiting, lane.waiting = lane.waiting, []
            for shipment in waiting:
                key = shipment.record.dedup_key
                if key and key in found:
                    confirmed.append(shipment)
                    del self._unsettled[shipment.sequence]
                    self.bytes -= shipment.memory_bytes
                else:
                    lane.waiting.append(shipment)
            if lane.held_error is None and lane.run_bytes_max is None:
                _open_if_done(lane)
        return confirmed


def _run_of(lane: Lane) -> int:
    """Tell how many of what waits may go out together; at least one."""
    if lane.held_error is not None:
        return 1
    if lane.run_bytes_max is None:
        return len(lane.waiting)
    room = lane.run_bytes_max
    for position, shipment in enumerate(lane.waiting):
        record = shipment.record
        room -= len(record.value) + len(record.key) + 64 * len(record.headers)
        if room < 0:
            return max(1, position)
    return len(lane.waiting)


def _advance(lane: Lane, settlement: Settlement) -> None:
    """Draw the conclusion from a run that is reported whole."""
    if lane.in_flight or lane.state is not LaneState.GATHERING:
        return
    if lane.run and lane.is_run_clean:
        if lane.held_error is not None:
            lane.held_error = None
            lane.retry_at = 0.0
            settlement.recovered.append(lane.kafka_topic)
        elif lane.run_bytes_max is not None:
            doubled = 2 * lane.run_bytes_max
            lane.run_bytes_max = doubled if doubled <= LIMITED_RUN_BYTES_MAX else None
    lane.run = 0
    if lane.held_error is None and lane.run_bytes_max is None:
        _open_if_done(lane)


def _open_if_done(lane: Lane) -> None:
    if not lane.waiting:
        lane.state = LaneState.OPEN
        lane.run = 0  # What passes an open lane shares its batches: none of it travels alone.
        lane.passed = {}


def _limit(lane: Lane, error: str, settlement: Settlement) -> None:
    """Shorten the runs of a lane, once for each run that was refused."""
    if lane.run_bytes_max is None:
        lane.run_bytes_max = LIMITED_RUN_BYTES_MAX
    elif lane.run and lane.is_run_clean:
        lane.run_bytes_max = max(1, lane.run_bytes_max // 2)
    else:
        return
    settlement.limited.append((lane.kafka_topic, error, lane.run_bytes_max))


def _note_failure(
    failure: Refusal, fate: Fate, lane: Lane, settlement: Settlement, now: float
) -> None:
    match fate:
        case Fate.FATAL:
            settlement.fatal = settlement.fatal or failure.error
            lane.retry_at = now + RETRY_S
        case Fate.HELD:
            if lane.held_error is None:
                settlement.held.append((lane.kafka_topic, failure.error))
            lane.held_error = failure.error
            lane.retry_at = now + RETRY_S
        case Fate.AGAIN:
            failure.shipment.failures += 1
            settlement.again += 1
        case Fate.DELIVERED | Fate.REFUSED:
            raise AssertionError(f"{fate} is no failure to be tried again")
        case _:
            assert_never(fate)


def _fate_of(shipment: Shipment, error: str) -> Fate:
    fate = fate_of(error)
    record = shipment.record
    if fate is Fate.REFUSED and record.dead_letter is not None and not record.value:
        return Fate.HELD  # Nothing is left to cut: only a change of the topic can help.
    if fate is Fate.AGAIN and shipment.failures >= AGAIN_MAX:
        return Fate.HELD
    return fate


def _note_passed(lane: Lane, shipment: Shipment) -> None:
    key = shipment.record.key
    lane.passed[key] = max(shipment.sequence, lane.passed.get(key, 0))


def _by_sequence(shipment: Shipment) -> int:
    return shipment.sequence
