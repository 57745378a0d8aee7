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

A shipment is direct while only the process has it. One that the spool takes over stays where it is
in its lane, with its entry, and is counted no longer once the disk has it.
"""

from collections.abc import Container, Iterable, Sequence
from itertools import repeat
from typing import Final

from bridge.kafka.lane import Failure, Lane, LaneState, Settlement, by_sequence
from bridge.kafka.record import Record
from bridge.kafka.shipment import (
    OBJECTS_BYTES,
    USUAL_HEADERS,
    Settleable,
    Shipment,
    Unsettled,
    memory_bytes_of,
    promised,
)

BLOCKED_RUN: Final = 500
"""How many shipments a blocked lane offers to librdkafka's full queue at a time."""


class Outbox:
    """All records that Kafka has not confirmed, bounded by the runtime through `unsettled`.

    Invariant: for one key of one topic, shipments are handed out in the order they were added,
    except after a failure that newer ones had already passed; those are counted in `reordered`.
    """

    def __init__(self, unsettled: Unsettled) -> None:
        self.unsettled = unsettled
        self._lanes: dict[str, Lane] = {}
        self._count = 0
        self._sequence = 0
        self._is_sealed = False
        self.reordered = 0
        """Records handed out again after a newer one of their key was confirmed; only grows."""

    def __len__(self) -> int:
        """Count the records that Kafka has not confirmed."""
        return self._count

    # ------------------------------------------------------------------ what is asked

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
        """Tell when, on the monotonic clock, the oldest direct record was received."""
        return min(
            (first.record.received.monotonic_s for first in self._first_direct()), default=None
        )

    @property
    def last_sequence(self) -> int:
        """Tell the number of the shipment that was added last."""
        return self._sequence

    def is_settled_up_to(self, sequence: int) -> bool:
        """Tell whether nothing with this number or a lower one is under way."""
        return all(first.sequence > sequence for first in self._first_direct()) and all(
            each > sequence for lane in self._lanes.values() for each in lane.spooled
        )

    def topics_owing_since(self, before_s: float) -> list[str]:
        """List the topics with a direct shipment that was handed over so long ago."""
        return [
            first.record.kafka_topic
            for first in self._first_direct()
            if first.owed_since_s <= before_s
        ]

    def direct(self, kafka_topic: str) -> list[Shipment]:
        """List what of a topic only the process has, in order."""
        lane = self._lanes.get(kafka_topic)
        return [] if lane is None else list(lane.direct.values())

    @property
    def topics(self) -> list[str]:
        """List the topics that ever had a shipment."""
        return list(self._lanes)

    def count_owed_receipts(self) -> int:
        """Count the PUBLISHes (QoS 1) that are neither in Kafka nor on disk."""
        return sum(
            promised(each.receipt)
            for lane in self._lanes.values()
            for shipments in (lane.direct, lane.spooled)
            for each in shipments.values()
        )

    def _first_direct(self) -> Iterable[Shipment]:
        return (next(iter(each.direct.values())) for each in self._lanes.values() if each.direct)

    # ------------------------------------------------------------------ records out

    def add(
        self, records: Sequence[Record], receipts: Sequence[Settleable | None], now: float
    ) -> list[Shipment]:
        """Take a batch over; return what is to be produced now, in order."""
        assert len(records) == len(receipts), "a record without its receipt"
        first = self._sequence + 1
        self._sequence += len(records)
        sequences = range(first, first + len(records))
        sizes = [
            len(each.origin.payload) + len(each.value) + OBJECTS_BYTES
            if len(each.headers) <= USUAL_HEADERS
            else memory_bytes_of(each)
            for each in records
        ]
        shipments = list(map(Shipment, sequences, records, receipts, sizes, repeat(now)))
        self._count += len(records)
        self.unsettled.take(len(records), sum(sizes))
        due: list[Shipment] = []
        if len({each.kafka_topic for each in records}) == 1:
            lane = self._lane_of(records[0].kafka_topic)
            lane.direct.update(zip(sequences, shipments, strict=True))
            if lane.state is LaneState.OPEN:
                lane.in_flight += len(shipments)
                return shipments
            lane.waiting += shipments
            return due
        for shipment in shipments:
            lane = self._lane_of(shipment.record.kafka_topic)
            lane.direct[shipment.sequence] = shipment
            if lane.state is LaneState.OPEN:
                lane.in_flight += 1
                due.append(shipment)
            else:
                lane.waiting.append(shipment)
        return due

    def add_spooled(
        self, records: Iterable[Record], entries: Iterable[object], now: float
    ) -> list[Shipment]:
        """Take over what is on disk and owes no PUBACK; return what is to be produced now."""
        due: list[Shipment] = []
        for record, entry in zip(records, entries, strict=True):
            self._sequence += 1
            self._count += 1
            shipment = Shipment(self._sequence, record, None, 0, now, entry, is_counted=False)
            lane = self._lane_of(record.kafka_topic)
            lane.spooled[self._sequence] = shipment
            if lane.state is LaneState.OPEN:
                lane.in_flight += 1
                due.append(shipment)
            else:
                lane.waiting.append(shipment)
        return due

    def _lane_of(self, kafka_topic: str) -> Lane:
        lane = self._lanes.get(kafka_topic)
        if lane is None:
            lane = self._lanes[kafka_topic] = Lane(kafka_topic)
            if self._is_sealed:
                lane.state = LaneState.GATHERING
        return lane

    def attach(self, shipment: Shipment, entry: object) -> None:
        """Note that a direct shipment is on its way to the disk as well."""
        lane = self._lanes[shipment.record.kafka_topic]
        del lane.direct[shipment.sequence]
        lane.spooled[shipment.sequence] = shipment
        shipment.entry = entry

    def release(self, shipment: Shipment) -> None:
        """Note that the disk has it: no PUBACK is owed any more, and it counts for no bound."""
        assert shipment.is_counted, f"shipment {shipment.sequence} released twice"
        shipment.receipt = None
        shipment.is_counted = False
        self.unsettled.release(1, shipment.memory_bytes)

    def withdraw(self, shipment: Shipment) -> None:
        """Forget a shipment that Kafka refused: another takes its place."""
        self._forget(self._lanes[shipment.record.kafka_topic], shipment)

    def _forget(self, lane: Lane, shipment: Shipment) -> None:
        del (lane.direct if shipment.entry is None else lane.spooled)[shipment.sequence]
        self._count -= 1
        if shipment.is_counted:
            self.unsettled.release(1, shipment.memory_bytes)

    def put_back(self, shipments: Iterable[Shipment]) -> None:
        """Take back what librdkafka's full queue did not accept; a later `due` hands it out."""
        for shipment in shipments:
            lane = self._lanes[shipment.record.kafka_topic]
            lane.in_flight -= 1
            if lane.state is LaneState.OPEN:
                lane.state = LaneState.BLOCKED
            lane.waiting.append(shipment)
            lane.is_sorted = False

    def due(
        self, now: float, *, is_room_likely: bool = True, is_whole: bool = False
    ) -> list[Shipment]:
        """Return what closed lanes may produce by `now`.

        `is_room_likely` says that reports came since the last call: without them a full local
        queue is still full, and asking it again would only burn CPU. `is_whole` says that the
        queue is that of a new producer, with room for all that waited for it.
        """
        due: list[Shipment] = []
        if self._is_sealed:
            return due
        for lane in self._lanes.values():
            if not lane.waiting:
                continue
            if not lane.is_sorted:
                lane.waiting.sort(key=by_sequence)
                lane.is_sorted = True
            if lane.state is LaneState.BLOCKED:
                if is_room_likely:
                    run = len(lane.waiting) if is_whole else BLOCKED_RUN
                    due += self._hand_out(lane, min(run, len(lane.waiting)))
            elif not lane.in_flight and now >= lane.retry_at:
                lane.run = lane.run_due()
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
        lane.open_if_done()
        return due

    # ------------------------------------------------------------------ reports in

    def settle(self, reports: Sequence[tuple[Shipment, str | None]], now: float) -> Settlement:
        """Take the delivery reports of one poll: (shipment, librdkafka's error name or None)."""
        confirmed: list[Shipment] = []
        settlement = Settlement(confirmed)
        failures: list[Failure] = []
        closed: dict[str, Lane] = {}
        lanes = self._lanes
        alive: Lane | None = None
        confirmed_bytes = 0
        for shipment, error in reports:
            lane = lanes[shipment.record.kafka_topic]
            lane.in_flight -= 1
            if error is not None:
                failures.append(Failure(shipment, error))
                continue
            if shipment.entry is None:
                confirmed.append(shipment)
                del lane.direct[shipment.sequence]
                confirmed_bytes += shipment.memory_bytes
                if lane is not alive:
                    alive = lane
                    settlement.alive.add(lane.kafka_topic)
            else:
                settlement.spooled.append(shipment)
                self._forget(lane, shipment)
            if lane.state is not LaneState.OPEN:
                closed[lane.kafka_topic] = lane
                lane.note_passed(shipment)
        self._count -= len(confirmed)
        self.unsettled.release(len(confirmed), confirmed_bytes)
        if failures:
            closed |= self._fail(failures, settlement, now)
        for lane in closed.values():
            settlement.advance(lane)
        return settlement

    def _fail(self, failures: list[Failure], settlement: Settlement, now: float) -> dict[str, Lane]:
        """Close the lanes of what failed, and keep it for another try; return those lanes."""
        failed = {each.shipment.record.kafka_topic for each in failures}
        lanes = {kafka_topic: self._lanes[kafka_topic] for kafka_topic in failed}
        for shipment in (*settlement.confirmed, *settlement.spooled):
            if shipment.record.kafka_topic in lanes:
                lanes[shipment.record.kafka_topic].note_passed(shipment)
        for failure in failures:
            settlement.fail(lanes[failure.shipment.record.kafka_topic], failure, now)
        return lanes

    def seal(self) -> None:
        """Take everything under way back and hand nothing out until `unseal`.

        For a new producer: reports of the old one are void, and what it sent may be in Kafka.
        """
        self._is_sealed = True
        for lane in self._lanes.values():
            lane.take_back_all()

    @property
    def is_sealed(self) -> bool:
        """True while nothing is handed out."""
        return self._is_sealed

    @property
    def oldest_received_us(self) -> int | None:
        """Tell when, on the wall clock, the oldest record under way was received."""
        return min(
            (
                each.record.received.unix_us
                for lane in self._lanes.values()
                for shipments in (lane.direct, lane.spooled)
                for each in shipments.values()
            ),
            default=None,
        )

    def unseal(self, found: Container[bytes]) -> Settlement:
        """Hand out again, but for the keys `found` in Kafka; those are returned as confirmed."""
        self._is_sealed = False
        settlement = Settlement([])
        for lane in self._lanes.values():
            waiting, lane.waiting = lane.waiting, []
            for shipment in waiting:
                key = shipment.record.dedup_key
                if not key or key not in found:
                    lane.waiting.append(shipment)
                    continue
                lane.note_passed(shipment)
                is_direct = shipment.entry is None
                (settlement.confirmed if is_direct else settlement.spooled).append(shipment)
                self._forget(lane, shipment)
            lane.open_if_done()
        return settlement
