"""How long Kafka may be away before something is lost, and when that has to be said.

Theory of operation. Two rooms hold an outage, one after the other: the spool, in bytes, then the
MQTT broker's queue, in messages and in bytes, as the operator told. Both fill with the inflow, so
the answer is their room over the rate of what comes. The rate is a mean over about a minute of the
time in which the bridge reads; while it does not (spool full, connection lost), what comes goes
into the broker's queue unseen: the last rate stands for it, and what is believed to lie there is
counted against the room. When reading goes on, that backlog comes in a burst, which is not taken
for inflow. What a message costs in the spool is learned from the rows in it, before there are any
from what is under way. A queue of unknown size adds nothing, so the answer is then the least.
"""

import math
from typing import Final, TypeAlias

import msgspec

from bridge.observe.averages import Average

INFLOW_MIN_PER_S: Final = 1e-6
"""Less than a message in ten days is none."""
ROWS_MIN: Final = 1_000
MESSAGE_BYTES: Final = 1_000
"""What a message is taken to cost in the spool before any was seen."""
WARN_BELOW_S: Final = (3_600.0, 600.0)
"""An hour to find somebody, ten minutes to act."""
HYSTERESIS: Final = 1.25
WELL_S: Final = 60.0
"""Kafka is back once it has been there for so long: links that flap are not told each time."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the runtime knows once a second."""

    received: int
    """QoS 1 messages, since the start."""
    spool_rows: int = 0
    spool_bytes: int = 0
    bytes_per_message: float = 0.0
    """What a message under way weighs, where there are any; 0: nothing to go by."""
    is_kafka_well: bool
    is_reading: bool
    """Connected, subscribed, not paused, and the window (Receive Maximum) has room."""
    is_spool_writable: bool = True
    """The disk takes what it is given, as far as `spool.bytes_max` lets it."""


class BudgetLow(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of `outage_budget_low`."""

    seconds: float
    spool_bytes: int
    spool_bytes_max: int
    inflow_per_s: float
    is_unknown_after: bool
    remedy: str


class BudgetRecovered(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of `outage_budget_recovered`."""

    seconds: float | None


News: TypeAlias = BudgetLow | BudgetRecovered


class OutageBudget:
    """What is left of the time that an outage of Kafka may take, as of now.

    Invariant: it never promises room that nobody knows of; what is guessed (the inflow unseen, the
    size of a message) is guessed from what was seen last.
    """

    def __init__(
        self, *, spool_bytes_max: int, broker_queue_messages: int, broker_queue_bytes: int
    ) -> None:
        self._spool_bytes_max = spool_bytes_max
        self._queue_messages = broker_queue_messages
        self._queue_bytes = broker_queue_bytes
        self._seen: Seen | None = None
        self._seen_s = 0.0
        self._inflow = Average()
        self._queued = 0.0
        """Messages that are believed to lie in the MQTT broker's queue."""
        self._cost_bytes = float(MESSAGE_BYTES)
        self._warned = 0
        """How many of the bounds the last warning was below."""
        self._well_since_s: float | None = None

    # ------------------------------------------------------------------ what is asked

    @property
    def inflow_per_s(self) -> float:
        """Messages a second, as far as they were seen."""
        return self._inflow.value

    @property
    def is_unknown_after(self) -> bool:
        """True where nobody told how much the MQTT broker's queue holds."""
        return not (self._queue_messages or self._queue_bytes)

    def seconds(self, now: float) -> float | None:
        """Tell how long Kafka may be away from now on; None where no room is known at all."""
        if self.is_unknown_after and not self._spool_bytes_max:
            return None
        inflow = self.inflow_per_s
        if inflow < INFLOW_MIN_PER_S:
            return math.inf
        seen = self._seen
        since_s = 0.0 if seen is None or seen.is_kafka_well else now - self._seen_s
        messages = self._room_of_spool() + self._room_of_queue()
        return max(0.0, messages / inflow - since_s)

    def _room_of_spool(self) -> float:
        seen = self._seen
        if seen is None:
            return self._spool_bytes_max / self._cost_bytes
        if not seen.is_spool_writable:
            return 0.0
        return max(0, self._spool_bytes_max - seen.spool_bytes) / self._cost_bytes

    def _room_of_queue(self) -> float:
        if self.is_unknown_after:
            return 0.0
        bounds = [self._queue_messages or math.inf]
        if self._queue_bytes:
            # The payload alone is less than its row, so this errs on the safe side.
            bounds.append(self._queue_bytes / self._cost_bytes)
        return max(0.0, min(bounds) - self._queued)

    # ------------------------------------------------------------------ what happened

    def note(self, now: float, seen: Seen) -> News | None:
        """Take what is known now; return what has to be said, at most one thing at a time."""
        before, self._seen = self._seen, seen
        since_s = now - self._seen_s
        self._seen_s = now
        # While rows drain, some of the bytes are of rows that count no more.
        if seen.spool_bytes and seen.spool_rows >= (ROWS_MIN if seen.is_kafka_well else 1):
            self._cost_bytes = seen.spool_bytes / seen.spool_rows
        elif seen.bytes_per_message:
            self._cost_bytes = seen.bytes_per_message
        if before is not None and since_s > 0:
            is_reading = before.is_reading and seen.is_reading
            self._measure(seen.received - before.received, since_s, is_reading=is_reading)
        if not seen.is_kafka_well:
            self._well_since_s = None
        elif self._well_since_s is None:
            self._well_since_s = now
        return self._judge(now)

    def _measure(self, came: int, since_s: float, *, is_reading: bool) -> None:
        expected = self.inflow_per_s * since_s
        if not is_reading and came < expected:
            self._queued += expected - came
            return
        # What lay in the queue is no inflow, and comes faster than any.
        from_queue = min(self._queued, max(0.0, came - expected))
        self._queued -= from_queue
        if not from_queue:  # No burst: what was believed to lie there probably does not.
            self._queued *= self._inflow.left(since_s)
        self._inflow.note((came - from_queue) / since_s, since_s)

    # ------------------------------------------------------------------ what is said

    def _judge(self, now: float) -> News | None:
        seconds = self.seconds(now)
        is_well = self._well_since_s is not None
        if seconds is None:
            return None
        below = sum(seconds < bound for bound in WARN_BELOW_S)
        if not is_well and below > self._warned:
            self._warned = below
            return self._low(seconds)
        if self._warned and self._is_over(seconds, now):
            self._warned = 0
            return BudgetRecovered(seconds=_rounded(seconds))
        if self._warned > 1 and seconds > WARN_BELOW_S[1] * HYSTERESIS:
            self._warned = 1
        return None

    def _is_over(self, seconds: float, now: float) -> bool:
        if seconds > WARN_BELOW_S[0] * HYSTERESIS:
            return True
        return self._well_since_s is not None and now - self._well_since_s >= WELL_S

    def _low(self, seconds: float) -> BudgetLow:
        assert self._seen is not None, "nothing was noted yet"
        return BudgetLow(
            seconds=round(seconds, 1),
            spool_bytes=self._seen.spool_bytes,
            spool_bytes_max=self._spool_bytes_max,
            inflow_per_s=round(self.inflow_per_s, 3),
            is_unknown_after=self.is_unknown_after,
            remedy=self._remedy(),
        )

    def _remedy(self) -> str:
        if self._seen is not None and not self._seen.is_spool_writable:
            return "bring Kafka back, and mend the spool: spool_failed says how"
        if not self._spool_bytes_max:
            return "bring Kafka back, or give the bridge a spool: spool.bytes_max"
        remedy = "bring Kafka back, or raise spool.bytes_max and restart"
        if self.is_unknown_after:
            remedy += "; tell in mqtt.broker_queue_messages what the MQTT broker queues"
        return remedy


def _rounded(seconds: float) -> float | None:
    """Infinity has no JSON."""
    return round(seconds, 1) if math.isfinite(seconds) else None
