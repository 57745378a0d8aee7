"""What two sets of rules say differently, counted: in closed labels, and by firmware in a bound."""

import enum
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

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


_CHANGES: Final = tuple(each.value for each in Change)
_NEWLY_FAILS, _NEWLY_PASSES, _UNCHANGED = _CHANGES


class GroupKey(NamedTuple):
    """What readings of one group have in common, as plain text: an enum member hashes slowly."""

    change: str
    reason: str
    device_type: str
    firmware: str
    """Escaped and cut; empty: the device tells none."""


class Group(msgspec.Struct):
    """How many readings, and the last few devices."""

    count: int = 0
    missed_max: int = 0
    """So many may have come before it was forgotten: 0, the count is exact."""
    examples: dict[str, str] = msgspec.field(default_factory=dict)
    """Device id and detail of the last devices, oldest first."""


Labels = tuple[str, str, str]
"""Change, reason, device type."""


class Differences:
    """Counts; whatever devices call their firmware, memory stays bounded.

    `verdicts` grows with closed sets alone. Groups are made of what devices say: where more come
    than fit, the rare ones are forgotten, and one that comes again says how many it may lack.
    """

    def __init__(self, groups_max: int = GROUPS_MAX) -> None:
        self._readings = dict.fromkeys(_CHANGES, 0)
        self._passing: dict[str, int] = {}
        """Readings that pass both sets, nearly all: by device type alone, since that is fast."""
        self._verdicts: dict[Labels, int] = _zeros(UNKNOWN)
        self._groups: dict[GroupKey, Group] = {}
        self._groups_max = groups_max
        self._forgotten_max = 0

    def pass_both(self, device_type: str, count: int = 1) -> None:
        """Count readings that pass by both sets."""
        self._passing[device_type] = self._passing.get(device_type, 0) + count

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
        self._readings[_of_reading(today, then)] += 1
        for reason, detail in {**today, **then}.items():
            change, name = _change_of(reason, today, then), reason.value
            labels = change, name, device_type
            if labels not in self._verdicts:
                self._verdicts |= _zeros(device_type)
            self._verdicts[labels] += 1
            if change != _UNCHANGED:
                shown = escape(firmware or "", FIRMWARE_CHARACTERS_MAX)
                key = GroupKey(change, name, device_type, shown)
                self._note_group(key, escape(device_id, DEVICE_CHARACTERS_MAX), detail)

    @property
    def judged(self) -> int:
        """Count all readings."""
        return sum(self._readings.values()) + sum(self._passing.values())

    @property
    def readings(self) -> dict[str, int]:
        """Count whole readings by change: one that fails newly passed every rule before."""
        passing = sum(self._passing.values())
        return {**self._readings, _UNCHANGED: self._readings[_UNCHANGED] + passing}

    @property
    def verdicts(self) -> dict[Labels, int]:
        """Count each reason of each reading; every series of a type is there from its first on."""
        counts = dict(self._verdicts)
        for device_type, count in self._passing.items():
            if (_UNCHANGED, NO_REASON, device_type) not in counts:
                counts |= _zeros(device_type)
            counts[_UNCHANGED, NO_REASON, device_type] += count
        return counts

    def groups(self) -> list[tuple[GroupKey, Group]]:
        """Give the groups that differ, the largest first."""

        def order(each: tuple[GroupKey, Group]) -> tuple[int, tuple[str, ...]]:
            return -each[1].count, each[0]

        return sorted(self._groups.items(), key=order)

    @property
    def is_exact(self) -> bool:
        """Tell whether no group was ever forgotten."""
        return not self._forgotten_max

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


def _change_of(reason: Reason, today: Collection[Reason], then: Collection[Reason]) -> str:
    if reason not in today:
        return _NEWLY_FAILS
    return _UNCHANGED if reason in then else _NEWLY_PASSES


def _of_reading(today: Collection[Reason], then: Collection[Reason]) -> str:
    if bool(today) == bool(then):
        return _UNCHANGED
    return _NEWLY_FAILS if then else _NEWLY_PASSES


def _labels() -> Iterator[tuple[str, str]]:
    yield _UNCHANGED, NO_REASON
    for reason in DECIDED:
        for change in _CHANGES:
            yield change, reason.value


def _zeros(device_type: str) -> dict[Labels, int]:
    """Have every series of a type from its first reading on."""
    return {(change, reason, device_type): 0 for change, reason in _labels()}
