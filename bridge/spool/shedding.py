"""Which records go over the disk because Kafka takes less than comes: the unimportant ones first.

Theory of operation. The load is how much of the room between the MQTT broker and Kafka is used. Up
to a first mark everything goes direct; above it what is of low importance goes to the spool, above
a second mark what is of medium importance too, and what is of high importance never does. A mark
counts when the load has stood above it for `RISE_S`: a burst that Kafka takes is no load. Back down
it goes a level at a time, once the load was `MARGIN` below the mark for `FALL_S`, and what was shed
has left the disk but for what passes by there: shedding is over once Kafka has caught up.

Rows leave while the load is below `DRAIN_BELOW` and only up to there, so that what comes back never
stands long before what is more important. Since a device follows its own rows, whoever was shed
stays on the disk until the load is that low: the levels do not swing.

What stands below nothing is never shed: with routes of one importance there is nobody to protect.
"""

import enum
from collections.abc import Collection
from typing import Final

RISE_S: Final = 0.2
FALL_S: Final = 2.0
MARGIN: Final = 0.2
DRAIN_BELOW: Final = 0.25


class Importance(enum.IntEnum):
    """The priority of a route or a device; a greater one is shed later."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2


class Shedding:
    """Turn the load into a level: how many classes of importance are shed."""

    def __init__(self, *, low_above: float, medium_above: float) -> None:
        """The marks are shares of the room, 0 to 1; nothing is shed before `protect`."""
        self.load = 0.0
        """As it was last looked at; above 1 where more is under way than there is room for."""
        self.shed: frozenset[Importance] = frozenset()
        """What goes over the disk now."""
        self._all_marks = ((low_above, Importance.LOW), (medium_above, Importance.MEDIUM))
        self._marks: list[tuple[float, Importance]] = []
        self._level = 0
        self._above_since: list[float | None] = []
        self._below_since: float | None = None

    def protect(self, classes: Collection[Importance]) -> None:
        """Learn which classes there are; begin anew if something else may be shed now."""
        highest = max(classes, default=Importance.LOW)
        marks = [mark for mark in self._all_marks if mark[1] in classes and mark[1] < highest]
        if marks != self._marks:
            self._marks = marks
            self._level = 0
            self._above_since = [None] * len(marks)
            self._below_since = None
            self.shed = frozenset()

    @property
    def is_on(self) -> bool:
        """True where something could be shed in favour of something else."""
        return bool(self._marks)

    @property
    def level(self) -> int:
        """Count the classes that are shed: 0, 1 or 2."""
        return self._level

    @property
    def drain_room(self) -> float:
        """Tell which share of the room rows may take now."""
        return max(0.0, DRAIN_BELOW - self.load)

    @property
    def next_back(self) -> Importance | None:
        """Name the class that goes direct again next."""
        return self._marks[self._level - 1][1] if self._level else None

    def look(self, load: float, now: float, *, is_behind: bool = False) -> bool:
        """Take the load of now; tell whether the level changed.

        `is_behind` says that the disk holds more of `next_back` than passes by there.
        """
        self.load = load
        before = self._level
        self._rise(load, now)
        if self._level == before:
            self._fall(load, now, is_behind=is_behind)
        if self._level == before:
            return False
        self._below_since = None
        self.shed = frozenset(importance for _, importance in self._marks[: self._level])
        return True

    def _rise(self, load: float, now: float) -> None:
        for number, (mark, _) in enumerate(self._marks):
            if load < mark:
                self._above_since[number] = None
                continue
            since = self._above_since[number]
            if since is None:
                self._above_since[number] = now
            elif now - since >= RISE_S:
                self._level = max(self._level, number + 1)

    def _fall(self, load: float, now: float, *, is_behind: bool) -> None:
        if not self._level or is_behind or load >= self._marks[self._level - 1][0] - MARGIN:
            self._below_since = None
        elif self._below_since is None:
            self._below_since = now
        elif now - self._below_since >= FALL_S:
            self._level -= 1
