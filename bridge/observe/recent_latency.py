"""How long messages took in the last minute: quantiles, from the histogram of the metrics."""

from collections import deque
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Final

from bridge.observe.counters import LATENCY_BOUNDS_S

OVER_S: Final = 60.0
_QUANTILES: Final = {"p50_s": 0.5, "p95_s": 0.95, "p99_s": 0.99}


class RecentLatency:
    """Remembers the histogram as it was each second of a minute: sixty rows of sixteen numbers.

    A quantile is as exact as the buckets are: within one it is taken to be spread evenly, as
    Prometheus does it.
    """

    def __init__(self) -> None:
        self._rows: deque[tuple[float, tuple[int, ...]]] = deque()

    def note(self, counts: Sequence[int], now: float) -> None:
        """Take the histogram; for a timer of about a second."""
        self._rows.append((now, tuple(counts)))
        while len(self._rows) > 1 and now - self._rows[1][0] >= OVER_S:
            self._rows.popleft()

    def as_tree(self) -> dict[str, Any]:
        """Write the quantiles; null, nothing was confirmed."""
        counts = self._counts()
        return {
            "over_s": OVER_S,
            "messages": sum(counts),
            **{name: quantile(counts, share) for name, share in _QUANTILES.items()},
        }

    def _counts(self) -> list[int]:
        if not self._rows:
            return []
        first, last = self._rows[0][1], self._rows[-1][1]
        return [after - before for before, after in zip(first, last, strict=True)]


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Estimate a quantile; beyond the last bound it is that bound, and None without messages."""
    total = sum(counts)
    if not total:
        return None
    wanted = share * total
    bounds = (0.0, *LATENCY_BOUNDS_S)
    for bucket, (count, below) in enumerate(
        zip(counts[:-1], accumulate(counts, initial=0), strict=False)
    ):
        if count and below + count >= wanted:
            low, high = bounds[bucket], bounds[bucket + 1]
            return round(low + (high - low) * (wanted - below) / count, 6)
    return bounds[-1]
