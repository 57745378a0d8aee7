"""Which device has which place in the columns of a machine, and who gives way when all are taken.

A device of a machine is a number, its slot; what is known of it stands under that number in arrays.
So 100,000 devices are no 100,000 objects for the garbage collector, and no more than their numbers.
"""

from array import array
from collections.abc import Callable, Iterable, MutableSequence, Sequence
from typing import Any, Final, NamedTuple

SAMPLE: Final = 16
"""Slots looked at to find one that gives way; the least recent of 16 is among the oldest fifth in
97 of 100 cases, and no order has to be kept on the way of a message."""


_NUMBERS: Final[list[int]] = []
"""The numbers of slots, once for all machines: an int is an object of 32 bytes. Each stands at its
own place, so only one thread may enter devices: the event loop's."""


class Column(NamedTuple):
    """One number a device, or `width` of them side by side."""

    values: MutableSequence[Any]
    blank: float
    width: int = 1


def _nobody_minds(_: int) -> None:
    pass


class Slots:
    """Give each device a slot, at most `devices_max`; beyond that one long unheard loses its own.

    Invariant: `keys[index[key]] == key` for every key, and every column is as long as `keys`, times
    its width. A slot starts with the blanks of all columns, also one that another device had.
    """

    def __init__(
        self,
        *,
        devices_max: int,
        recency: Sequence[float],
        columns: Sequence[Column],
        evict: Callable[[int], None] = _nobody_minds,
    ) -> None:
        self.index: dict[bytes, int] = {}
        self.keys: list[bytes] = []
        self._devices_max = devices_max
        self._recency = recency
        """The column by which one gives way: the smaller, the sooner."""
        self._columns = columns
        # Like to like: an array takes another one whole, and a list item by item.
        self._blanks = [
            (each.values.extend, _blanks_of(each.values, [each.blank] * each.width))
            for each in columns
        ]
        self._evict = evict
        """Told the slot that is about to lose its device."""
        self._hand = 0

    def __len__(self) -> int:
        """Count the devices."""
        return len(self.keys)

    @property
    def is_full(self) -> bool:
        """Tell whether the next device would displace another."""
        return len(self.keys) >= self._devices_max

    def enter(self, key: bytes) -> int:
        """Give a slot to a device that has none."""
        if not self.is_full:
            slot = _number(len(self.keys))
            self.keys.append(key)
            for extend, blanks in self._blanks:
                extend(blanks)
        else:
            slot = self._least_recent()
            self._evict(slot)
            del self.index[self.keys[slot]]
            self.keys[slot] = key
            for column in self._columns:
                for at in range(slot * column.width, (slot + 1) * column.width):
                    column.values[at] = column.blank
        self.index[key] = slot
        return slot

    def _least_recent(self) -> int:
        count = len(self.keys)
        looked_at = [at % count for at in range(self._hand, self._hand + SAMPLE)]
        self._hand = (self._hand + SAMPLE) % count
        return min(looked_at, key=self._recency.__getitem__)


def _blanks_of(values: MutableSequence[Any], blanks: list[float]) -> Sequence[Any]:
    """Make what a column grows by, of the column's own kind."""
    return array(values.typecode, blanks) if isinstance(values, array) else blanks


def _number(slot: int) -> int:
    if slot == len(_NUMBERS):
        _NUMBERS.append(slot)
    return _NUMBERS[slot]


def slots_with(values: MutableSequence[int], wanted: Iterable[int], count: int) -> list[int]:
    """Find slots that have one of these values, `count` at most: some 15 ns a slot and value."""
    found: list[int] = []
    for value in wanted:
        start = 0
        while len(found) < count:
            try:
                start = values.index(value, start) + 1
            except ValueError:
                break
            found.append(start - 1)
    return found
