"""From the raw tree to the structs, with every wrong value on the way, not only the first.

Theory of operation: msgspec stops at the first wrong value. So it is asked again and again: the
value it names is noted and taken out of the tree, so that its default stands, until the rest is
clean. Unknown keys go before that, so the paths that msgspec names are made of our keys alone.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from bridge.config import shape
from bridge.config.paths import KeyPath, at, first_strange_number, key_text, leaves
from bridge.config.problems import Problem
from bridge.config.sections import BridgeConfig
from bridge.config.wording import PROPERTIES, explain_property, explain_unknown, explain_value

PROBLEMS_MAX = 200
"""More than anybody reads; bounds the work on a file that is something else altogether."""

_PATH_LEVEL = re.compile(r"\.(?P<key>[A-Za-z0-9_]+)|\[(?P<index>\d+|\.\.\.)\]")
_HIDDEN = "..."
"""How msgspec writes a key of a dict."""


class Conversion:
    """One tree on its way to a configuration; `problems` name the paths of the original tree."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.problems: list[Problem] = []
        self._tree = copy.deepcopy(dict(tree))
        self._removed: dict[KeyPath, list[int]] = {}
        """The original indexes of elements that were taken out of each array."""

    def convert(self) -> BridgeConfig:
        """Return the configuration of what is right, with defaults where it was not."""
        self._refuse_unknown_keys()
        while len(self.problems) < PROBLEMS_MAX:
            try:
                config = msgspec.convert(self._tree, BridgeConfig)
            except msgspec.ValidationError as error:
                message, _, where = str(error).rpartition(" - at `$")
                path = self._locate(message, where.removesuffix("`"))
                self._refuse(path, explain_value(message, path, self._tree))
                continue
            strange = first_strange_number(self._tree)
            if strange is None:
                return config
            self._refuse(*strange)
        return BridgeConfig()

    def _refuse_unknown_keys(self) -> None:
        misread: set[str | int] = set()
        for path in list(shape.unknown_keys(self._tree)):
            if path[: len(PROPERTIES)] != PROPERTIES:
                self._refuse(path, explain_unknown(path))
                continue
            # A property name whose dots were not quoted became tables; the whole of it goes.
            for leaf, _ in leaves(at(self._tree, path), path):
                self.problems.append(Problem(leaf, explain_property(leaf)))
            misread.add(path[len(PROPERTIES)])
        for name in misread:
            del at(self._tree, PROPERTIES)[name]

    def original(self, path: KeyPath) -> KeyPath:
        """Undo what removals did to the indexes, so that the path fits the file again."""
        result: KeyPath = ()
        for level in path:
            if isinstance(level, int):
                index = level
                for gone in sorted(self._removed.get(result, ())):
                    index += gone <= index
                result = (*result, index)
            else:
                result = (*result, level)
        return result

    def _refuse(self, path: KeyPath, text: str) -> None:
        self.problems.append(Problem(self.original(path), text))
        self._remove(path)

    def _remove(self, path: KeyPath) -> None:
        container = at(self._tree, path[:-1])
        if isinstance(container, list):
            *array, index = self.original(path)
            self._removed.setdefault(tuple(array), []).append(int(index))
        del container[path[-1]]
        if isinstance(container, list) and not container:
            # An array emptied here would be wrong for a reason that is not in the file.
            self._remove(path[:-1])

    def _locate(self, message: str, where: str) -> KeyPath:
        """Turn msgspec's `.route[0].filter` into a path."""
        path: KeyPath = ()
        for level in _PATH_LEVEL.finditer(where):
            if level["index"] == _HIDDEN:
                path = (*path, self._guilty_key(message, where[level.end() :], path))
            elif level["index"] is not None:
                path = (*path, int(level["index"]))
            else:
                path = (*path, level["key"])
        return path

    def _guilty_key(self, message: str, rest: str, path: KeyPath) -> str:
        table: dict[str, Any] = at(self._tree, path)
        for key, value in table.items():
            trial: Any = {key: value}
            for level in reversed(path):
                trial = {level: trial}
            try:
                msgspec.convert(trial, BridgeConfig)
            except msgspec.ValidationError as error:
                if str(error).startswith(message) and str(error).endswith(f"{rest}`"):
                    return key
        raise AssertionError(f"no key of {key_text(path)} is to blame for: {message}")
