"""A second pair of eyes: health and memory of a bridge, sampled while a test does other things."""

import statistics
import threading
import time
from collections import Counter
from types import TracebackType
from typing import Self

import msgspec
import psutil

from tests.support.bridge_process import BridgeProcess

SAMPLE_EVERY_S = 0.25
OK = 200
_END_S = 30.0


class Sample(msgspec.Struct, frozen=True):
    """What was seen at one moment; None where the bridge did not run."""

    at_s: float
    live: int | None
    live_took_s: float
    ready: int | None
    rss_bytes: int | None


class Watcher:
    """Samples from `with` to its end, on a thread of its own."""

    def __init__(self, bridge: BridgeProcess, *, every_s: float = SAMPLE_EVERY_S) -> None:
        self.samples: list[Sample] = []
        self._bridge = bridge
        self._every_s = every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        self._over.set()
        self._thread.join(_END_S)

    def _run(self) -> None:
        at_s = 0.0
        while not self._over.wait(self._every_s):
            at_s += self._every_s
            began_s = time.monotonic()
            live = self._bridge.get("/health/live")
            live_took_s = time.monotonic() - began_s
            ready = self._bridge.get("/health/ready")
            self.samples.append(
                Sample(
                    at_s,
                    None if live is None else live.status,
                    live_took_s,
                    None if ready is None else ready.status,
                    self._rss_bytes(),
                )
            )

    def _rss_bytes(self) -> int | None:
        try:
            return self._bridge.rss_bytes
        except (psutil.NoSuchProcess, psutil.ZombieProcess, AssertionError):
            return None

    @property
    def live(self) -> Counter[int | None]:
        """Count the answers of /health/live."""
        return Counter(each.live for each in self.samples)

    @property
    def ready(self) -> Counter[int | None]:
        """Count the answers of /health/ready."""
        return Counter(each.ready for each in self.samples)

    @property
    def slowest_s(self) -> float:
        """Return how long the slowest answer of /health/live took."""
        return max((each.live_took_s for each in self.samples), default=0.0)

    @property
    def rss_peak_bytes(self) -> int:
        """Return the most resident memory that was seen."""
        return max((each.rss_bytes or 0 for each in self.samples), default=0)

    def rss_calm_bytes(self, from_s: float, to_s: float) -> float:
        """Return the median of what was resident while the bridge was ready, in this time."""
        calm = [
            each.rss_bytes
            for each in self.samples
            if from_s <= each.at_s < to_s and each.ready == OK and each.rss_bytes
        ]
        return statistics.median(calm) if calm else 0.0

    def rss_growth_bytes(self, *, after_s: float) -> int:
        """Return the peak beyond what was resident at that moment."""
        later = [each.rss_bytes for each in self.samples if each.at_s >= after_s and each.rss_bytes]
        return max(later) - later[0] if later else 0
