"""Waiting for what another process does: bounded, polled, and saying what was seen last."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

Observed = TypeVar("Observed")

POLL_S = 0.01
DEADLINE_S = 30.0


class NeverHappenedError(AssertionError):
    """The condition did not come true before its deadline."""


def eventually(
    observe: Callable[[], Observed],
    holds: Callable[[Observed], object] = bool,
    *,
    what: str = "condition",
    deadline_s: float = DEADLINE_S,
    poll_s: float = POLL_S,
) -> Observed:
    """Observe until it holds and return what was observed then.

    Only for the border to another process, where there is no event to await.

    Raises:
        NeverHappenedError: with the last observed value.
    """
    ends_at = time.monotonic() + deadline_s
    while True:
        observed = observe()
        if holds(observed):
            return observed
        if time.monotonic() >= ends_at:
            raise NeverHappenedError(f"{what}: not within {deadline_s} s; last seen: {observed!r}")
        time.sleep(poll_s)


async def eventually_async(
    observe: Callable[[], Observed],
    holds: Callable[[Observed], object] = bool,
    *,
    what: str = "condition",
    deadline_s: float = DEADLINE_S,
    poll_s: float = POLL_S,
) -> Observed:
    """Observe as `eventually` does, while the event loop goes on."""
    ends_at = time.monotonic() + deadline_s
    while True:
        observed = observe()
        if holds(observed):
            return observed
        if time.monotonic() >= ends_at:
            raise NeverHappenedError(f"{what}: not within {deadline_s} s; last seen: {observed!r}")
        await asyncio.sleep(poll_s)


def let_last(seconds: float) -> None:
    """Let a fault last: the only sleep there is, for outages whose length is the test."""
    time.sleep(seconds)
