"""Whether the host's own clock may judge what the devices say of the time.

Theory of operation. A host that starts without a clock of its own is in the past until somebody
tells it the time, and by such a clock every device of the fleet is in the future. So the clock is
doubted, and then judges no timestamp:

    while it is before the release of this software: no clock that is right can be;
    while the kernel does not say that somebody keeps it, and the fleet contradicts it: the last
    drifts of the devices lie beyond what validation allows, and are the same.

A kernel that says `synchronised` is believed, whatever the devices say: a fleet that was set to a
wrong time as one is more common than a clock that NTP keeps and that is wrong by minutes. One that
does not say so is not doubted for that alone: containers, and machines whose hypervisor keeps the
time, never do.

Devices agree where four fifths of those heard lately are within a minute of their median. Wrong
clocks of single devices, and timestamps that are merely wrong, do not.
"""

import enum
from collections.abc import Iterable
from itertools import islice
from typing import Final

RELEASED_UNIX_S: Final = 1_735_689_600.0
"""2025-01-01T00:00:00Z: no version of this software is older."""
DEVICES_MIN: Final = 5
"""Fewer contradict nothing."""
DEVICES_MAX: Final = 128
"""Heard last; more would say the same."""
FRESH_S: Final = 300.0
AGREE_S: Final = 60.0
_AGREE_SHARE: Final = 0.8
_BATCH_MAX: Final = 8
"""Of one batch no more are looked at."""
_RIGHT_SHARE: Final = 0.5


class Doubt(enum.StrEnum):
    """Why the clock is doubted."""

    BEFORE_RELEASE = "before_release"
    FLEET_DISAGREES = "fleet_disagrees"


class HostClock:
    """What is thought of the host's clock.

    Invariant: `doubt` changes only in `look`, and holds until there is evidence against it.
    """

    def __init__(self, *, ahead_max_s: float, behind_max_s: float) -> None:
        """Take the bounds of validation: how far a device may be ahead, and how far behind."""
        self.allow(ahead_max_s=ahead_max_s, behind_max_s=behind_max_s)
        self._drifts: dict[bytes, tuple[float, float]] = {}
        """The last drift of each device, and when it was noted; who was heard last comes last."""
        self.doubt: Doubt | None = None
        self.is_kept: bool | None = None
        """What the kernel said last: somebody keeps the clock; None, it does not say."""
        self.fleet_drift_s: float | None = None
        """The host less the devices, as they agreed on it last."""

    def allow(self, *, ahead_max_s: float, behind_max_s: float) -> None:
        """Judge by these bounds from the next look on."""
        self._ahead_max_s = ahead_max_s
        self._behind_max_s = behind_max_s

    def note(self, drifts: Iterable[tuple[bytes, float]], now_s: float) -> None:
        """Note some drifts of a batch, server minus device; needless while the kernel is sure."""
        for device, drift_s in islice(drifts, _BATCH_MAX):
            self._drifts.pop(device, None)
            self._drifts[device] = (drift_s, now_s)
        while len(self._drifts) > DEVICES_MAX:
            del self._drifts[next(iter(self._drifts))]

    def look(self, *, unix_s: float, is_kept: bool | None, now_s: float) -> bool:
        """Judge the clock anew; True, the judgement changed."""
        before, self.is_kept = self.doubt, is_kept
        if unix_s < RELEASED_UNIX_S:
            self.doubt = Doubt.BEFORE_RELEASE
        elif is_kept:
            self.doubt = self.fleet_drift_s = None
            self._drifts.clear()
        else:
            self._ask_fleet(now_s)
        return self.doubt is not before

    def _ask_fleet(self, now_s: float) -> None:
        if self.doubt is Doubt.BEFORE_RELEASE:
            self.doubt = None
        drifts_s = sorted(
            drift_s for drift_s, noted_s in self._drifts.values() if now_s - noted_s <= FRESH_S
        )
        if len(drifts_s) < DEVICES_MIN:
            return
        middle_s = drifts_s[len(drifts_s) // 2]
        agreeing = sum(abs(drift_s - middle_s) <= AGREE_S for drift_s in drifts_s)
        if agreeing < _AGREE_SHARE * len(drifts_s):
            return
        self.fleet_drift_s = middle_s
        if not -self._ahead_max_s <= middle_s <= self._behind_max_s:
            self.doubt = Doubt.FLEET_DISAGREES
        elif self._is_well_within(middle_s):
            self.doubt = None

    def _is_well_within(self, drift_s: float) -> bool:
        return -self._ahead_max_s * _RIGHT_SHARE <= drift_s <= self._behind_max_s * _RIGHT_SHARE
