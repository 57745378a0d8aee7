"""How long to wait before connecting again."""

from collections.abc import Callable
from typing import Final

FIRST_S: Final = 0.25
CEILING_S: Final = 30.0
STABLE_S: Final = 10.0
"""A connection that lived so long was a good one: the next failure starts from the beginning."""


class Backoff:
    """Decorrelated jitter: each delay is drawn between the first and three times the last one.

    A fleet of bridges that lost one broker together thus comes back spread out, and no delay
    exceeds `CEILING_S`. A connection shorter than `STABLE_S` does not reset the delays: two clients
    that take the same client id from each other, or a broker that accepts and then cuts, must not
    make a tight loop.
    """

    def __init__(self, uniform: Callable[[float, float], float]) -> None:
        self._uniform = uniform
        self._last_s = FIRST_S

    def next_delay_s(self) -> float:
        """Draw the delay before the next attempt, seconds."""
        self._last_s = min(CEILING_S, self._uniform(FIRST_S, self._last_s * 3))
        return self._last_s

    def ceiling_delay_s(self) -> float:
        """Draw a delay near the ceiling at once, for a refusal that haste makes worse."""
        self._last_s = CEILING_S
        return self._uniform(CEILING_S / 2, CEILING_S)

    def lived(self, connected_s: float) -> None:
        """Note how long the connection that just ended had been established."""
        if connected_s >= STABLE_S:
            self._last_s = FIRST_S
