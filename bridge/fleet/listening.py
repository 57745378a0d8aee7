"""Who fell silent, as the records in Kafka tell it: what `watch` judges.

Theory of operation. The past is read back and judged like the present, from its records alone; so
whoever takes a partition over knows what the one before knew, and nothing has to be handed on. What
was told already stands in the topic of the alerts, and that is the only truth about it:

    silent by the records, and not told ---> told
    told, and heard since ---> told as recovered, whoever told the silence

While the past is read nothing is told but the end of what was told. What has come and gone
meanwhile is no news; what is silent when the present is reached is told then, if it was not.

Time is proven by somebody speaking. Where nobody at all is heard for `pause_max_s` it cannot be
known whether the devices are silent or the bridges are away, so that time counts for nobody, and
afterwards each device has its own interval to be heard. Whoever of a fleet speaks last is thus
never told; that no bridge receives anything is for the bridges to say.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import msgspec

from bridge.fleet.silence import Silence
from bridge.fleet.silence_facts import (
    DeviceOffline,
    DeviceOnline,
    DeviceRecovered,
    DeviceSilent,
    FleetRecovered,
    FleetSilence,
    SilenceFact,
)
from bridge.fleet.timeline import Moment, Said, Timeline

_ROUNDING_S: Final = 0.01
"""Times in alerts are rounded, and come by way of the clock of whoever told them."""


class Told(msgspec.Struct, frozen=True):
    """What the last alert of a device says of it, where that is not that all is well."""

    heard_s: float
    """When it was heard last before; Unix seconds."""
    is_offline: bool
    """It was said by its will, and not noticed."""


class Noticed(NamedTuple):
    """A fact that is to be told, and the time of the records at which it was so."""

    fact: SilenceFact
    at_s: float


class Listening:
    """Judge the devices of some partitions.

    Invariant: a device is in `told` exactly while the last alert about it says that it is gone.
    """

    def __init__(  # noqa: PLR0913 - all named
        self,
        silence: Silence,
        timeline: Timeline,
        *,
        begins_s: float,
        live_from_s: float,
        pause_max_s: float,
        told: dict[bytes, Told],
        is_fleet_told: bool,
        is_ours: Callable[[bytes], bool],
    ) -> None:
        """`live_from_s` is where the past ends; `is_ours` is asked before anything is told."""
        self.silence = silence
        self.timeline = timeline
        self.is_live = False
        self._live_from_s = live_from_s
        self._pause_max_s = pause_max_s
        self._told = {device: each for device, each in told.items() if is_ours(device)}
        self._is_fleet_told = is_fleet_told
        self._is_ours = is_ours
        self._pending: dict[bytes, Noticed] = {}
        self._pending_fleet: Noticed | None = None
        self._spoken_s = begins_s
        silence.hearing(begins_s)

    @property
    def told(self) -> int:
        """Count the devices that were told and not heard since."""
        return len(self._told)

    def advance(self) -> list[Noticed] | None:
        """Judge the next moment; give what is to be told. None: there is no more for now."""
        moment = self.timeline.take()
        if moment is not None:
            return list(self._judge(moment))
        if not self.is_live and self.timeline.proven_s >= self._live_from_s:
            self.is_live = True
            return list(self._tell_pending())
        return None

    def _judge(self, moment: Moment) -> Iterator[Noticed]:
        silence, now_s = self.silence, moment.ends_s
        if moment.begins_s - self._spoken_s > self._pause_max_s:
            silence.was_deaf(self._spoken_s, moment.begins_s)
        self._spoken_s = now_s
        for device in self._told.keys() & moment.devices.keys():
            yield from self._return(device, moment.devices[device], now_s)
        self._hear(moment.devices, now_s)
        for said in moment.presences:
            yield from self._judge_presence(said, now_s)
            if moment.devices.get(said.device, said.at_s) > said.at_s:
                yield from self._return(said.device, moment.devices[said.device], now_s)
                self._hear([said.device], now_s)
        is_done = False
        while not is_done:
            facts, is_done = silence.sweep(now_s)
            for fact in facts:
                yield from self._take(fact, now_s)

    def _hear(self, devices: "dict[bytes, float] | list[bytes]", now_s: float) -> None:
        for fact in self.silence.heard(devices, now_s):
            if isinstance(fact, DeviceRecovered | DeviceOnline):
                self._pending.pop(fact.device, None)

    def _judge_presence(self, said: Said, now_s: float) -> Iterator[Noticed]:
        is_online = bool(said.is_online)
        facts = self.silence.presence(
            said.device, is_online=is_online, now_s=now_s, is_retained=said.is_retained
        )
        if is_online and not said.is_retained:
            self._pending.pop(said.device, None)
            yield from self._return(said.device, said.at_s, now_s)
        for fact in facts:
            if isinstance(fact, DeviceOffline):
                yield from self._take(fact, now_s)

    def _return(self, device: bytes, at_s: float, now_s: float) -> Iterator[Noticed]:
        """Tell that a device is heard that was told to be gone; not by what came before that."""
        told = self._told.get(device)
        if told is not None and at_s > told.heard_s + _ROUNDING_S:
            del self._told[device]
            fact = DeviceOnline if told.is_offline else DeviceRecovered
            yield Noticed(fact(device, now_s - told.heard_s), now_s)

    def _take(self, fact: SilenceFact, now_s: float) -> Iterator[Noticed]:
        noticed = Noticed(fact, now_s)
        match fact:
            case FleetSilence() | FleetRecovered():
                if self.is_live:
                    self._is_fleet_told = isinstance(fact, FleetSilence)
                    yield noticed
                else:
                    self._pending_fleet = noticed
            case DeviceSilent() | DeviceOffline():
                if not self.is_live:
                    self._pending[fact.device] = noticed
                elif self._note_told(noticed, fact):
                    yield noticed
            case DeviceRecovered() | DeviceOnline():
                pass  # Told by what was told.

    def _note_told(self, noticed: Noticed, fact: DeviceSilent | DeviceOffline) -> bool:
        """Note that it is told; False: it was, or it is for somebody else to tell."""
        heard_s = noticed.at_s - fact.heard_ago_s
        is_offline = isinstance(fact, DeviceOffline)
        told = self._told.get(fact.device)
        if told is not None and heard_s <= told.heard_s + _ROUNDING_S:
            if told.is_offline or not is_offline:
                return False
        elif not self._is_ours(fact.device):
            return False
        self._told[fact.device] = Told(heard_s, is_offline)
        return True

    def _tell_pending(self) -> Iterator[Noticed]:
        pending, self._pending = self._pending, {}
        for noticed in sorted(pending.values(), key=lambda each: each.at_s):
            fact = noticed.fact
            assert isinstance(fact, DeviceSilent | DeviceOffline), "nothing else is pending"
            if self._note_told(noticed, fact):
                yield noticed
        fleet, self._pending_fleet = self._pending_fleet, None
        if fleet is not None:
            is_silent = isinstance(fleet.fact, FleetSilence)
            if is_silent != self._is_fleet_told:
                self._is_fleet_told = is_silent
                yield fleet
