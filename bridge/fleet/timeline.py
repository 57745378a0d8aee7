"""What the partitions of Kafka tell, each in its own pace, put in the order in which it was.

Theory of operation. Records carry the time at which a bridge received them; that is the only clock
here. They are put into buckets of time, and a bucket is given once it is proven that nothing of it
is still to come: every partition was read beyond it, or to its end, as it was when somebody asked.
So a backlog that is being read, a partition without a leader and a cluster that is away make time
stand still for all, instead of making devices silent.

A bridge stamps a record before Kafka has it, and several bridges write to one partition; so what is
read up to a moment counts as read up to `LATENESS_S` before it. What comes later still, from a
spool or replayed, counts as said now, or not at all where it is older than what makes a device
silent.
"""

import math
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from typing import Final, NamedTuple

import msgspec

from bridge.kafka.partitions import Place

LATENESS_S: Final = 5.0
"""From the stamp of a record to Kafka; a topic that takes longer goes to the bridge's spool."""
AHEAD_MAX_S: Final = 300.0
"""A partition that was read so far beyond another waits: buckets are memory."""


class Said(NamedTuple):
    """A sign of life."""

    device: bytes
    at_s: float
    """Unix seconds, by the bridge that received it."""
    is_online: bool | None = None
    """What it, or its will, says of being there; None, it is any other message."""
    is_retained: bool = False


class Moment(NamedTuple):
    """All that was said in one bucket of time."""

    begins_s: float
    ends_s: float
    devices: dict[bytes, float]
    """When each was heard last in it."""
    presences: list[Said]
    """In the order of time."""


class _Bucket(msgspec.Struct):
    devices: dict[bytes, float] = {}
    presences: list[Said] = []


class _Progress(msgspec.Struct):
    next_offset: int = -1
    """Up to here it was read; -1: not at all."""
    proven_s: float = -math.inf


class Timeline:
    """Buckets of time, given in their order, each once.

    Invariant: no bucket is given before `proven_s` has passed it, and none after a later one.
    """

    def __init__(
        self, places: Iterable[Place], *, begins_s: float, width_s: float, late_max_s: float
    ) -> None:
        self._begins_s = begins_s
        self._width_s = width_s
        self._late_max_s = late_max_s
        self._progress = {place: _Progress() for place in places}
        self._buckets: dict[int, _Bucket] = {}
        self._order: list[int] = []
        """A heap of their numbers."""
        self._next = math.floor(begins_s / width_s)
        """No bucket below it is given any more."""

    @property
    def proven_s(self) -> float:
        """Tell up to when nothing is still to come."""
        return min((each.proven_s for each in self._progress.values()), default=-math.inf)

    def say(self, place: Place, offset: int, said: Said | None, now_s: float) -> None:
        """Note a record; None, it is no sign of life. No record is of the future."""
        progress = self._progress.get(place)
        if progress is None:
            return  # Of a partition that was handed over.
        progress.next_offset = offset + 1
        if said is None:
            return
        at_s = min(said.at_s, now_s)
        progress.proven_s = max(progress.proven_s, at_s - LATENESS_S)
        number = math.floor(at_s / self._width_s)
        if number < self._next:
            if at_s < self._next * self._width_s - self._late_max_s:
                return
            number, at_s = self._next, self._next * self._width_s
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = _Bucket()
            heappush(self._order, number)
        if said.is_online is None:
            bucket.devices[said.device] = at_s
        else:
            bucket.presences.append(said._replace(at_s=at_s))

    def reach(self, place: Place, offset: int) -> None:
        """Note that a partition was read to this offset, which holds nothing yet."""
        progress = self._progress.get(place)
        if progress is not None:
            progress.next_offset = max(offset, progress.next_offset)

    def prove(self, ends: Mapping[Place, int], asked_s: float) -> None:
        """Note where partitions ended when somebody asked; who was read so far was read whole."""
        for place, end in ends.items():
            progress = self._progress.get(place)
            if progress is not None and progress.next_offset >= end:
                progress.proven_s = max(progress.proven_s, asked_s - LATENESS_S)

    def ahead(self) -> set[Place]:
        """Give the partitions that should wait for others."""
        bound_s = max(self._begins_s, self.proven_s) + AHEAD_MAX_S
        return {place for place, each in self._progress.items() if each.proven_s > bound_s}

    def take(self) -> Moment | None:
        """Give the next bucket in which anything was said; None, nothing more is proven."""
        if not self._order or (self._order[0] + 1) * self._width_s > self.proven_s:
            return None
        number = heappop(self._order)
        bucket = self._buckets.pop(number)
        self._next = number + 1
        return Moment(
            number * self._width_s,
            (number + 1) * self._width_s,
            bucket.devices,
            sorted(bucket.presences, key=lambda said: said.at_s),
        )
