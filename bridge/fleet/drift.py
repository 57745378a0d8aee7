"""Whose clock is wrong, told from whose readings are merely late.

Theory of operation. What a message shows is the drift, server time minus device time: the offset of
the device's clock plus the delay of the reading. A delay is never negative, so the offset is the
lower envelope of the drifts. A device has eight slots, each the least drift of 5 s, or of one
message where messages are rarer: the last 40 s, or the last eight messages. The second least of
them is the offset; the least of all might be a single mistake.

    RIGHT --- offset below -bound: nothing that is buffered looks so ---> WRONG (ahead)
    RIGHT --- every slot above the bound, and all the same ---> WRONG (behind)
    WRONG --- offset within half of the bound ---> RIGHT

A clock that is behind looks like a reading that is late, but for one thing: a backlog is caught up
with, so from slot to slot its drift falls, while that of a clock stays. So no device is judged to
be behind before its slots span 30 s, in whole seconds, and agree to 1 s and 3 % of the time between
them. What cannot be told apart is a clock behind from a delay that is constant for minutes; nor
from a bridge or a broker that lags so.

Between the bound and half of it nothing changes. With the host's own clock unsynchronised nothing
is noted at all. Retained copies must not get here.
"""

import enum
import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta

from bridge.fleet.slices import SLICE_DEVICES, check_columns, read_slice, write_slice
from bridge.fleet.slots import Column, Slots

DEVICES_MAX: Final = 200_000
OFFSET_MAX_S: Final = 30.0
OFFSET_BOUNDS_S: Final = (
    *(-3600.0, -300.0, -60.0, -30.0, -10.0, -5.0, -1.0),
    *(1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 86_400.0),
)
"""Upper bounds of the fleet's histogram; above the last there is one more bucket."""
SLOTS: Final = 8
SLOT_S: Final = 5.0

_ALIKE_SLOTS_MIN: Final = 4
_ALIKE_SPAN_MIN_S: Final = 30.0
_AFTER_MAX_S: Final = 65_535
"""What 16 bits hold, 18 hours: slots that span so long need not be more alike than any may."""
_ALIKE_S: Final = 1.0
_ALIKE_SHARE: Final = 0.03
"""A backlog is drained faster than by this much; the quartz of no device is so bad."""
_SMALL_S: Final = 1.0
_S_PER_US: Final = 1e-6
_RIGHT_SHARE: Final = 0.5
_NONE: Final = math.inf
_OPEN_AT_ONCE: Final = float("-inf")

_MACHINE: Final = "drift"
_VERSION: Final = 1


class ClockWrong(msgspec.Struct, frozen=True):
    """A device's clock crossed the bound, or came to the other side of it."""

    device: bytes
    offset_s: float
    """Server minus device: negative, the device is ahead."""


class ClockRight(msgspec.Struct, frozen=True):
    """A device's clock that was wrong is right again."""

    device: bytes
    offset_s: float


ClockFact: TypeAlias = ClockWrong | ClockRight


class _Clock(enum.IntEnum):
    RIGHT = 0
    AHEAD = 1
    BEHIND = 2


class _Written(msgspec.Struct, array_like=True):
    devices: list[bytes]
    offsets_s: list[Annotated[float, Meta(ge=-1e12, le=1e12)]]
    clocks: list[_Clock]

    def __post_init__(self) -> None:
        """Check that the columns belong together."""
        check_columns(self.devices, self.offsets_s, self.clocks)


_SLICE: Final = msgspec.msgpack.Decoder(_Written)


class Drifts:
    """The offset of each device's clock, and how the fleet's offsets are distributed.

    Invariant: `sum(counts())` is the number of devices that have an offset, each counted in the
    bucket of its last; a fact is told when the judgement of a device changes, and only then.
    """

    def __init__(
        self,
        *,
        offset_max_s: float = OFFSET_MAX_S,
        devices_max: int = DEVICES_MAX,
        on_offset: Callable[[bytes, float], None] | None = None,
    ) -> None:
        self._offset_max_s = offset_max_s
        self._right_max_s = offset_max_s * _RIGHT_SHARE
        self._on_offset = on_offset
        """Told each offset anew, once in 5 s a device at most: for the top offenders."""
        self._least_s = array("f")
        self._after_s = array("H")
        """How many whole seconds each slot began after the one before it, `_AFTER_MAX_S` at most;
        like `_least_s`, `SLOTS` a device."""
        self._open = array("b")
        """Which of the eight is open; -1, none yet."""
        self._closes_s: list[float] = []
        self._offset_s = array("f")
        self._clock = array("B")
        self._counts = [0] * (len(OFFSET_BOUNDS_S) + 1)
        self._wrong = 0
        self._slots = Slots(
            devices_max=devices_max,
            recency=self._closes_s,
            columns=(
                Column(self._least_s, _NONE, SLOTS),
                Column(self._after_s, 0, SLOTS),
                Column(self._open, -1),
                Column(self._closes_s, _OPEN_AT_ONCE),
                Column(self._offset_s, math.nan),
                Column(self._clock, _Clock.RIGHT),
            ),
            evict=self._forget,
        )
        self._find = self._slots.index.get

    @property
    def devices(self) -> int:
        """Count the devices that are remembered."""
        return len(self._slots)

    def note(
        self, device: bytes, drift_s: float, now_s: float, *, is_host_synchronised: bool = True
    ) -> ClockFact | None:
        """Note the drift of one message, server minus device; tell what that changes."""
        if not is_host_synchronised:
            return None
        slot = self._find(device)
        if slot is None:
            slot = self._slots.enter(device)
        if now_s < self._closes_s[slot]:
            at = slot * SLOTS + self._open[slot]
            if drift_s < self._least_s[at]:  # noqa: PLR1730 - min() costs 0.1 us more
                self._least_s[at] = drift_s
            return None
        return self._turn(slot, drift_s, now_s, now_s + SLOT_S)

    def _turn(self, slot: int, drift_s: float, now_s: float, closes_s: float) -> ClockFact | None:
        fact = self._judge(slot) if self._open[slot] >= 0 else None
        self._open_next(slot, drift_s, now_s, closes_s)
        return fact

    def note_all(
        self,
        devices: Iterable[bytes],
        measured_us: Iterable[int | None],
        received_us: int,
        now_s: float,
    ) -> list[ClockFact]:
        """Do the same for the messages of a batch; None is a time that was not to be read."""
        find, closes_s, opened, least_s = self._find, self._closes_s, self._open, self._least_s
        facts: list[ClockFact] = []
        next_s = now_s + SLOT_S  # One for the whole batch: a float is an object of 24 bytes.
        for device, each_us in zip(devices, measured_us, strict=True):
            if each_us is None:
                continue
            drift_s = (received_us - each_us) * _S_PER_US
            slot = find(device)
            if slot is None:
                slot = self._slots.enter(device)
            elif now_s < closes_s[slot]:  # As nearly always: without a call.
                at = slot * SLOTS + opened[slot]
                if drift_s < least_s[at]:  # noqa: PLR1730 - as in `note`
                    least_s[at] = drift_s
                continue
            fact = self._turn(slot, drift_s, now_s, next_s)
            if fact is not None:
                facts.append(fact)
        return facts

    def _open_next(self, slot: int, drift_s: float, now_s: float, closes_s: float) -> None:
        opened = (self._open[slot] + 1) % SLOTS
        at = slot * SLOTS + opened
        self._least_s[at] = drift_s
        if self._open[slot] >= 0:
            after_s = int(now_s) - int(self._closes_s[slot] - SLOT_S)
            self._after_s[at] = min(after_s, _AFTER_MAX_S)
        self._open[slot] = opened
        self._closes_s[slot] = closes_s

    def _judge(self, slot: int) -> ClockFact | None:
        at = slot * SLOTS
        least_s = sorted(self._least_s[at : at + SLOTS])  # Unused slots come last.
        offset_s = least_s[1] if least_s[1] != _NONE else least_s[0]
        self._keep_offset(slot, offset_s)
        if self._on_offset is not None:
            self._on_offset(self._slots.keys[slot], offset_s)
        before = self._clock[slot]
        is_small = -self._right_max_s <= offset_s <= self._right_max_s
        if (is_small and before == _Clock.RIGHT) or least_s[1] == _NONE:
            return None
        after = self._clock_of(slot, [each for each in least_s if each != _NONE])
        if after is None or after == before:
            return None
        self._keep_clock(slot, after)
        device = self._slots.keys[slot]
        if after is _Clock.RIGHT:
            return ClockRight(device, offset_s)
        return ClockWrong(device, offset_s)

    def _clock_of(self, slot: int, least_s: list[float]) -> _Clock | None:
        """Judge slots, sorted by their drift; None: they do not say."""
        offset_s = least_s[1]
        if offset_s < -self._offset_max_s:
            return _Clock.AHEAD
        if abs(offset_s) <= self._right_max_s:
            return _Clock.RIGHT
        if least_s[0] > self._offset_max_s and self._are_alike(slot, least_s):
            return _Clock.BEHIND
        return None

    def _are_alike(self, slot: int, least_s: list[float]) -> bool:
        at = slot * SLOTS
        oldest = at + (self._open[slot] + 1) % SLOTS  # Unused, it is blank: 0 s as well.
        span_s = sum(self._after_s[at : at + SLOTS]) - self._after_s[oldest]
        if len(least_s) < _ALIKE_SLOTS_MIN or span_s < _ALIKE_SPAN_MIN_S:
            return False
        spread_max_s = self._right_max_s
        if span_s < _AFTER_MAX_S:
            spread_max_s = min(_ALIKE_S + _ALIKE_SHARE * span_s, spread_max_s)
        return least_s[-1] - least_s[0] <= spread_max_s

    def _keep_offset(self, slot: int, offset_s: float) -> None:
        before_s = self._offset_s[slot]
        self._offset_s[slot] = offset_s
        if -_SMALL_S < before_s <= _SMALL_S and -_SMALL_S < offset_s <= _SMALL_S:
            return  # In the middle bucket, before and after: nearly always.
        if not math.isnan(before_s):
            self._counts[bisect_left(OFFSET_BOUNDS_S, before_s)] -= 1
        self._counts[bisect_left(OFFSET_BOUNDS_S, self._offset_s[slot])] += 1

    def _keep_clock(self, slot: int, clock: _Clock) -> None:
        self._wrong += (clock is not _Clock.RIGHT) - (self._clock[slot] != _Clock.RIGHT)
        self._clock[slot] = clock

    def _forget(self, slot: int) -> None:
        offset_s = self._offset_s[slot]
        if not math.isnan(offset_s):
            self._counts[bisect_left(OFFSET_BOUNDS_S, offset_s)] -= 1
        self._keep_clock(slot, _Clock.RIGHT)

    def offset_s(self, device: bytes) -> float | None:
        """Tell the offset of a device's clock as it was when its last slot closed."""
        slot = self._find(device)
        if slot is None or math.isnan(self._offset_s[slot]):
            return None
        return self._offset_s[slot]

    def counts(self) -> list[int]:
        """Count the devices by offset: one number a bound of `OFFSET_BOUNDS_S`, and one above."""
        return self._counts.copy()

    @property
    def wrong(self) -> int:
        """Count the devices whose clock is wrong."""
        return self._wrong

    def dump(self) -> Iterator[bytes]:
        """Write offsets and judgements, slice by slice; messages may be noted between two.

        The slots are left out: after a restart a judgement stays until new ones contradict it.
        """
        for start in range(0, len(self._slots), SLICE_DEVICES):
            slots = [
                slot
                for slot in range(start, min(start + SLICE_DEVICES, len(self._slots)))
                if not math.isnan(self._offset_s[slot])
            ]
            written = _Written(
                [self._slots.keys[slot] for slot in slots],
                [self._offset_s[slot] for slot in slots],
                [_Clock(self._clock[slot]) for slot in slots],
            )
            yield write_slice(_MACHINE, _VERSION, written)

    def load(self, written: bytes) -> None:
        """Take over a slice; of a device that was noted already, what is known now counts.

        Raises:
            ValueError: The slice cannot be read.
        """
        found = read_slice(written, _MACHINE, _VERSION, _SLICE)
        rows = zip(found.devices, found.offsets_s, found.clocks, strict=True)
        for device, offset_s, clock in rows:
            if device in self._slots.index:
                continue
            if self._slots.is_full:
                return
            slot = self._slots.enter(device)
            self._keep_offset(slot, offset_s)
            self._keep_clock(slot, clock)
