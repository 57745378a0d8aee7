"""The clocks: the wall for what is written down, the monotonic one for every wait."""

import time
from datetime import UTC, datetime

from bridge.kafka.record import Instant


def monotonic_s() -> float:
    """Read the clock that never steps, seconds; the same one the event loop's timers use."""
    return time.monotonic()


def unix_s() -> float:
    """Read the wall clock, Unix seconds: for what is written down, never for a wait."""
    return time.time()


def instant() -> Instant:
    """Read both clocks once, for a whole batch."""
    unix_us = time.time_ns() // 1_000
    wall = datetime.fromtimestamp(unix_us // 1_000_000, UTC)
    return Instant(
        unix_us=unix_us,
        monotonic_s=time.monotonic(),
        rfc3339=f"{wall:%Y-%m-%dT%H:%M:%S}.{unix_us % 1_000_000:06d}Z",
    )
