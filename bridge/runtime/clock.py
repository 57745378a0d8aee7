"""The clocks: the wall for what is written down, the monotonic one for every wait."""

import asyncio
import functools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from bridge.kafka.record import Instant


def monotonic_s() -> float:
    """Read the clock that never steps, seconds; the same one the event loop's timers use."""
    return time.monotonic()


def unix_s() -> float:
    """Read the wall clock, Unix seconds: for what is written down, never for a wait."""
    return time.time()


def suspended_s() -> float:
    """Tell how long the host was suspended since its start: the monotonic clock stood still then.

    It is 0 where no clock can tell (Linux can).
    """
    boot_time = getattr(time, "CLOCK_BOOTTIME", None)
    return 0.0 if boot_time is None else time.clock_gettime(boot_time) - time.monotonic()


def instant() -> Instant:
    """Read both clocks once, for a whole batch."""
    unix_us = time.time_ns() // 1_000
    second, microsecond = divmod(unix_us, 1_000_000)
    return Instant(
        unix_us=unix_us,
        monotonic_s=time.monotonic(),
        rfc3339=f"{_write_second(second)}.{microsecond:06d}Z",
    )


@functools.lru_cache(maxsize=1)
def _write_second(unix_s: int) -> str:
    """Write the whole seconds: 4 us, where a read a millisecond asks for the same ones."""
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%dT%H:%M:%S}"


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Let it not come."""


class Clock(Protocol):
    """The clocks and the timers, as an argument: whoever takes one can be run on another time."""

    def instant(self) -> Instant:
        """Read both clocks once."""

    def monotonic_s(self) -> float:
        """Read the clock that never steps."""

    def call_later(self, delay_s: float, callback: Callable[[], None], /) -> Timer:
        """Call back after a while, once."""


class LoopClock:
    """The real ones; timers are those of an event loop, which runs on the same monotonic clock."""

    instant = staticmethod(instant)
    monotonic_s = staticmethod(monotonic_s)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def call_later(self, delay_s: float, callback: Callable[[], None], /) -> Timer:
        """Call back after a while, once."""
        return self._loop.call_later(delay_s, callback)
