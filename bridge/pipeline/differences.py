"""What two sets of rules say differently, counted: in closed labels, and by firmware in a bound."""

import enum
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec

from bridge.fleet.registry import UNKNOWN
from bridge.pipeline.rule_set import DECIDED
from bridge.pipeline.verdict import Reason
from bridge.pipeline.wording import escape

GROUPS_MAX: Final = 256
"""Groups kept at least; up to twice as many between two clearings, some 0.5 MB."""
EXAMPLES_MAX: Final = 3
FIRMWARE_CHARACTERS_MAX: Final = 64
DEVICE_CHARACTERS_MAX: Final = 64
NO_REASON: Final = "none"
"""Stands in the place of a reason where a reading passes both sets."""


class Change(enum.StrEnum):
    """What the second set makes of what the first says."""

    NEWLY_FAILS = "newly_fails"
    NEWLY_PASSES = "newly_passes"
    UNCHANGED = "unchanged"


class GroupKey(msgspec.Struct, frozen=True):
    """What readings of one group have in common; the firmware is escaped and cut."""

    change: Change
    reason: Reason
    device_type: str
    firmware: str
    """Empty: the device tells none."""


class Group(msgspec.Struct):
    """How many readings, and the last few devices."""

    count: int = 0
    missed_max: int = 0
    """So many may have come before it was forgotten: 0, the count is exact."""
    examples: dict[str, str] = msgspec.field(default_factory=dict)
    """Device id and detail of the last devices, oldest first."""


Verdicts = tuple[Change, str, str]
"""Change, reason, device type."""


class Differences:
    """Counts; whatever devices call their firmware, memory stays bounded.

    `verdicts` grows with closed sets alone. Groups are made of what devices say: where more come
    than fit, the rare ones are forgotten, and one that comes again says how many it may lack.
    """

    def __init__(self, groups_max: int = GROUPS_MAX) -> None:
        self.judged = 0
        self.readings = dict.fromkeys(Change, 0)
        """Whole readings: one that fails newly passed all rules before."""
        self.verdicts: dict[Verdicts, int] = _zeros(UNKNOWN)
        self._groups: dict[GroupKey, Group] = {}
        self._groups_max = groups_max
        self._forgotten_max = 0

    def pass_both(self, device_type: str, count: int = 1) -> None:
        """Count readings that pass by both sets."""
        self.judged += count
        self.readings[Change.UNCHANGED] += count
        self._count(Change.UNCHANGED, NO_REASON, device_type, count)

    def note(
        self,
        today: Mapping[Reason, str],
        then: Mapping[Reason, str],
        *,
        device_type: str,
        device_id: str,
        firmware: str | None,
    ) -> None:
        """Count a reading that fails by one of the sets at least; both give reason and detail."""
        self.judged += 1
        self.readings[_of_reading(today, then)] += 1
        for reason, detail in {**today, **then}.items():
            change = change_of(reason, today, then)
            self._count(change, reason, device_type, 1)
            if change is not Change.UNCHANGED:
                shown = escape(firmware or "", FIRMWARE_CHARACTERS_MAX)
                key = GroupKey(change, reason, device_type, shown)
                self._note_group(key, escape(device_id, DEVICE_CHARACTERS_MAX), detail)

    def groups(self) -> list[tuple[GroupKey, Group]]:
        """Give the groups that differ, the largest first."""

        def order(each: tuple[GroupKey, Group]) -> tuple[int, tuple[str, ...]]:
            return -each[1].count, msgspec.structs.astuple(each[0])

        return sorted(self._groups.items(), key=order)

    @property
    def is_exact(self) -> bool:
        """Tell whether no group was ever forgotten."""
        return not self._forgotten_max

    def _count(self, change: Change, reason: str, device_type: str, count: int) -> None:
        key = change, str(reason), device_type
        if key not in self.verdicts:
            self.verdicts |= _zeros(device_type)
        self.verdicts[key] += count

    def _note_group(self, key: GroupKey, device_id: str, detail: str) -> None:
        group = self._groups.get(key)
        if group is None:
            if len(self._groups) >= 2 * self._groups_max:
                self._forget()
            group = self._groups[key] = Group(missed_max=self._forgotten_max)
        group.count += 1
        examples = group.examples
        examples.pop(device_id, None)
        examples[device_id] = detail
        if len(examples) > EXAMPLES_MAX:
            del examples[next(iter(examples))]

    def _forget(self) -> None:
        ordered = sorted(
            self._groups.items(), key=lambda each: -(each[1].count + each[1].missed_max)
        )
        first = ordered[self._groups_max][1]
        self._forgotten_max = first.count + first.missed_max
        self._groups = dict(ordered[: self._groups_max])


def change_of(reason: Reason, today: Collection[Reason], then: Collection[Reason]) -> Change:
    """Tell what becomes of one reason that either set gives."""
    if reason not in today:
        return Change.NEWLY_FAILS
    return Change.UNCHANGED if reason in then else Change.NEWLY_PASSES


def _of_reading(today: Collection[Reason], then: Collection[Reason]) -> Change:
    if bool(today) == bool(then):
        return Change.UNCHANGED
    return Change.NEWLY_FAILS if then else Change.NEWLY_PASSES


def _labels() -> Iterator[tuple[Change, str]]:
    yield Change.UNCHANGED, NO_REASON
    for reason in DECIDED:
        for change in Change:
            yield change, str(reason)


def _zeros(device_type: str) -> dict[Verdicts, int]:
    """Have every series of a type from its first reading on."""
    return {(change, reason, device_type): 0 for change, reason in _labels()}
