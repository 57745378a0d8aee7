"""What the catalogue says of one event."""

import enum

import msgspec


class Level(enum.StrEnum):
    """How much an event matters; error: somebody must act, warning: somebody should know."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Event(msgspec.Struct, frozen=True):
    """One entry; `bridge/observe/log.py` writes no event and no field that is not listed."""

    name: str
    level: Level
    fields: tuple[str, ...]
    allowed: frozenset[str]
    """The same fields, and `suppressed`, which any event may carry."""
    meaning: str
    action: str
    """What to do; empty where nothing needs to be done."""
    repeats_by: str
    """Field of a closed set that tells repetitions apart; empty: the name alone does."""


def event(  # noqa: PLR0913 - the columns of the table
    name: str,
    level: Level,
    fields: str,
    meaning: str,
    action: str = "",
    *,
    repeats_by: str = "",
) -> Event:
    """Make an entry; `fields` is a list separated by blanks."""
    listed = tuple(fields.split())
    assert not repeats_by or repeats_by in listed, f"event {name!r} has no field {repeats_by!r}"
    return Event(
        name, level, listed, frozenset({*listed, "suppressed"}), meaning, action, repeats_by
    )
