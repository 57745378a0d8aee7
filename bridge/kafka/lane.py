"""One Kafka topic on the way out: the states of its lane, and what a failure does to it."""

import enum
from typing import Final, assert_never

import msgspec

from bridge.kafka.delivery import FOR_SIZE, Fate, fate_of
from bridge.kafka.shipment import Shipment

RETRY_S: Final = 2.0
"""How often a held lane is tried; Kafka's own clients refresh metadata at about this pace."""
AGAIN_MAX: Final = 3
"""A record that fails so often for a passing reason is held like one refused by configuration."""
LIMITED_RUN_BYTES_MAX: Final = 262_144
"""Where a limited run begins: a quarter of librdkafka's largest batch."""


class LaneState(enum.Enum):
    """Whether shipments pass; `outbox.py` tells what leads where."""

    OPEN = enum.auto()
    BLOCKED = enum.auto()
    GATHERING = enum.auto()


class Lane(msgspec.Struct, eq=False):
    """What is under way and what waits, oldest first."""

    kafka_topic: str
    state: LaneState = LaneState.OPEN
    in_flight: int = 0
    direct: dict[int, Shipment] = {}
    """By sequence, unconfirmed and without an entry: the disk does not have them."""
    spooled: dict[int, Shipment] = {}
    """The same of those with an entry."""
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

    def run_due(self) -> int:
        """Tell how many of what waits may go out together; at least one."""
        if self.held_error is not None:
            return 1
        if self.run_bytes_max is None:
            return len(self.waiting)
        room = self.run_bytes_max
        for position, shipment in enumerate(self.waiting):
            record = shipment.record
            room -= len(record.value) + len(record.key) + 64 * len(record.headers)
            if room < 0:
                return max(1, position)
        return len(self.waiting)

    def open_if_done(self) -> None:
        """Let shipments pass again once nothing waits and nothing limits."""
        if self.waiting or self.held_error is not None or self.run_bytes_max is not None:
            return
        self.state = LaneState.OPEN
        self.run = 0  # What passes an open lane shares its batches: none of it travels alone.
        self.passed = {}

    def note_passed(self, shipment: Shipment) -> None:
        """Remember that a shipment was confirmed while the lane is closed."""
        key = shipment.record.key
        self.passed[key] = max(shipment.sequence, self.passed.get(key, 0))

    def take_back_all(self) -> None:
        """Let everything wait again, in order: what was handed out is void."""
        self.waiting = sorted((*self.direct.values(), *self.spooled.values()), key=by_sequence)
        self.is_sorted = True
        self.in_flight = 0
        self.run = 0
        self.retry_at = 0.0
        self.state = LaneState.GATHERING


class Failure(msgspec.Struct, frozen=True):
    """A shipment that Kafka did not take, and librdkafka's name of the error."""

    shipment: Shipment
    error: str


class Settlement(msgspec.Struct):
    """What a batch of delivery reports came to."""

    confirmed: list[Shipment]
    spooled: list[Shipment] = []
    """Confirmed too, each with an entry of the spool."""
    alive: set[str] = set()
    """Kafka topics of `confirmed`."""
    refusals: list[Failure] = []
    """Records that Kafka will never take."""
    limited: list[tuple[str, str, int]] = []
    """Kafka topics whose runs were limited, with the error and the new limit in bytes."""
    held: list[tuple[str, str]] = []
    """Kafka topics newly held, each with the error."""
    recovered: list[str] = []
    """Kafka topics that were held and take records again."""
    again: int = 0
    fatal: str | None = None

    def advance(self, lane: Lane) -> None:
        """Draw the conclusion from a run that is reported whole."""
        if lane.in_flight or lane.state is not LaneState.GATHERING:
            return
        if lane.run and lane.is_run_clean:
            if lane.held_error is not None:
                lane.held_error = None
                lane.retry_at = 0.0
                self.recovered.append(lane.kafka_topic)
            elif lane.run_bytes_max is not None:
                doubled = 2 * lane.run_bytes_max
                lane.run_bytes_max = doubled if doubled <= LIMITED_RUN_BYTES_MAX else None
        lane.run = 0
        lane.open_if_done()

    def fail(self, lane: Lane, failure: Failure, now: float) -> None:
        """Close the lane of a failure and let its shipment wait, or refuse it for good."""
        shipment = failure.shipment
        fate = _fate_of(shipment, failure.error)
        is_alone = shipment.is_refused_locally or lane.run == 1
        if fate is Fate.REFUSED and is_alone:
            self.refusals.append(failure)
            return
        if fate is Fate.REFUSED:
            self._limit(lane, failure.error)
        else:
            self._note_failure(failure, fate, lane, now)
        if lane.state is not LaneState.GATHERING:
            lane.state = LaneState.GATHERING
            lane.run = 0
        lane.is_run_clean = False
        lane.waiting.append(shipment)
        lane.is_sorted = False

    def _limit(self, lane: Lane, error: str) -> None:
        """Shorten the runs of a lane, once for each run that was refused."""
        if lane.run_bytes_max is None:
            lane.run_bytes_max = LIMITED_RUN_BYTES_MAX
        elif lane.run and lane.is_run_clean:
            lane.run_bytes_max = max(1, lane.run_bytes_max // 2)
        else:
            return
        self.limited.append((lane.kafka_topic, error, lane.run_bytes_max))

    def _note_failure(self, failure: Failure, fate: Fate, lane: Lane, now: float) -> None:
        match fate:
            case Fate.FATAL:
                self.fatal = self.fatal or failure.error
                lane.retry_at = now + RETRY_S
            case Fate.HELD:
                if lane.held_error is None:
                    self.held.append((lane.kafka_topic, failure.error))
                lane.held_error = failure.error
                lane.retry_at = now + RETRY_S
            case Fate.AGAIN:
                failure.shipment.failures += 1
                self.again += 1
            case Fate.DELIVERED | Fate.REFUSED:
                raise AssertionError(f"{fate} is no failure to be tried again")
            case _:
                assert_never(fate)


def by_sequence(shipment: Shipment) -> int:
    """Order shipments as they came."""
    return shipment.sequence


def _fate_of(shipment: Shipment, error: str) -> Fate:
    fate = fate_of(error)
    record = shipment.record
    if fate is Fate.REFUSED and record.dead_letter is not None:
        # Cutting helps against a size alone; for the rest, only a change of the topic does.
        is_helped = error in FOR_SIZE and bool(record.value)
        return fate if is_helped else Fate.HELD
    if fate is Fate.AGAIN and shipment.failures >= AGAIN_MAX:
        return Fate.HELD
    return fate
