"""Repeated events: the first few are written, the rest are counted, and the count is written."""

from collections.abc import Hashable, Iterator
from typing import TypeAlias

import msgspec

WRITTEN_PER_WINDOW = 10
WINDOW_S = 10.0
KEYS_MAX = 512
"""Keys come from closed sets, so this is never reached; a mistake there must not cost memory."""

Key: TypeAlias = tuple[str, Hashable]


class _Window(msgspec.Struct):
    started_s: float
    written: int = 0
    suppressed: int = 0


class RepeatLimiter:
    """Let the first events of each key through in each window, and lose no count of the rest.

    Every suppressed event is reported exactly once: by the next event of its key that is written
    (`admit` gives it the count), or, where none follows, by `expire` after the window ended.
    """

    def __init__(
        self,
        *,
        written_per_window: int = WRITTEN_PER_WINDOW,
        window_s: float = WINDOW_S,
        keys_max: int = KEYS_MAX,
    ) -> None:
        self._written_per_window = written_per_window
        self._window_s = window_s
        self._keys_max = keys_max
        self._windows: dict[Key, _Window] = {}

    def admit(self, key: Key, now_s: float) -> int | None:
        """Return None to suppress, else how many were suppressed since the last one written."""
        window = self._windows.get(key)
        if window is None:
            window = self._open(key, now_s)
        if now_s - window.started_s >= self._window_s:
            window.started_s = now_s
            window.written = 0
        if window.written >= self._written_per_window:
            window.suppressed += 1
            return None
        window.written += 1
        suppressed, window.suppressed = window.suppressed, 0
        return suppressed

    def expire(self, now_s: float) -> Iterator[tuple[Key, int]]:
        """Forget the windows that ended; yield those whose count nobody has reported."""
        ended = [k for k, w in self._windows.items() if now_s - w.started_s >= self._window_s]
        for key in ended:
            suppressed = self._windows.pop(key).suppressed
            if suppressed:
                yield key, suppressed

    def _open(self, key: Key, now_s: float) -> _Window:
        if len(self._windows) >= self._keys_max:
            key = ("", None)
        return self._windows.setdefault(key, _Window(now_s))
