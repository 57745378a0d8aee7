"""How a key and its value are written in messages: readable, on one line, never a secret."""

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value stands: `("route", 0, "filter")` is `route[0].filter`."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_SECRET = re.compile(r"passw(or)?d|secret|token|credential|key\.pem|sasl", re.IGNORECASE)
LEVELS_MAX = 32
"""Of tables and arrays in each other: far above what any setting has, far below Python's stack."""
_SHOWN_MAX = 80
"""Characters of a value that a message shows: enough to find it, too few to drown the line."""


def key_text(path: KeyPath) -> str:
    """Write a path as TOML would: `route[0].filter`, `kafka.properties."linger.ms"`."""
    text = ""
    for level in path:
        if isinstance(level, int):
            text += f"[{level}]"
        else:
            bare = level if _BARE_KEY.fullmatch(level) and len(level) <= _SHOWN_MAX else None
            text += ("." if text else "") + (bare or quoted(level))
    return text


def quoted(text: str) -> str:
    """Put text between quotes, cut when long, with whatever no terminal should see escaped."""
    cut = text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "..."
    return '"' + escaped(cut) + '"'


def quoted_path(path: Path | str) -> str:
    """Put the path of a file between quotes, whole: its end is what tells it from others."""
    return '"' + escaped(str(path)) + '"'


def escaped(text: str) -> str:
    """Escape control and other unprintable characters, quotes and backslashes."""
    return "".join(_escaped_character(character) for character in text)


def _escaped_character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")


def is_text(text: str) -> bool:
    """Tell whether it can be written as UTF-8: the environment may hold any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def looks_secret(path: KeyPath) -> bool:
    """Tell whether a value at this path might be a secret that someone wrote in the open."""
    return any(isinstance(level, str) and _SECRET.search(level) for level in path)


def shown(value: object, path: KeyPath) -> str:
    """Write a value for a message: scalars as TOML has them, tables and secrets only by name."""
    match value:
        case dict():
            return "a table"
        case list() | tuple():
            return "an array"
        case _ if looks_secret(path):
            return "a value that is not shown here"
        case bool():
            return "true" if value else "false"
        case str():
            return quoted(value)
        case _:
            return str(value)[:_SHOWN_MAX]


def first_strange_number(tree: object, path: KeyPath = ()) -> tuple[KeyPath, str] | None:
    """Find a number that TOML writes but no setting takes: nan, inf, more than 64 bits."""
    if isinstance(tree, float) and not math.isfinite(tree):
        return path, f"Expected a finite number, got {tree}"
    if isinstance(tree, int) and not -(2**63) <= tree < 2**63:
        return path, "Expected a number of at most 64 bits"
    for level, value in children(tree):
        found = first_strange_number(value, (*path, level))
        if found is not None:
            return found
    return None


def too_deep(tree: object) -> KeyPath | None:
    """Find where tables and arrays stand in each other beyond `LEVELS_MAX`; no recursion itself."""
    path: list[str | int] = []
    pending = [iter(children(tree))]
    while pending:
        for level, value in pending[-1]:
            if isinstance(value, dict | list | tuple) and value:
                path.append(level)
                if len(path) > LEVELS_MAX:
                    return tuple(path)
                pending.append(iter(children(value)))
                break
        else:
            pending.pop()
            del path[-1:]
    return None


def children(tree: object) -> Iterable[tuple[str | int, Any]]:
    """Yield the keys, or indexes, of a table or array with what stands there."""
    if isinstance(tree, dict):
        return tree.items()
    if isinstance(tree, list | tuple):
        return enumerate(tree)
    return ()


def leaves(tree: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:  # noqa: ANN401
    """Yield every value that stands in no further table, with its path."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, (*path, key))
    elif isinstance(tree, list) and any(isinstance(element, dict) for element in tree):
        for index, element in enumerate(tree):
            yield from leaves(element, (*path, index))
    else:
        yield path, tree


def at(tree: Any, path: KeyPath) -> Any:  # noqa: ANN401 - raw TOML has any type
    """Return what stands at a path that is known to exist."""
    for level in path:
        tree = tree[level]
    return tree
