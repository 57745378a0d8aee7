"""Who talks most, who errs most, whose clock is worst: in memory that no fleet fills.

Theory of operation. A sketch counts the keys of a batch in a dictionary. When that holds more than
four times what it is to keep, the count of the first that is too many is subtracted from all, and
those without a rest go (Misra and Gries, by the batch). So a count is too small by what was
subtracted since, never too large. Each subtraction of `c` takes `c` from at least `KEPT + 1`
devices, so with a weight of `w` in all it is at most `w / (KEPT + 1)`: whoever has more than one
257th of all messages is in the sketch, whatever the others do.

All counts fade by the same factor, to a third in `FADE_S`, which leaves the bound as it is. A count
divided by `FADE_S` is a rate; in the first minutes by less, since nothing is older than the start.

Offsets of clocks are no sums: of them the largest are kept, each until it was not told for
`FORGET_S`.
"""

import enum
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import nlargest
from operator import itemgetter
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bridge.fleet.slices import read_slice, write_slice

KEPT: Final = 256
FADE_S: Final = 150.0
FORGET_S: Final = 300.0
_HELD_MAX: Final = 4 * KEPT
"""Fewer prunings for more memory: 0.2 us a device that is not held, 0.1 MB."""
_FADE_EVERY_S: Final = 5.0
_NEGLIGIBLE: Final = 1e-3
"""A count that faded below it is shown to nobody."""

_MACHINE: Final = "talkers"
_VERSION: Final = 1


class Kind(enum.StrEnum):
    """In what respect a device stands out."""

    MESSAGES = "messages"
    ERRORS = "errors"
    """Dead letters and flagged messages; what counts as one is for the caller to say."""
    DRIFT = "drift"


class Talker(msgspec.Struct, frozen=True):
    """One that stands out."""

    device: bytes
    amount: float
    """Messages or errors a second; for drift the offset of the clock in seconds, with its sign."""
    amount_above_max: float
    """How much more it may be."""


class _Written(msgspec.Struct, array_like=True):
    kind: Kind
    counts: dict[bytes, Annotated[float, Meta(ge=0, le=1e15)]]
    subtracted: Annotated[float, Meta(ge=0, le=1e15)]
    age_s: Annotated[float, Meta(ge=0, le=1e15)]


_WRITTEN: Final = msgspec.msgpack.Decoder(list[_Written])


class Sketch:
    """Counts of the devices that have most, fading.

    Invariant: for each device, `count <= true <= count + subtracted`, where a device that is not
    held has a count of 0, `true` fades as all counts do, and
    `subtracted <= total / (KEPT + 1)` with the faded total of all devices.
    """

    def __init__(self, *, now_s: float) -> None:
        self.counts: Counter[bytes] = Counter()
        self.subtracted = 0.0
        self.began_s = now_s
        self._faded_s = now_s

    def note(self, keys: Iterable[bytes], now_s: float) -> None:
        """Count the devices of one batch."""
        if now_s - self._faded_s >= _FADE_EVERY_S:
            self.fade(now_s)
        self.counts.update(keys)
        if len(self.counts) > _HELD_MAX:
            self._prune()

    def fade(self, now_s: float) -> None:
        """Let all counts fade by what went by."""
        by = math.exp(-max(0.0, now_s - self._faded_s) / FADE_S)
        self._faded_s = max(self._faded_s, now_s)
        self.subtracted *= by
        self._replace({key: count * by for key, count in self.counts.items()})

    def recall(self, counts: dict[bytes, float], subtracted: float, *, age_s: float) -> None:
        """Take over what an earlier one had counted."""
        self._replace(counts)
        self.subtracted = subtracted
        self.began_s -= age_s

    def _prune(self) -> None:
        cut = nlargest(KEPT + 1, self.counts.values())[-1]
        self.subtracted += cut
        self._replace({key: count - cut for key, count in self.counts.items() if count > cut})

    def _replace(self, counts: dict[bytes, float]) -> None:
        # Typed as integers, but fractions add up as well, and the counting itself stays in C.
        self.counts = Counter(counts)

    def window_s(self) -> float:
        """Tell by what a count is to be divided for a rate."""
        age_s = max(0.0, self._faded_s - self.began_s)
        return max(1.0, FADE_S * -math.expm1(-age_s / FADE_S))


class _Extremes:
    """The devices with the largest offsets that were told lately."""

    def __init__(self) -> None:
        self._told: dict[bytes, tuple[float, float]] = {}
        """Offset and when it was told."""

    def note(self, device: bytes, offset_s: float, now_s: float) -> None:
        self._told[device] = (offset_s, now_s)
        if len(self._told) > _HELD_MAX:
            self._told = dict(self._largest(KEPT, now_s))

    def _largest(self, count: int, now_s: float) -> list[tuple[bytes, tuple[float, float]]]:
        fresh = (each for each in self._told.items() if now_s - each[1][1] < FORGET_S)
        return nlargest(count, fresh, key=lambda each: abs(each[1][0]))

    def top(self, count: int, now_s: float) -> list[Talker]:
        return [
            Talker(device, offset_s, 0.0) for device, (offset_s, _) in self._largest(count, now_s)
        ]


class Talkers:
    """The devices that stand out, in each respect; one `note` a batch.

    Memory does not depend on the fleet: at most four times `KEPT` devices a kind, and one batch.
    """

    def __init__(self, *, now_s: float) -> None:
        self._sketches = {kind: Sketch(now_s=now_s) for kind in (Kind.MESSAGES, Kind.ERRORS)}
        self._extremes = _Extremes()

    def note(self, kind: Kind, keys: Iterable[bytes], now_s: float) -> None:
        """Count the devices of one batch of messages, or of errors."""
        self._sketches[kind].note(keys, now_s)

    def note_offset(self, device: bytes, offset_s: float, now_s: float) -> None:
        """Note how wrong a device's clock is."""
        self._extremes.note(device, offset_s, now_s)

    def top(self, kind: Kind, count: int, now_s: float) -> list[Talker]:
        """Give the devices that have most, the first one first; at most `KEPT`."""
        count = min(count, KEPT)
        if kind is Kind.DRIFT:
            return self._extremes.top(count, now_s)
        sketch = self._sketches[kind]
        sketch.fade(now_s)
        window_s = sketch.window_s()
        return [
            Talker(device, amount / window_s, sketch.subtracted / window_s)
            for device, amount in nlargest(count, sketch.counts.items(), key=itemgetter(1))
            if amount >= _NEGLIGIBLE
        ]

    def dump(self, now_s: float) -> Iterator[bytes]:
        """Write the counts; offsets come anew by themselves."""
        rows: list[_Written] = []
        for kind, sketch in self._sketches.items():
            sketch.fade(now_s)
            counts: dict[bytes, float] = dict(
                nlargest(_HELD_MAX, sketch.counts.items(), key=itemgetter(1))
            )
            age_s = now_s - sketch.began_s
            rows.append(_Written(kind, counts, sketch.subtracted, age_s))
        yield write_slice(_MACHINE, _VERSION, rows)

    def load(self, written: bytes, now_s: float, *, away_s: float = 0.0) -> None:
        """Take over counts as they are after `away_s`; what was noted since is lost.

        Raises:
            ValueError: The slice cannot be read.
        """
        for row in read_slice(written, _MACHINE, _VERSION, _WRITTEN):
            if row.kind in self._sketches:
                sketch = Sketch(now_s=now_s - away_s)
                sketch.recall(row.counts, row.subtracted, age_s=row.age_s)
                sketch.fade(now_s)
                self._sketches[row.kind] = sketch
