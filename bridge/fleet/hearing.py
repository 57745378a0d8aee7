"""How long the bridge has been able to hear: a clock that stands still while it is deaf.

What is measured on it leaves out by itself what the bridge could not hear: a restart, an outage of
the MQTT broker or of the link to it. Deaf times are remembered, so that what is told to people is
how long it really was.
"""

from typing import Final

DEAF_TIMES_MAX: Final = 64
"""Remembered apart; when there are more, the two oldest become one."""


class Hearing:
    """The time heard so far.

    Invariant: between two calls `at_s` never falls and never grows faster than the clock; only
    `was_deaf` takes some of it back. It is deaf at first, since nothing is subscribed.
    """

    def __init__(self) -> None:
        self._heard_s = 0.0
        """Until hearing began the last time."""
        self._since_s: float | None = None
        """The clock's time when it began; None: deaf."""
        self._deaf_since_s: float | None = None
        """The clock's time when it ended; None: hearing, or it never began."""
        self.resumed_at_s = 0.0
        """The time heard when hearing began the last time."""
        self._deaf: list[tuple[float, float]] = []
        """The time heard when each deaf time came, and how long it was."""

    @property
    def is_deaf(self) -> bool:
        """Tell whether nothing can be heard now."""
        return self._since_s is None

    def at_s(self, now_s: float) -> float:
        """Tell the time heard up to now."""
        since_s = self._since_s
        return self._heard_s if since_s is None else self._heard_s + (now_s - since_s)

    def deafen(self, now_s: float) -> None:
        """Stop; does nothing while deaf."""
        if self._since_s is not None:
            self._heard_s = self.at_s(now_s)
            self._since_s = None
            self._deaf_since_s = now_s

    def resume(self, now_s: float) -> None:
        """Go on; does nothing while hearing."""
        if self._since_s is not None:
            return
        if self._deaf_since_s is not None:
            self._remember(now_s - self._deaf_since_s)
        self._deaf_since_s = None
        self._since_s = now_s
        self.resumed_at_s = self._heard_s

    def was_deaf(self, from_s: float, to_s: float) -> None:
        """Take back a time of the clock, up to now at most, that turned out to be deaf.

        Only what lies after hearing last began counts; what is deaf already is not counted twice.
        """
        if self._since_s is None:
            return
        from_s = max(from_s, self._since_s)
        if to_s > from_s:
            self._heard_s = self.resumed_at_s = self.at_s(from_s)
            self._since_s = to_s
            self._remember(to_s - from_s)

    def ago_s(self, heard_at_s: float, now_s: float) -> float:
        """Tell how long ago it really was that so much time had been heard."""
        deaf_s = sum(span_s for at_s, span_s in self._deaf if at_s >= heard_at_s)
        if self._deaf_since_s is not None:
            deaf_s += now_s - self._deaf_since_s
        return max(0.0, self.at_s(now_s) - heard_at_s) + deaf_s

    def recall(self, deaf: list[tuple[float, float]]) -> None:
        """Take over deaf times as `relative` gave them, as times before now."""
        self._deaf = [(self._heard_s - heard_ago_s, span_s) for heard_ago_s, span_s in deaf]

    def relative(self, now_s: float) -> list[tuple[float, float]]:
        """Give the deaf times: how much was heard since, and how long each was."""
        deaf = [(self.at_s(now_s) - at_s, span_s) for at_s, span_s in self._deaf]
        if self._deaf_since_s is not None:
            deaf.append((0.0, now_s - self._deaf_since_s))
        return deaf

    def _remember(self, span_s: float) -> None:
        self._deaf.append((self._heard_s, span_s))
        if len(self._deaf) > DEAF_TIMES_MAX:
            (_, one_s), (at_s, other_s), *later = self._deaf
            self._deaf = [(at_s, one_s + other_s), *later]
