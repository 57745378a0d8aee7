"""What the check says: points, one line each, and the verdict over all of them."""

import enum
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from bridge.config.paths import escaped
from bridge.errors import ExitCode
from bridge.observe.text import printable

_STANDING_WIDTH = 12


class Standing(enum.StrEnum):
    """How a point stands."""

    OK = "ok"
    FAIL = "FAIL"
    WARN = "warn"
    """Holds, but not as far as it could."""
    NOT_PROVEN = "not proven"
    """The check could not look; the remedy says how it could."""


class Group(enum.StrEnum):
    """Who is asked."""

    MQTT = "MQTT"
    KAFKA = "Kafka"
    HOST = "this host"


class Point(Struct, frozen=True):
    """One thing that the promise rests on, as it was found.

    A point that fails has an exit code: 69 where a service refused, 78 where something is set
    wrongly, here or there. So has one that could not be looked at and leaves the rest open.
    """

    group: Group
    name: str
    standing: Standing
    value: str
    remedy: str = ""
    exit_code: ExitCode = ExitCode.OK

    @property
    def line(self) -> str:
        """The point without its standing, on one line; peers may have written part of it."""
        text = f"{self.name}: {self.value}"
        return printable(f"{text}; {self.remedy}" if self.remedy else text)


def whole(text: str) -> str:
    """Put a name between quotes, uncut, so that no two points have one name."""
    return f'"{escaped(text)}"'


class Scribe:
    """Make the points of one group, in the words of the check."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def ok(self, name: str, value: str) -> Point:
        """It holds."""
        return Point(self._group, name, Standing.OK, value)

    def warn(self, name: str, value: str, remedy: str) -> Point:
        """It holds, but not as far as it could."""
        return Point(self._group, name, Standing.WARN, value, remedy)

    def not_proven(self, name: str, value: str, remedy: str) -> Point:
        """Nobody knows; the rest can be judged without it."""
        return Point(self._group, name, Standing.NOT_PROVEN, value, remedy)

    def not_looked_at(self, name: str, value: str, remedy: str) -> Point:
        """Nobody knows, and much hangs on it."""
        return Point(
            self._group, name, Standing.NOT_PROVEN, value, remedy, exit_code=ExitCode.UNAVAILABLE
        )

    def refused(self, name: str, value: str, remedy: str) -> Point:
        """A service refuses what the bridge needs."""
        return Point(
            self._group, name, Standing.FAIL, value, remedy, exit_code=ExitCode.UNAVAILABLE
        )

    def wrong(self, name: str, value: str, remedy: str) -> Point:
        """Something is set so that data would be lost."""
        return Point(
            self._group, name, Standing.FAIL, value, remedy, exit_code=ExitCode.CONFIGURATION
        )


def verdict(points: Sequence[Point]) -> str:
    """Say what would lose data first, or what is still open."""
    failed = [point for point in points if point.standing is Standing.FAIL]
    if failed:
        first = failed[0]
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return f"the first thing that would lose data: {first.group}: {first.line}{more}"
    open_points = [point for point in points if point.standing is Standing.NOT_PROVEN]
    if not open_points:
        return "the first thing that would lose data: none was found, every point is proven"
    names = ", ".join(printable(point.name) for point in open_points)
    return f"the first thing that would lose data: none was found; not proven: {names}"


def exit_code(points: Sequence[Point]) -> ExitCode:
    """A service that refuses comes first: until it answers, settings can wait."""
    codes = {point.exit_code for point in points}
    for code in (ExitCode.UNAVAILABLE, ExitCode.CONFIGURATION):
        if code in codes:
            return code
    return ExitCode.OK


def as_lines(points: Sequence[Point]) -> list[str]:
    """Write the points for a reader, each group under its name, and the verdict last."""
    lines: list[str] = []
    for group in Group:
        lines.append(f"{group}")
        lines += [
            f"  {point.standing:<{_STANDING_WIDTH}}{point.line}"
            for point in points
            if point.group is group
        ]
    return [*lines, verdict(points)]


def as_tree(points: Sequence[Point]) -> dict[str, Any]:
    """Write the same for a program."""
    return {
        "points": [
            {
                "group": str(point.group),
                "name": printable(point.name),
                "standing": str(point.standing),
                "value": printable(point.value),
                "remedy": printable(point.remedy),
            }
            for point in points
        ],
        "verdict": verdict(points),
        "exit_code": int(exit_code(points)),
    }
