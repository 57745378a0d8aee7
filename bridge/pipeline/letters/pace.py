"""How fast a replay may go."""

from typing import Final

BATCH_MAX: Final = 200
"""Letters in one transaction: some 20 ms of Kafka's time, and little that a kill undoes."""


class Pace:
    """Spreads letters evenly; what was slow is not made up for by a burst."""

    def __init__(self, per_s: float | None) -> None:
        self._per_s = per_s
        self._next_s = 0.0

    @property
    def batch(self) -> int:
        """Tell how many letters may go at once: those of about one second."""
        return BATCH_MAX if self._per_s is None else max(1, min(BATCH_MAX, int(self._per_s)))

    def wait_s(self, now_s: float) -> float:
        """Tell how long the next batch has to wait."""
        return max(0.0, self._next_s - now_s)

    def note(self, letters: int, now_s: float) -> None:
        """Note how many letters go now."""
        if self._per_s is not None:
            self._next_s = max(self._next_s, now_s) + letters / self._per_s
