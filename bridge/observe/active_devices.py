"""How many devices sent something lately: told apart while they are few, estimated when many."""

import math
from collections.abc import Iterable
from typing import Final

GENERATION_S: Final = 150.0
"""Two whole generations make the five minutes of `ingestion_active_devices`."""
EXACT_MAX: Final = 20_000
"""Devices told apart, at some 100 bytes each; beyond, a place is a byte however many they are."""
PLACES: Final = 1 << 20
"""A power of 2. So many places tell 100,000 devices, and a million, to 0.1 % (one standard error),
and go up to some 14 million."""
_NOBODY: Final = 0
_GENERATIONS: Final = 3


class ActiveDevices:
    """How many devices sent something in the last five minutes, up to seven and a half.

    A few are told apart, by three generations of sets of key hashes: a device is in one of them at
    most, the newest it spoke in, so the answer is three lengths. The oldest goes as a whole when a
    new one begins.

    Many mark a place each, by their hash, with the generation they spoke in, and the share of the
    places without a mark tells how many devices there were ("linear counting", Whang, Vander-Zanden
    and Taylor 1990). When none has a mark any more, they are told apart again.
    """

    def __init__(self, *, now_s: float, exact_max: int = EXACT_MAX, places: int = PLACES) -> None:
        """`places` is a power of 2, and well above `exact_max`; a test may have few."""
        self._sets: list[set[int]] = [set() for _ in range(_GENERATIONS)]
        """Youngest first."""
        self._began_s = now_s
        self._exact_max = exact_max
        self._mask = places - 1
        self._marks = bytearray()
        """Empty while devices are told apart."""
        self._mark = 1
        """Of the youngest generation; 1, 2 and 3 take turns."""

    @property
    def is_exact(self) -> bool:
        """True while the devices are told apart."""
        return not self._marks

    def note(self, keys: Iterable[bytes], now_s: float) -> None:
        """Note the record keys of one batch."""
        self._turn(now_s)
        hashes = set(map(hash, keys))
        if self._marks:
            self._mark_all(hashes, self._mark)
            return
        young, middle, old = self._sets
        middle -= hashes
        old -= hashes
        young |= hashes
        if len(young) + len(middle) + len(old) > self._exact_max:
            self._estimate()

    def count(self, now_s: float) -> int:
        """Return the number of devices; 0.7 ms where they are many."""
        self._turn(now_s)
        if not self._marks:
            return sum(map(len, self._sets))
        places = len(self._marks)
        unmarked = max(1, self._marks.count(_NOBODY))
        return round(places * math.log(places / unmarked))

    def _estimate(self) -> None:
        self._marks = bytearray(self._mask + 1)
        for age in reversed(range(_GENERATIONS)):
            self._mark_all(self._sets[age], _mark_of_age(self._mark, age))
        self._sets = [set() for _ in range(_GENERATIONS)]

    def _mark_all(self, hashes: Iterable[int], mark: int) -> None:
        marks, mask = self._marks, self._mask
        for each in hashes:
            marks[each & mask] = mark

    def _turn(self, now_s: float) -> None:
        generations = int((now_s - self._began_s) / GENERATION_S)
        if generations <= 0:
            return
        self._began_s += generations * GENERATION_S
        for _ in range(min(generations, _GENERATIONS)):
            self._sets = [set(), *self._sets[:-1]]
            self._mark = _mark_of_age(self._mark, -1)
            if self._marks:  # What had the number before is the generation that goes.
                self._marks = self._marks.replace(bytes((self._mark,)), bytes((_NOBODY,)))
        if self._marks and self._marks.count(_NOBODY) == len(self._marks):
            self._marks = bytearray()


def _mark_of_age(youngest: int, age: int) -> int:
    """Give the mark of the generation that is so much older than the youngest."""
    return (youngest - 1 - age) % _GENERATIONS + 1
