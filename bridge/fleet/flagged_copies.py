"""Which flagged messages are copied to the dead letters: one a device and reason in a while.

A sensor that is out of range says so each second; its dead letters would only drown the others.
"""

from typing import Final

import msgspec

KEYS_MAX: Final = 100_000
"""Devices and reasons remembered: 21 MB at most (measured)."""


class _Copied(msgspec.Struct, gc=False):
    """The last copy of one device and reason."""

    at_s: float
    left_out: int = 0
    """Messages that were not copied since."""


class FlaggedCopies:
    """Decide on copies, and count what is left out until the next one tells it.

    What is remembered is two generations: when the younger one has half of the room, the older one,
    which was not asked for since, is dropped. A device in it is copied again at once, and what it
    had left out is told by nobody; `forgotten` counts it.
    """

    def __init__(self, interval_s: float, *, keys_max: int = KEYS_MAX) -> None:
        self.interval_s = interval_s
        self._generation_max = max(1, keys_max // 2)
        self._young: dict[tuple[str, str], _Copied] = {}
        self._old: dict[tuple[str, str], _Copied] = {}
        self.left_out = 0
        """Messages not copied, in all."""
        self.forgotten = 0
        """Of those, how many no copy will tell of."""

    def __len__(self) -> int:
        """Count the devices and reasons that are remembered."""
        return len(self._young) + len(self._old)

    def admit(self, device_id: str, reason: str, now_s: float) -> int | None:
        """Say None where there is to be no copy, else how many were left out since the last."""
        if not self.interval_s:
            return 0
        key = (device_id, reason)
        copied = self._young.get(key)
        if copied is None:
            copied = self._old.pop(key, None)
            if copied is None:
                self._remember(key, _Copied(now_s))
                return 0
            self._remember(key, copied)
        if now_s - copied.at_s < self.interval_s:
            copied.left_out += 1
            self.left_out += 1
            return None
        left_out, copied.left_out = copied.left_out, 0
        copied.at_s = now_s
        return left_out

    def _remember(self, key: tuple[str, str], copied: _Copied) -> None:
        if len(self._young) >= self._generation_max:
            self.forgotten += sum(each.left_out for each in self._old.values())
            self._old, self._young = self._young, {}
        self._young[key] = copied
