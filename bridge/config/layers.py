"""The layers of the configuration: file, environment, --set; laid over each other, later wins.

Each value keeps its origin, so that a message can name the line, variable or argument to change.
"""

import copy
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bridge.config import toml_text
from bridge.config.lines import lines_of
from bridge.config.paths import (
    LEVELS_MAX,
    KeyPath,
    at,
    children,
    escaped,
    is_text,
    key_text,
    quoted,
    quoted_path,
    shown,
    too_deep,
)
from bridge.config.problems import Problem
from bridge.config.sections import BridgeConfig, Secret

FILE_BYTES_MAX = 1_048_576
"""A thousand routes fit; a wrong path such as /dev/zero ends here."""

DEFAULT = "default"
_PREFIX = "BRIDGE__"
_SECRET_KEYS = frozenset(Secret.__struct_fields__)
_DEFAULTS: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(BridgeConfig()))
_KEY_LEVEL = re.compile(
    r"""\.?(?:(?P<bare>[A-Za-z0-9_-]+)|"(?P<quoted>[^"]+)"|'(?P<literal>[^']+)')"""
    r"(?P<indexes>(?:\[[0-9]{1,6}\])*)"
)


class Layers:
    """The merged tree, not yet judged, and where each of its values comes from."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.problems: list[str] = []
        self._origins: dict[KeyPath, str] = {}

    def add_file(self, path: Path) -> None:
        """Lay the file down first.

        Raises:
            ConfigError: it cannot be read or is no TOML, so nothing else can be said of it.
        """
        where = f"config file {quoted_path(path)}"
        content = toml_text.read(
            path, where, bytes_max=FILE_BYTES_MAX, remedy="--config names the file"
        )
        text = toml_text.decode(content, where)
        self.tree = toml_text.parse(text, where)
        for key, line in lines_of(text).items():
            self._origins[key] = f"{where} line {line}"

    def add_environment(self, environment: Mapping[str, str]) -> None:
        """Lay the variables BRIDGE__SECTION__KEY over what is there; short names first."""
        assignments: dict[KeyPath, tuple[str, str]] = {}
        for name, value in environment.items():
            if not name.upper().startswith(_PREFIX):
                continue
            levels = name[len(_PREFIX) :].lower().split("__")
            origin = f"environment variable {quoted(name)}"
            if not is_text(name + value):
                self.problems.append(f"{origin}: is not UTF-8; write it as text")
                continue
            if "" in levels:
                self.problems.append(
                    f"{origin}: a level has no name; write {_PREFIX}SECTION__KEY=value"
                )
                continue
            if len(levels) > LEVELS_MAX:
                self.problems.append(f"{origin}: has more than {LEVELS_MAX} levels; no key has")
                continue
            key = tuple(int(level) if _is_index(level) else level for level in levels)
            if key in assignments:
                self.problems.append(
                    f"{origin}: {key_text(key)}: is given twice, case does not count; unset one"
                )
            assignments[key] = (value, origin)
        # A table comes before its keys, and element 2 before element 10.
        for key in sorted(assignments, key=lambda key: (len(key), _sortable(key))):
            value, origin = assignments[key]
            self._assign(key, _literal(value), origin)

    def add_overrides(self, overrides: Sequence[str]) -> None:
        """Lay the arguments KEY=VALUE of --set over what is there, in their order."""
        for override in overrides:
            key, value = _split_override(override)
            if key is None:
                # The text may be a secret that lost its key, so only its start is repeated.
                self.problems.append(
                    f"argument --set {quoted(override.partition('=')[0])}: is not KEY=VALUE;"
                    " write --set mqtt.port=1884 or --set 'route[0].kafka_topic=x'"
                )
                continue
            if len(key) > LEVELS_MAX:
                self.problems.append(
                    f"argument --set {key_text(key[:2])}: has more than {LEVELS_MAX} levels; no key"
                    " has"
                )
                continue
            self._assign(key, _literal(value), f"argument --set {key_text(key)}")

    def origin(self, path: KeyPath) -> str:
        """Return where exactly this value comes from; `default` where nobody set it."""
        return self._origins.get(path, DEFAULT)

    def render(self, problem: Problem) -> str:
        """Write a problem as one line, after the origin of what there is to change."""
        text = f"{key_text(problem.path)}: {problem.text}"
        origin = self._nearest_origin(problem)
        return text if origin is None else f"{origin}: {text}"

    def _nearest_origin(self, problem: Problem) -> str | None:
        """Look at the key and what is in it, at the other keys it is about, then around it."""
        for path in (problem.path, *problem.also):
            for key, origin in self._origins.items():
                if key[: len(path)] == path:
                    return origin
        for length in range(len(problem.path) - 1, 0, -1):
            found = self._origins.get(problem.path[:length])
            if found is not None:
                return found
        return None

    def _assign(self, path: KeyPath, value: object, origin: str) -> None:
        container: Any = self.tree
        for depth, level in enumerate(path):
            if not self._make_room(container, path[:depth], level, origin):
                return
            if depth == len(path) - 1:
                break
            if not isinstance(container[level], dict | list):
                self._replace_scalar(container, path[: depth + 1])
            container = container[level]
        leaf = path[-1]
        standing = container[leaf]
        if isinstance(value, dict) and isinstance(standing, dict):
            self._origins.setdefault(path, origin)
            for key, inner in value.items():
                self._assign((*path, key), inner, origin)
            return
        container[leaf] = value
        self._forget(path)
        self._note(path, value, origin)

    def _make_room(
        self,
        container: Any,  # noqa: ANN401
        path: KeyPath,
        level: str | int,
        origin: str,
    ) -> bool:
        """See to it that `container[level]` exists, or say why it cannot."""
        if isinstance(container, list):
            return self._make_element(container, path, level, origin)
        if isinstance(level, int):
            self.problems.append(
                f"{origin}: {key_text(path) or 'top level'} has keys, not elements such as {level}"
            )
            return False
        if _SECRET_KEYS.issuperset(container) and level in _SECRET_KEYS:
            # A secret names one source: the one of a later layer replaces that of an earlier one.
            for key in [key for key in container if self._is_older((*path, key), origin)]:
                del container[key]
        if level not in container:
            default = _default((*path, level))
            container[level] = default if isinstance(default, list) else {}
        return True

    def _is_older(self, path: KeyPath, origin: str) -> bool:
        return self.origin(path).partition(" ")[0] != origin.partition(" ")[0]

    def _make_element(
        self, container: list[Any], path: KeyPath, level: str | int, origin: str
    ) -> bool:
        key = key_text(path)
        if not isinstance(level, int):
            self.problems.append(f'{origin}: {key} is an array; write "{key}[0].{escaped(level)}"')
            return False
        if level > len(container):
            self.problems.append(
                f"{origin}: {key}[{level}] does not exist and is not the next one;"
                f" the next one is {key}[{len(container)}]"
            )
            return False
        if level == len(container):
            container.append({})
        return True

    def _replace_scalar(self, container: Any, path: KeyPath) -> None:  # noqa: ANN401
        standing = container[path[-1]]
        self.problems.append(
            self.render(Problem(path, f"Expected a table, got {shown(standing, path)}"))
        )
        container[path[-1]] = {}

    def _forget(self, path: KeyPath) -> None:
        for key in [key for key in self._origins if key[: len(path)] == path]:
            del self._origins[key]

    def _note(self, path: KeyPath, value: object, origin: str) -> None:
        self._origins[path] = origin
        for level, inner in children(value):
            self._note((*path, level), inner, origin)


def _literal(text: str) -> object:
    """Read a value as a TOML literal, else take it as the text it is."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    # Text of several lines may parse as more than one key; then it is no literal.
    return parsed["value"] if len(parsed) == 1 and too_deep(parsed) is None else text


def _split_override(override: str) -> tuple[KeyPath | None, str]:
    path: list[str | int] = []
    position = 0
    while match := _KEY_LEVEL.match(override, position):
        if match[0].startswith(".") != bool(path):
            return None, ""
        path.append(match["bare"] or match["quoted"] or match["literal"])
        path.extend(int(index) for index in re.findall("[0-9]+", match["indexes"]))
        position = match.end()
    rest = override[position:].lstrip(" \t")
    if not path or not rest.startswith("="):
        return None, ""
    return tuple(path), rest[1:].strip(" \t")


def _is_index(level: str) -> bool:
    return level.isascii() and level.isdigit() and len(level) <= len("999999")


def _sortable(path: KeyPath) -> list[tuple[str, int]]:
    return [(level, 0) if isinstance(level, str) else ("", level) for level in path]


def _default(path: KeyPath) -> object:
    # Of an array the first element stands for all.
    pattern = tuple(0 if isinstance(level, int) else level for level in path)
    try:
        return copy.deepcopy(at(_DEFAULTS, pattern))
    except (KeyError, IndexError, TypeError):
        return None
