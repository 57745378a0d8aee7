"""Numbers by when they are due: a wheel of buckets instead of one long order."""

from array import array
from typing import Final

_NONE_DUE: Final = array("l")


class Wheel:
    """Give back each number once, when it is due.

    Invariant: no number is given before its time, nor later than `tick_s` after it to one who asks.
    What is placed in the past is given to the next who asks.
    """

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self._buckets: dict[int, array[int]] = {}
        self._cursor = 0
        """No bucket below it holds anything."""

    def place(self, number: int, at_s: float) -> None:
        """Note when a number is due."""
        at = int(at_s // self._tick_s) + 1
        if at < self._cursor:  # noqa: PLR1730 - max() costs 0.1 us more
            at = self._cursor
        bucket = self._buckets.get(at)
        if bucket is None:
            self._buckets[at] = array("l", (number,))
        else:
            bucket.append(number)

    def place_each(self, numbers: list[int], at_s: list[float]) -> None:
        """Note when each of some numbers is due: half of what `place` costs, one by one."""
        tick_s, cursor, buckets = self._tick_s, self._cursor, self._buckets
        before, bucket = -1, array("l")
        for number, due_s in zip(numbers, at_s, strict=True):
            at = int(due_s // tick_s) + 1
            if at < cursor:  # noqa: PLR1730 - max() costs 0.1 us more
                at = cursor
            if at != before:  # Those heard together are due together.
                before = at
                bucket = buckets.setdefault(at, array("l"))
            bucket.append(number)

    def place_all(self, numbers: list[int], at_s: float) -> None:
        """Note when numbers are due, all at one time."""
        if numbers:
            at = max(int(at_s // self._tick_s) + 1, self._cursor)
            self._buckets.setdefault(at, array("l")).extend(array("l", numbers))

    def take(self, now_s: float, count: int) -> "array[int]":
        """Remove and return some numbers that are due, `count` at most; none: nothing is due."""
        last = int(now_s // self._tick_s)
        while self._cursor <= last:
            bucket = self._buckets.get(self._cursor)
            if bucket is None:
                self._cursor += 1
            elif len(bucket) <= count:
                return self._buckets.pop(self._cursor)
            else:
                taken = bucket[-count:]
                del bucket[-count:]
                return taken
        return _NONE_DUE[:]
