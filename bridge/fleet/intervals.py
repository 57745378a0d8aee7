"""How often a device speaks, learned from its first messages."""

import math
from array import array
from typing import Final

from bridge.fleet.slots import Column

READINGS: Final = 5
MESSAGES_AT_ONCE: Final = 60
"""In an `expected_interval_s` no more of them are told apart: what was buffered comes at once and
says nothing of the interval."""
_S_PER_US: Final = 1e-6


class Intervals:
    """The intervals of all devices, by slot.

    Invariant: an interval is the mean of the middle two of four gaps, so one gap that is an outage,
    and one that is none, do not count; it is never below `expected_interval_s`. 0 is not learned.

    A gap is the larger of how far apart two messages came and how far apart the device says that
    they were measured: an hour's worth that was buffered comes within seconds.
    """

    def __init__(self, expected_interval_s: float) -> None:
        self._expected_interval_s = expected_interval_s
        self.learned_s = array("f")
        self._readings = array("B")
        self._gaps = array("f")
        """Sum, least and largest gap since learning began."""
        self._own_us = array("d")
        """The device's own time of the last message that taught; 0, it had none."""
        self.columns = (
            Column(self.learned_s, 0.0),
            Column(self._readings, 1),
            Column(self._gaps, 0.0, 3),
            Column(self._own_us, 0.0),
        )

    def begin(self, slot: int, own_us: int | None) -> None:
        """Learn anew, from the message that has just come; what was learned holds until then.

        `own_us` is the device's own time of it.
        """
        self._readings[slot] = 1
        self._own_us[slot] = own_us or 0.0

    def note(self, slot: int, gap_s: float, own_us: int | None) -> bool | None:
        """Note a message and the gap before it; True: the interval is learned.

        None: it came too soon after the one before to count.
        """
        if gap_s * MESSAGES_AT_ONCE < self._expected_interval_s:
            return None
        before_us = self._own_us[slot]
        if own_us and before_us:
            gap_s = max(gap_s, abs(own_us - before_us) * _S_PER_US)
        self._own_us[slot] = own_us or 0.0
        at = 3 * slot
        if self._readings[slot] == 1:
            self._gaps[at], self._gaps[at + 1], self._gaps[at + 2] = 0.0, math.inf, 0.0
        self._gaps[at] += gap_s
        self._gaps[at + 1] = min(gap_s, self._gaps[at + 1])
        self._gaps[at + 2] = max(gap_s, self._gaps[at + 2])
        self._readings[slot] += 1
        if self._readings[slot] < READINGS:
            return False
        total_s, least_s, most_s = self._gaps[at : at + 3]
        middle_s = (total_s - least_s - most_s) / (READINGS - 3)
        self.learned_s[slot] = max(self._expected_interval_s, middle_s)
        return True
