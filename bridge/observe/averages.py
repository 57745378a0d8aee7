"""Means that forget: what happened lately, a second at a time."""

import math
from typing import Final

LATELY_S: Final = 60.0


class Average:
    """An exponential mean over about `over_s`, right from the first value on.

    The weight of what was never seen is left out, so the first minute does not start from zero.
    """

    def __init__(self, over_s: float = LATELY_S) -> None:
        self._over_s = over_s
        self._sum = 0.0
        self._weight = 0.0

    @property
    def value(self) -> float:
        """Return the mean; 0 before anything was noted."""
        return self._sum / self._weight if self._weight else 0.0

    def note(self, value: float, since_s: float) -> None:
        """Take what was true of the last `since_s` seconds."""
        left = self.left(since_s)
        self._sum = self._sum * left + value * (1 - left)
        self._weight = self._weight * left + (1 - left)

    def left(self, since_s: float) -> float:
        """Tell how much of the past is left after so long."""
        return math.exp(-since_s / self._over_s)


class Rate:
    """How fast a counter grows: just now, and lately."""

    def __init__(self) -> None:
        self.now_per_s = 0.0
        self._lately = Average()
        self._total: int | None = None
        self._noted_s = 0.0

    @property
    def lately_per_s(self) -> float:
        """Return the mean over about a minute."""
        return self._lately.value

    def note(self, total: int, now: float) -> None:
        """Take the counter; for a timer of about a second."""
        since_s = now - self._noted_s
        if self._total is not None and since_s > 0:
            self.now_per_s = (total - self._total) / since_s
            self._lately.note(self.now_per_s, since_s)
        self._total = total
        self._noted_s = now
