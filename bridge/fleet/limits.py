"""How fast a device may send: a bucket of tokens that two clocks fill.

Theory of operation. A token is worth the interval of the rate, 0.1 s at ten a second, and a bucket
holds a burst of them. Each device has two buckets. One is filled by the arrival clock, which is the
bridge's monotonic one; the other by the progress of the device's own timestamps, which is how far a
timestamp lies above the highest that was admitted so far, the mark. A message is admitted if either
has a token, and then costs one token in both; the one that has none goes into debt.

So a backlog is not punished: after an outage of the device or of the bridge, an hour of readings
comes in a second, and its timestamps bring the tokens along that the arrival clock does not. And it
cannot be abused by splitting time: had each step simply the larger of both refills, a device whose
timestamps have a resolution of a second would be paid twice for each of them. With debts, it is
the larger of the sums. In a history of `n` admitted messages of one device, over `arrival_s` of
arrival and `device_s` from its first timestamp to its highest:

    n <= burst + rate * max(arrival_s, device_s)

as long as the smaller of the two spans is at most `DEBT_S`, or neither clock gains more than that
on the other between any two of the messages; and always

    n <= 2 * burst + rate * (arrival_s + device_s)

Timestamps cannot run away for ever: validation refuses those that are `timestamp_future_max_s`
ahead of the server.

The bound on debts is what the first clause costs, and is worth it. A device that drained an hour of
backlog owes an hour to the arrival clock; if its clock then breaks, it would be silenced for an
hour; so it is for a minute, after what its burst had left. A clock that stands still, or runs an
hour behind after it was set back, makes no progress: the arrival clock governs, as it does where
there is no timestamp.

A refused message moves nothing: neither mark nor tokens. Duplicates must not get here: ask after
deduplication, so that what the MQTT broker sends again costs nothing. A batch is one message, with
the highest timestamp of its readings.

Memory is bounded by `devices_max`. Who gives way is one that was not heard for long, whose buckets
are full as a new one's are. Where a flood of made-up devices pushes out others that are not full,
what they have is kept in a table of fixed size, by a hash of the device: one that comes back goes
on from there and gets no fresh burst; nor does another with the same hash, for two seconds or so.
"""

from array import array
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from bridge.fleet.slices import SLICE_DEVICES, check_columns, read_slice, write_slice
from bridge.fleet.slots import Column, Slots

DEVICES_MAX: Final = 200_000
DEBT_S: Final = 60.0
"""What a device may owe to one clock while the other one pays."""

_S_PER_US: Final = 1e-6
_TOLERANCE_S: Final = 2e-6
"""Twenty times 0.1 s is not quite 2 s in floats, and the twentieth message of a burst is due; Unix
seconds in a float are exact to 0.24 us."""
_NO_MARK_S: Final = -1e11
"""Of a device that never sent a timestamp; the year 1, the first there is, is above."""
_FULL_S: Final = -2e11
_EVICTED: Final = 1 << 16
"""Places for devices that gave way: 2 MB."""

_MACHINE: Final = "limits"
_VERSION: Final = 1


class _Written(msgspec.Struct, array_like=True):
    keys: list[bytes]
    marks_s: list[Annotated[float, Meta(gt=_NO_MARK_S, lt=1e12)]]

    def __post_init__(self) -> None:
        """Check that the columns belong together."""
        check_columns(self.keys, self.marks_s)


_SLICE: Final = msgspec.msgpack.Decoder(_Written)


class Limit(NamedTuple):
    """What a device may send; made by `Limit.of`."""

    interval_s: float
    due_s: float
    """What a bucket must hold, the interval less the tolerance."""
    span_s: float
    """What a full bucket holds."""
    bucket: bytes
    """Empty: the one that all routes without a limit of their own share."""
    per_s: float
    burst: int

    @classmethod
    def of(cls, per_s: float, burst: int, *, bucket: bytes = b"") -> "Limit | None":
        """Make a limit; a rate of 0 is none."""
        if not per_s:
            return None
        interval_s = 1 / per_s
        return cls(interval_s, interval_s - _TOLERANCE_S, burst * interval_s, bucket, per_s, burst)

    def explain(self) -> str:
        """Give the detail of the dead letter `rate_limited`."""
        return f"device sends more than {self.per_s:g} messages/s, burst {self.burst}"


def limit_of_route(  # noqa: PLR0913 - all named: a route, and what holds without it
    *,
    kind: str,
    priority: str,
    per_device_per_s: float | None,
    default_per_s: float,
    burst: int,
    bucket: bytes,
) -> Limit | None:
    """Give the limit of the devices of a route.

    Opaque and high-priority routes have none unless they set it. A route that sets it has buckets
    of its own, under `bucket`, a name of the route that may not change (its filter): else a strict
    route would be paid for by the messages of a generous one.
    """
    if per_device_per_s is not None:
        return Limit.of(per_device_per_s, burst, bucket=bucket + b"\0")
    if kind == "opaque" or priority == "high":
        return None
    return Limit.of(default_per_s, burst)


@lru_cache(maxsize=1_024)
def limit_of_device(
    limit: Limit | None, per_device_per_s: float | None, burst: int | None
) -> Limit | None:
    """Put what the registry says of a device over the limit of its route; exempt stays exempt."""
    if limit is None:
        return None
    return Limit.of(
        limit.per_s if per_device_per_s is None else per_device_per_s,
        limit.burst if burst is None else burst,
        bucket=limit.bucket,
    )


class Limits:
    """The buckets and marks of all devices.

    Invariant: a bucket is an instant on its clock up to which the device has spent; what it holds
    is the time from there to now, or to the mark: never more than the span of a burst, never less
    than `-DEBT_S`. Only `admit` returning True changes it. Marks only rise.

    Lists of floats, for speed: 0.35 us a message where `array` and integers took 0.85, for 210
    bytes a device instead of 140.
    """

    def __init__(self, *, devices_max: int = DEVICES_MAX) -> None:
        self._spent_s: list[float] = []
        """On the arrival clock."""
        self._device_spent_s: list[float] = []
        """On the device's clock, Unix seconds; like the marks."""
        self._mark_s: list[float] = []
        self._dumped_s = array("d")
        """The marks of the last `dump`."""
        self._slots = Slots(
            devices_max=devices_max,
            recency=self._spent_s,
            columns=(
                Column(self._spent_s, _FULL_S),
                Column(self._device_spent_s, _FULL_S),
                Column(self._mark_s, _NO_MARK_S),
                Column(self._dumped_s, _NO_MARK_S),
            ),
            evict=self._keep_evicted,
        )
        self._find = self._slots.index.get
        self._evicted_spent_s = array("d", [_FULL_S]) * _EVICTED
        self._evicted_holds_s = array("d", [0.0]) * _EVICTED
        """What the bucket of the device's clock held."""
        self._evicted_mark_s = array("d", [_NO_MARK_S]) * _EVICTED
        self._evicted_hash = array("q", [0]) * _EVICTED

    @property
    def devices(self) -> int:
        """Count the devices that are remembered; one counts again for each bucket of a route."""
        return len(self._slots)

    def admit(self, device: bytes, limit: Limit, measured_at_us: int | None, now_s: float) -> bool:
        """Take a token for one message; False: the device is over its limit.

        `measured_at_us` is None where there is no timestamp, or where none is judged because the
        host's clock is wrong: a mark that was set then might lie years ahead.
        """
        interval_s, due_s, span_s, bucket, _, _ = limit
        slot = self._find(bucket + device if bucket else device)
        if slot is None:
            slot = self._enter(bucket + device, limit, now_s)
        spent_of, device_spent_of, mark_of = self._spent_s, self._device_spent_s, self._mark_s
        spent_s, device_spent_s, mark_s = spent_of[slot], device_spent_of[slot], mark_of[slot]
        if measured_at_us is not None:
            measured_s = measured_at_us * _S_PER_US
            if measured_s > mark_s:
                if mark_s == _NO_MARK_S:
                    device_spent_s += measured_s - mark_s  # A clock that begins brings nothing.
                mark_s = measured_s
        full_s = now_s - span_s
        if spent_s < full_s:  # noqa: PLR1730 - max() and min() would cost 0.2 us here
            spent_s = full_s
        full_s = mark_s - span_s
        if device_spent_s < full_s:  # noqa: PLR1730
            device_spent_s = full_s

        if now_s - spent_s < due_s and mark_s - device_spent_s < due_s:
            return False
        spent_s += interval_s
        device_spent_s += interval_s
        if spent_s > now_s + DEBT_S:  # noqa: PLR1730
            spent_s = now_s + DEBT_S
        if device_spent_s > mark_s + DEBT_S:  # noqa: PLR1730
            device_spent_s = mark_s + DEBT_S
        spent_of[slot], device_spent_of[slot], mark_of[slot] = spent_s, device_spent_s, mark_s
        return True

    def _enter(self, key: bytes, limit: Limit, now_s: float) -> int:
        slot = self._slots.enter(key)
        whole = hash(key)
        at = whole % _EVICTED
        if now_s - self._evicted_spent_s[at] < limit.span_s:
            # The tokens of whoever was here, but the mark of nobody else.
            is_same = self._evicted_hash[at] == whole
            mark_s = self._evicted_mark_s[at] if is_same else _NO_MARK_S
            self._spent_s[slot] = self._evicted_spent_s[at]
            self._device_spent_s[slot] = mark_s - self._evicted_holds_s[at]
            self._mark_s[slot] = mark_s
        return slot

    def _keep_evicted(self, slot: int) -> None:
        """Keep both buckets as they are; where the place is taken, the emptier first one stays."""
        whole = hash(self._slots.keys[slot])
        at = whole % _EVICTED
        if self._spent_s[slot] > self._evicted_spent_s[at]:
            self._evicted_spent_s[at] = self._spent_s[slot]
            self._evicted_holds_s[at] = self._mark_s[slot] - self._device_spent_s[slot]
            self._evicted_mark_s[at] = self._mark_s[slot]
            self._evicted_hash[at] = whole

    def dump(self, *, is_settled: bool) -> Iterator[bytes]:
        """Write the marks, slice by slice; messages may be admitted between two slices.

        After a crash the MQTT broker sends again what was unsettled, and above a mark that had
        counted it already it would bring no tokens. So, unless the caller says that everything
        admitted is settled (a clean stop), the marks are those of the dump before this one.
        """
        for start in range(0, len(self._slots), SLICE_DEVICES):
            stop = min(start + SLICE_DEVICES, len(self._slots))
            marks_s = self._mark_s if is_settled else self._dumped_s
            slots = [slot for slot in range(start, stop) if marks_s[slot] > _NO_MARK_S]
            written = _Written(
                [self._slots.keys[slot] for slot in slots], [marks_s[slot] for slot in slots]
            )
            self._dumped_s[start:stop] = array("d", self._mark_s[start:stop])
            yield write_slice(_MACHINE, _VERSION, written)

    def load(self, written: bytes) -> None:
        """Take over the marks of a slice; buckets are full after a restart.

        Raises:
            ValueError: The slice cannot be read.
        """
        found = read_slice(written, _MACHINE, _VERSION, _SLICE)
        for key, mark_s in zip(found.keys, found.marks_s, strict=True):
            slot = self._find(key)
            if slot is None:
                if self._slots.is_full:
                    return
                slot = self._slots.enter(key)
            self._mark_s[slot] = self._dumped_s[slot] = max(mark_s, self._mark_s[slot])
