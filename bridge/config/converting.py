"""From the raw tree to the structs, with every wrong value on the way, not only the first.

Theory of operation: msgspec stops at the first wrong value. So it is asked again and again: the
value it names is noted and taken out of the tree, so that its default stands, until the rest is
clean. Unknown keys go before that, so the paths that msgspec names are made of our keys alone.
"""

import copy
import re
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec

from bridge.config import shape
from bridge.config.paths import KeyPath, at, first_strange_number, key_text, leaves
from bridge.config.problems import Problem
from bridge.config.sections import Section
from bridge.config.wording import PROPERTIES, explain_property, explain_unknown, explain_value

PROBLEMS_MAX = 200
"""More than anybody reads; bounds the work on a file that is something else altogether."""

_PATH_LEVEL = re.compile(r"\.(?P<key>[A-Za-z0-9_]+)|\[(?P<index>\d+|\.\.\.)\]")
_MISSING = "Object missing required field"
_HIDDEN = "..."
"""How msgspec writes a key of a dict."""


Root = TypeVar("Root", bound=Section)


class Conversion(Generic[Root]):
    """One tree on its way to the struct of its file; `problems` name paths of the original tree."""

    def __init__(self, tree: Mapping[str, Any], root: type[Root]) -> None:
        self.problems: list[Problem] = []
        self._tree = copy.deepcopy(dict(tree))
        self._root = root
        self._removed: dict[KeyPath, list[int]] = {}
        """The original indexes of elements that were taken out of each array."""

    def convert(self) -> Root:
        """Return the struct of what is right, with defaults where it was not."""
        self._refuse_unknown_keys()
        while len(self.problems) < PROBLEMS_MAX:
            try:
                config = msgspec.convert(self._tree, self._root)
            except msgspec.ValidationError as error:
                message, _, where = str(error).rpartition(" - at `$")
                path = self._locate(message, where.removesuffix("`"))
                if message.startswith(_MISSING) and self._has_lost_a_key(path):
                    self._remove(path)  # What is missing is what was taken out, or was misspelt.
                    continue
                self._refuse(path, explain_value(message, path, self._tree, self._root))
                continue
            strange = first_strange_number(self._tree)
            if strange is None:
                return config
            self._refuse(*strange)
        return self._root()

    def _refuse_unknown_keys(self) -> None:
        misread: set[str | int] = set()
        for path in list(shape.unknown_keys(self._tree, root=self._root)):
            if path[: len(PROPERTIES)] != PROPERTIES:
                self._refuse(path, explain_unknown(path, self._root))
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

    def _has_lost_a_key(self, path: KeyPath) -> bool:
        table = self.original(path)
        return any(
            problem.path[: len(table)] == table and problem.path != table
            for problem in self.problems
        )

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
                msgspec.convert(trial, self._root)
            except msgspec.ValidationError as error:
                if str(error).startswith(message) and str(error).endswith(f"{rest}`"):
                    return key
        raise AssertionError(f"no key of {key_text(path)} is to blame for: {message}")
