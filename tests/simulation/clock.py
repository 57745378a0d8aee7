"""Time that jumps from event to event; nothing here ever waits."""

import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime

from bridge.kafka.record import Instant

UNIX_US = 1_795_455_325_000_000
"""When a simulation begins: 2026-11-23T17:35:25Z."""


class SimTimer:
    """A call that is to come, unless it is cancelled."""

    __slots__ = ("at", "callback")

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class SimClock:
    """The one heap of everything that is to happen, for the whole world."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, SimTimer]] = []
        self._number = itertools.count()

    def monotonic_s(self) -> float:
        return self.now

    def instant(self) -> Instant:
        return instant_at(self.now, self.now)

    def call_later(self, delay_s: float, callback: Callable[[], None], /) -> SimTimer:
        timer = SimTimer(self.now + max(0.0, delay_s), callback)
        heapq.heappush(self._heap, (timer.at, next(self._number), timer))
        return timer

    def turn(self) -> bool:
        """Let the next thing happen; False when nothing is to come."""
        while self._heap:
            at, _, timer = heapq.heappop(self._heap)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                self.now = at
                callback()
                return True
        return False


class Life:
    """The clock of one process: its timers die with it, and are as late as its loop is busy.

    Its monotonic clock begins anywhere, as after a restart of the host.
    """

    def __init__(self, clock: SimClock, *, begins_at_s: float, grain_s: float) -> None:
        self.is_over = False
        self._clock = clock
        self._offset_s = begins_at_s - clock.now
        self._grain_s = grain_s

    def monotonic_s(self) -> float:
        return self._clock.now + self._offset_s

    def instant(self) -> Instant:
        return instant_at(self._clock.now, self.monotonic_s())

    def call_later(self, delay_s: float, callback: Callable[[], None], /) -> SimTimer:
        return self._clock.call_later(
            max(self._grain_s, delay_s), lambda: None if self.is_over else callback()
        )


def instant_at(now: float, monotonic_s: float) -> Instant:
    unix_us = UNIX_US + round(now * 1e6)
    wall = datetime.fromtimestamp(unix_us // 1_000_000, UTC)
    return Instant(unix_us, monotonic_s, f"{wall:%Y-%m-%dT%H:%M:%S}.{unix_us % 1_000_000:06d}Z")
