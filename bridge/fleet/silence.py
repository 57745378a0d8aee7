"""Which devices fell silent, and which are heard again.

Theory of operation. All is measured in time heard (`hearing.py`), so what the bridge could not hear
is no silence. A message only writes the time beside its device. Each device is in one bucket of a
wheel, by when it is to be looked at; `sweep` looks at those whose time has come, and puts each
into a later bucket:

    LIVE    --- quiet for two thirds of what it is allowed ---> QUIET
    QUIET   --- quiet for `multiplier` intervals, and for one since hearing resumed ---> SILENT
    QUIET   --- the same, but many others are quiet too ---> GROUPED
    any     --- heard, or online ---> LIVE
    any     --- offline, by itself or by its will ---> OFFLINE
    any     --- forgotten, its entry in the registry is gone ---> UNWATCHED

SILENT is told at once. That others are quiet is known before they are silent, so no single silence
is told first where the fleet is about to be: members of a group wait, for one interval at most,
until there are enough for one `FleetSilence`; if the others are heard again, each is told by
itself. A silence of the fleet takes in whoever falls silent later, and ends when less than half of
what it takes was left for an interval, or nobody is; those left are then told one by one.

The interval of a device is that of the registry, else the mean of the middle two of the four gaps
between its first five messages, and never below `expected_interval_s`; else there is no judgement.
After a silence five new messages teach a new one, so a device that was set to speak more rarely
is told a few times, not for ever.

Decisions. An offline message is a fact of its own, told at once and instead of a silence; a
retained one, which tells the state and not when, is told only of a device that was known to be
there. An online one counts as being heard, a retained one as nothing. A device that was never heard
is not silent: the registry may list what is not built yet. No more than `devices_max` are
remembered; who was not heard for longest gives way, after it was told.
"""

import math
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from operator import length_hint
from typing import Final

from bridge.fleet.hearing import Hearing
from bridge.fleet.intervals import Intervals
from bridge.fleet.silence_facts import (
    DeviceOffline,
    DeviceOnline,
    DeviceRecovered,
    DeviceSilent,
    FleetRecovered,
    FleetSilence,
    SilenceFact,
    SilenceRules,
    Swept,
)
from bridge.fleet.silence_state import (
    FORGETTING,
    GROUPED,
    LIVE,
    OFFLINE,
    QUIET,
    SILENT,
    STATES,
    TEACHING,
    UNWATCHED,
    WrittenSilence,
    read_silence,
    write_silence,
)
from bridge.fleet.slices import SLICE_DEVICES
from bridge.fleet.slots import Column, Slots, slots_with
from bridge.fleet.wheel import Wheel

BUDGET: Final = 5_000
"""Devices looked at in one slice of a sweep, or a fifth of them told."""
_CHUNK: Final = 200
_FACT_COSTS: Final = 5
"""To tell of one takes as long as to look at so many."""
_NOTHING: Final[tuple[SilenceFact, ...]] = ()
_QUIET_SHARE: Final = 2 / 3
_TICKS: Final = 100
"""Buckets of the wheel in which a device is looked at once."""
_TICK_MAX_S: Final = 1.0
"""Devices that the registry expects more often than others are not to wait for those."""
_EVER: Final = float("-inf")

_STATE: Final = 7
_LEARNING: Final = 8
"""Added to the state; so a mark of 0 is a device of which only the time is to be noted."""
_STALE_MAX: Final = 1_000


class Silence:
    """The time at which each device was last heard, and what was told of it.

    Invariants: every slot is in the wheel exactly once. A device is told as silent once between two
    messages, alone or in a group; it is told as recovered exactly if it was told alone. It is deaf
    until `hearing` is called, and tells of nobody before.
    """

    def __init__(
        self,
        rules: SilenceRules,
        *,
        interval_s_of: Callable[[bytes], float | None] = lambda _: None,
    ) -> None:
        self._rules = rules
        self._interval_s_of = interval_s_of
        """Asks the registry, not on the way of a message."""
        self._allowed_s = rules.multiplier * rules.expected_interval_s
        self._look_again_s = self._allowed_s * _QUIET_SHARE
        """No device is looked at later than after this."""
        self._wheel = Wheel(min(self._look_again_s / _TICKS, _TICK_MAX_S))
        self._clock = Hearing()
        # Lists where speed counts: to read or write an array takes three times as long.
        self._heard_s: list[float] = []
        self._mark: list[int] = []
        self._interval_s: list[float] = []
        """That of the registry as it was asked last, else the learned one; 0: none."""
        self._asked: list[int] = []
        """The edition of the registry that was asked."""
        self._edition = 0
        self._intervals = Intervals(rules.expected_interval_s)
        self._slots = Slots(
            devices_max=rules.devices_max,
            recency=self._heard_s,
            columns=(
                Column(self._heard_s, _EVER),
                Column(self._mark, UNWATCHED),
                Column(self._interval_s, 0.0),
                Column(self._asked, 0),
                *self._intervals.columns,
            ),
            evict=self._evict,
        )
        self._find = self._slots.index.get
        self._counts = [0] * STATES
        self._is_fleet_silent = False
        self._members = array("l")
        """Slots that were grouped; some of them may be live again, or another's."""
        self._group_since_s = math.inf
        self._grouping_since_s = math.inf
        """When the first of a group that is not told yet was grouped."""
        self._recovering_since_s = math.inf
        """Since when too few are left for a silence of the fleet."""
        self._to_tell = array("l")

    @property
    def devices(self) -> int:
        """Count the devices that are remembered."""
        return len(self._slots)

    @property
    def is_fleet_silent(self) -> bool:
        """Tell whether a silence of the fleet was told, and not its end."""
        return self._is_fleet_silent

    def count(self, state: int) -> int:
        """Count the devices in a state."""
        return self._counts[state]

    def standing(self, state: int, count: int, now_s: float) -> list[tuple[bytes, float]]:
        """Find devices in a state, and how long ago each was heard; passes over all of them."""
        slots = slots_with(self._mark, (state, state | _LEARNING), min(count, self._counts[state]))
        heard_s, ago_s = self._heard_s, self._clock.ago_s
        return [(self._slots.keys[slot], ago_s(heard_s[slot], now_s)) for slot in slots]

    def deaf(self, now_s: float) -> None:
        """Say that nothing can be heard from now on: what passes is no silence of anybody."""
        self._clock.deafen(now_s)

    def hearing(self, now_s: float) -> None:
        """Say that devices can be heard from now on."""
        self._clock.resume(now_s)

    def was_deaf(self, from_s: float, to_s: float) -> None:
        """Say so of a time that turned out to be deaf only afterwards.

        A device that was heard after it is allowed so much more, once.
        """
        self._clock.was_deaf(from_s, to_s)

    def registry_changed(self) -> None:
        """Ask the registry anew, as each device is looked at."""
        self._edition = (self._edition + 1) % 256

    def heard(
        self, devices: Collection[bytes], now_s: float, measured_us: Sequence[int | None] = ()
    ) -> "Iterable[SilenceFact]":
        """Note the devices of one batch, and their own times; retained copies are none."""
        at_s = self._clock.at_s(now_s)
        find, marks, heard_s = self._find, self._mark, self._heard_s
        facts: list[SilenceFact] = []
        upcoming = iter(devices)
        for device in upcoming:
            slot = find(device)
            if slot is None or marks[slot]:
                # So many are left; to count them would cost all those that teach nothing.
                own_us = measured_us[-1 - length_hint(upcoming)] if measured_us else None
                if slot is None:
                    self._enter(device, at_s, own_us)
                else:
                    self._wake(slot, at_s, now_s, own_us, facts)
            else:
                heard_s[slot] = at_s
        return facts

    def presence(
        self, device: bytes, *, is_online: bool, now_s: float, is_retained: bool = False
    ) -> "Iterable[SilenceFact]":
        """Note what a device or its will says of it."""
        at_s = self._clock.at_s(now_s)
        slot = self._find(device)
        if is_online:
            if is_retained:
                return _NOTHING
            if slot is None:
                self._enter(device, at_s)
                return _NOTHING
            facts: list[SilenceFact] = []
            self._return(slot, now_s, facts)
            self._heard_s[slot] = at_s
            return facts
        is_new = slot is None
        if slot is None:
            slot = self._enter(device, at_s)
        if self._mark[slot] & _STATE in {OFFLINE, UNWATCHED}:
            return _NOTHING
        self._put(slot, OFFLINE)
        if is_new and is_retained:
            return _NOTHING
        return (DeviceOffline(device, self._clock.ago_s(self._heard_s[slot], now_s)),)

    def forget(self, device: bytes) -> None:
        """Let a device go that is no longer expected to speak, until it does."""
        slot = self._find(device)
        if slot is not None:
            self._put(slot, UNWATCHED)
            self._heard_s[slot] = _EVER

    def _enter(self, device: bytes, at_s: float, own_us: int | None = None) -> int:
        is_placed = self._slots.is_full  # The slot of another, which is in the wheel already.
        slot = self._slots.enter(device)
        self._counts[UNWATCHED] += 1
        self._put(slot, LIVE)
        self._heard_s[slot] = at_s
        self._intervals.begin(slot, own_us)
        self._ask(slot)
        if not is_placed:
            allowed_s = self._interval_s[slot] * self._rules.multiplier * _QUIET_SHARE
            self._wheel.place(slot, at_s + min(allowed_s or math.inf, self._look_again_s))
        return slot

    def _evict(self, slot: int) -> None:
        self._counts[self._mark[slot] & _STATE] -= 1

    def _put(self, slot: int, state: int) -> None:
        mark = self._mark[slot]
        self._counts[mark & _STATE] -= 1
        self._counts[state] += 1
        self._mark[slot] = mark & _LEARNING | state

    def _wake(
        self, slot: int, at_s: float, now_s: float, own_us: int | None, facts: list[SilenceFact]
    ) -> None:
        """Note a message of a device that is being learned, or is not live."""
        mark = self._mark[slot]
        state = mark & _STATE
        if state:
            self._return(slot, now_s, facts)
        if state in TEACHING and mark & _LEARNING:
            is_learned = self._intervals.note(slot, at_s - self._heard_s[slot], own_us)
            if is_learned:
                self._mark[slot] &= ~_LEARNING
                self._ask(slot)
            elif is_learned is None and not state:
                return  # The next gap is from the message before.
        elif state in FORGETTING and self._interval_s[slot] == self._intervals.learned_s[slot]:
            self._mark[slot] |= _LEARNING
            self._intervals.begin(slot, own_us)
        self._heard_s[slot] = at_s

    def _return(self, slot: int, now_s: float, facts: list[SilenceFact]) -> None:
        state = self._mark[slot] & _STATE
        if state in {SILENT, OFFLINE}:
            fact = DeviceRecovered if state == SILENT else DeviceOnline
            ago_s = self._clock.ago_s(self._heard_s[slot], now_s)
            facts.append(fact(self._slots.keys[slot], ago_s))
        self._put(slot, LIVE)

    def _ask(self, slot: int) -> None:
        interval_s = self._interval_s_of(self._slots.keys[slot])
        learned_s = self._intervals.learned_s[slot]
        self._interval_s[slot] = interval_s or learned_s
        if interval_s:  # What the registry says need not be learned: half a microsecond a message.
            self._mark[slot] &= ~_LEARNING
        elif not learned_s:
            self._mark[slot] |= _LEARNING
        self._asked[slot] = self._edition

    def sweep(self, now_s: float, budget: int = BUDGET) -> Swept:
        """Look at the devices whose time has come, `budget` of them at most."""
        facts: list[SilenceFact] = []
        if self._clock.is_deaf:
            return Swept(facts, is_done=True)
        at_s = self._clock.at_s(now_s)
        budget -= self._tell_each(1 + budget // _FACT_COSTS, now_s, facts) * _FACT_COSTS
        while budget > 0:
            slots = self._wheel.take(at_s, min(budget, _CHUNK))
            if not slots:
                self._settle_group(at_s, now_s, facts)
                return Swept(facts, is_done=not self._to_tell)
            told = len(facts)
            self._look_at(slots, at_s, now_s, facts)
            budget -= len(slots) + (len(facts) - told) * _FACT_COSTS
        return Swept(facts, is_done=False)

    def _look_at(
        self, slots: "array[int]", at_s: float, now_s: float, facts: list[SilenceFact]
    ) -> None:
        marks, heard_s, interval_s, asked = self._mark, self._heard_s, self._interval_s, self._asked
        edition = self._edition
        allowed = self._rules.multiplier * _QUIET_SHARE
        again_s = at_s + self._look_again_s
        late: list[int] = []
        placed: list[int] = []
        looks_s: list[float] = []
        place, look_at = placed.append, looks_s.append
        for slot in slots:
            if asked[slot] != edition:
                self._ask(slot)
            look_s = again_s
            if interval_s[slot]:
                look_s = heard_s[slot] + interval_s[slot] * allowed
                if marks[slot] & _STATE > QUIET:
                    look_s = at_s + interval_s[slot] * allowed  # It may be heard at any time.
                elif look_s <= at_s:
                    late.append(slot)
                    continue
            place(slot)
            look_at(look_s if look_s < again_s else again_s)  # noqa: FURB136 - faster
        self._wheel.place_each(placed, looks_s)
        if late:
            self._look_closer(late, at_s, now_s, facts)

    def _look_closer(
        self, late: list[int], at_s: float, now_s: float, facts: list[SilenceFact]
    ) -> None:
        """Look at devices that are quiet."""
        marks, heard_s, counts = self._mark, self._heard_s, self._counts
        placed: list[int] = []
        looks_s: list[float] = []
        place, look_at = placed.append, looks_s.append
        multiplier, resumed_s = self._rules.multiplier, self._clock.resumed_at_s
        again_s = at_s + self._look_again_s
        is_grouping, since_s = self._is_grouping(), self._group_since_s
        intervals_s = self._interval_s
        silent: list[int] = []
        turned = 0  # From live to quiet, and not counted yet.
        for slot in late:
            interval_s = intervals_s[slot]
            silent_s = heard_s[slot] + interval_s * multiplier
            if silent_s < resumed_s + interval_s:  # noqa: PLR1730 - max() takes twice as long
                silent_s = resumed_s + interval_s
            if marks[slot] & _STATE == LIVE:
                # Never silent at once, even where long nobody looked: first it is to be known who
                # else is quiet.
                marks[slot] += QUIET
                turned += 1
                if silent_s < at_s:  # noqa: PLR1730 - the same
                    silent_s = at_s
            elif at_s >= silent_s:
                silent.append(slot)
                if is_grouping or self._is_grouping(turned):
                    marks[slot] += GROUPED - QUIET
                    counts[QUIET] -= 1
                    counts[GROUPED] += 1
                    self._members.append(slot)
                    if heard_s[slot] < since_s:  # noqa: PLR1730 - the same
                        since_s = heard_s[slot]
                else:
                    self._tell(slot, now_s, facts)
                continue
            place(slot)
            look_at(silent_s if silent_s < again_s else again_s)  # noqa: FURB136 - the same
        counts[LIVE] -= turned
        counts[QUIET] += turned
        self._wheel.place_each(placed, looks_s)
        self._place_silent(silent, at_s)
        if counts[GROUPED]:
            self._group_since_s = since_s
            self._grouping_since_s = min(self._grouping_since_s, at_s)

    def _place_silent(self, silent: list[int], at_s: float) -> None:
        """Put devices where they would be looked at if they were heard right now."""
        again: list[int] = []
        for slot in silent:
            if self._interval_s[slot] < self._rules.expected_interval_s:
                look_s = at_s + self._interval_s[slot] * self._rules.multiplier * _QUIET_SHARE
                self._wheel.place(slot, look_s)
            else:
                again.append(slot)
        self._wheel.place_all(again, at_s + self._look_again_s)

    def _is_grouping(self, more: int = 0) -> bool:
        """Tell whether so many are quiet that a silence is rather one of the fleet."""
        overdue = self._counts[QUIET] + self._counts[GROUPED] + more
        return self._is_fleet_silent or overdue >= self._group_min()

    def _tell(self, slot: int, now_s: float, facts: list[SilenceFact]) -> None:
        self._put(slot, SILENT)
        ago_s = self._clock.ago_s(self._heard_s[slot], now_s)
        facts.append(DeviceSilent(self._slots.keys[slot], ago_s, self._interval_s[slot]))

    def _present(self) -> int:
        return self._counts[LIVE] + self._counts[QUIET] + self._counts[GROUPED]

    def _group_min(self) -> int:
        share = math.ceil(self._rules.fleet_share * self._present())
        return max(1, self._rules.fleet_min, share)

    def _settle_group(self, at_s: float, now_s: float, facts: list[SilenceFact]) -> None:
        """Begin or end a silence of the fleet, or tell the members of a group that is none."""
        count, quiet, least = self._counts[GROUPED], self._counts[QUIET], self._group_min()
        since_ago_s = self._clock.ago_s(self._group_since_s, now_s)
        is_over = at_s - self._grouping_since_s > self._rules.expected_interval_s
        if self._is_fleet_silent:
            # They come back one by one, each at its own second: the last are not silent for that.
            since_s = min(self._recovering_since_s, at_s) if 2 * count < least else math.inf
            self._recovering_since_s = since_s
            if not count or at_s - since_s >= self._rules.expected_interval_s:
                facts.append(FleetRecovered(count, since_ago_s))
                self._end_group()
        elif count >= least:
            self._is_fleet_silent = True
            share = (count + quiet) / self._present()
            facts.append(FleetSilence(count + quiet, share, since_ago_s))
        elif count + quiet < least or is_over:
            self._end_group()
        if len(self._members) > _STALE_MAX + 2 * count:
            kept = (slot for slot in self._members if self._mark[slot] & _STATE == GROUPED)
            self._members = array("l", dict.fromkeys(kept))

    def _end_group(self) -> None:
        self._is_fleet_silent = False
        self._to_tell.extend(self._members)
        self._members = array("l")
        self._group_since_s = self._grouping_since_s = self._recovering_since_s = math.inf

    def _tell_each(self, count: int, now_s: float, facts: list[SilenceFact]) -> int:
        told = self._to_tell[-count:]
        del self._to_tell[-count:]
        for slot in told:
            if self._mark[slot] & _STATE == GROUPED:
                self._tell(slot, now_s, facts)
        return len(told)

    def dump(self, now_s: float) -> Iterator[bytes]:
        """Write what is known, slice by slice; messages may be noted between two."""
        for start in range(0, len(self._slots), SLICE_DEVICES):
            at_s = self._clock.at_s(now_s)
            slots = [
                slot
                for slot in range(start, min(start + SLICE_DEVICES, len(self._slots)))
                if self._mark[slot] & _STATE != UNWATCHED
            ]
            since_ago_s = at_s - self._group_since_s if self._is_fleet_silent else None
            written = WrittenSilence(
                self._clock.relative(now_s),
                since_ago_s,
                [self._slots.keys[slot] for slot in slots],
                [max(0.0, at_s - self._heard_s[slot]) for slot in slots],
                [self._intervals.learned_s[slot] for slot in slots],
                [self._mark[slot] & _STATE for slot in slots],
            )
            yield write_silence(written)

    def load(self, written: bytes, now_s: float, *, away_s: float) -> None:
        """Take over a slice, before anything is heard; `away_s` by the wall clock since `dump`.

        Raises:
            ValueError: The slice cannot be read.
        """
        found = read_silence(written)
        at_s = self._clock.at_s(now_s)
        self._clock.recall([*found.deaf, (0.0, max(0.0, away_s))])
        if found.since_ago_s is not None:
            self._is_fleet_silent = True
            self._group_since_s = min(self._group_since_s, at_s - found.since_ago_s)
        rows = zip(found.devices, found.heard_ago_s, found.learned_s, found.states, strict=True)
        for device, heard_ago_s, learned_s, state in rows:
            if device in self._slots.index:
                continue
            if self._slots.is_full:
                return
            slot = self._enter(device, at_s - heard_ago_s)
            if learned_s:
                self._intervals.learned_s[slot] = learned_s
                self._mark[slot] &= ~_LEARNING
                self._ask(slot)
            self._put(slot, state if state != QUIET else LIVE)
            if state == GROUPED:
                self._members.append(slot)
