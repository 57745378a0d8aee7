"""Which of some files have changed and come to rest; looked at in a thread, never opened.

A file that is being written looks different the next time, and one that an editor is replacing is
gone for a moment: neither is a change yet. What a symbolic link points to counts, so the links that
certbot and Kubernetes turn are seen.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

LOOK_EVERY_S: Final = 2.0
"""A change is told after two looks that agree; 20 files take 0.1 ms in their thread."""


class Seen(NamedTuple):
    """What a file looks like from outside."""

    changed_ns: int
    size: int
    inode: int
    status_changed_ns: int
    """Who may read it is a change too: a file may be refused for that, and then allowed."""


Look: TypeAlias = Seen | None
"""None: it is not there."""


def look_at(path: Path) -> Look:
    """Tell what a file looks like; blocking, so for a thread."""
    try:
        seen = path.stat()
    except (OSError, ValueError):
        return None
    return Seen(seen.st_mtime_ns, seen.st_size, seen.st_ino, seen.st_ctime_ns)


class FileChanges:
    """Decide from looks what has changed.

    Invariant: each state of a file is told at most once, and only after two looks that agree.
    """

    def __init__(self, first: Mapping[Path, Look] = MappingProxyType({})) -> None:
        """`first` is what files looked like when they were read; of others the first look is it."""
        self._taken: dict[Path, Look] = dict(first)
        self._seen: dict[Path, Look] = dict(first)

    def take(self, looks: dict[Path, Look]) -> frozenset[Path]:
        """Take what all files look like; return those that changed. The first look is none."""
        changed = set()
        for path, look in looks.items():
            is_known = path in self._taken
            if not is_known:
                self._taken[path] = look
            elif look is not None and look != self._taken[path] and look == self._seen[path]:
                self._taken[path] = look
                changed.add(path)
            self._seen[path] = look
        for path in self._taken.keys() - looks.keys():
            del self._taken[path], self._seen[path]
        return frozenset(changed)


class FileWatch:
    """Look again and again, and say what changed."""

    def __init__(
        self,
        files: Callable[[], Iterable[Path]],
        on_change: Callable[[frozenset[Path]], None],
        *,
        first: Mapping[Path, Look] = MappingProxyType({}),
        every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`files` is asked each time, since a reload may name others."""
        self._files = files
        self._on_change = on_change
        self._every_s = every_s
        self._changes = FileChanges(first)

    async def run(self) -> None:
        """Look, wait, look again, for ever."""
        while True:
            files = list(self._files())
            changed = self._changes.take(await asyncio.to_thread(_look_at_all, files))
            if changed:
                self._on_change(changed)
            await asyncio.sleep(self._every_s)


def _look_at_all(files: list[Path]) -> dict[Path, Look]:
    return {path: look_at(path) for path in files}
