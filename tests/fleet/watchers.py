"""A log in partitions, and watchers that share it: what `watch` does, without Kafka."""

from collections.abc import Iterable, Sequence

import msgspec

from bridge.fleet.listening import Listening, Noticed, Told
from bridge.fleet.silence import Silence
from bridge.fleet.silence_facts import (
    DeviceOffline,
    DeviceSilent,
    FleetRecovered,
    FleetSilence,
    SilenceRules,
)
from bridge.fleet.timeline import LATENESS_S, Said, Timeline
from bridge.kafka.partitions import Place, partition_of
from tests.fleet.silences import each_minute

PARTITIONS = 4
PLACES = [("telemetry", number) for number in range(PARTITIONS)]
BACK_S = 3_600.0
INTERVAL_S = 60.0
BEGAN_S = 1_750_000_000.0
"""Unix seconds, since records have them; all times below are from here on."""


class Alert(msgspec.Struct, frozen=True, order=True):
    """What lies in the topic of the alerts."""

    name: str
    device: bytes
    heard_at: int
    """Seconds; of an alert of the fleet it is when it was told."""


class Log:
    """Records by partition, and the alerts that were told of them."""

    def __init__(self) -> None:
        self.records: dict[Place, list[Said]] = {place: [] for place in PLACES}
        self.alerts: list[Alert] = []

    def write(self, *said: Said) -> None:
        for each in said:
            self.records[place_of(each.device)].append(each._replace(at_s=BEGAN_S + each.at_s))

    def speak(self, devices: Iterable[bytes], at_s: float) -> None:
        self.write(*(Said(device, at_s) for device in devices))

    def append(self, noticed: Noticed) -> None:
        fact = noticed.fact
        if isinstance(fact, FleetSilence | FleetRecovered):
            alert = Alert(type(fact).__name__, b"", round(noticed.at_s - BEGAN_S))
        else:
            heard_s = noticed.at_s - fact.heard_ago_s - BEGAN_S
            alert = Alert(type(fact).__name__, fact.device, round(heard_s))
        self.alerts.append(alert)

    def told(self) -> dict[bytes, Told]:
        found: dict[bytes, Told] = {}
        for each in self.alerts:
            if each.name in {DeviceSilent.__name__, DeviceOffline.__name__}:
                is_offline = each.name == DeviceOffline.__name__
                found[each.device] = Told(BEGAN_S + each.heard_at, is_offline)
            else:
                found.pop(each.device, None)
        return found

    def is_fleet_told(self) -> bool:
        fleet = [each.name for each in self.alerts if not each.device]
        return fleet[-1:] == [FleetSilence.__name__]


class Watcher:
    """One process that owns some partitions, from its assignment on."""

    def __init__(
        self,
        log: Log,
        now_s: float,
        places: Sequence[Place] = PLACES,
        *,
        back_s: float = BACK_S,
        rules: SilenceRules | None = None,
    ) -> None:
        begins_s = BEGAN_S + now_s - back_s
        rules = rules or SilenceRules(fleet_min=10_000)
        self.log = log
        self.places = list(places)
        self._next = {
            place: sum(said.at_s < begins_s for said in log.records[place]) for place in places
        }
        self.listening = Listening(
            Silence(rules, interval_s_of=each_minute),
            Timeline(places, begins_s=begins_s, width_s=1.0, late_max_s=3 * INTERVAL_S),
            begins_s=begins_s,
            live_from_s=BEGAN_S + now_s - LATENESS_S,
            pause_max_s=INTERVAL_S,
            told=log.told(),
            is_fleet_told=log.is_fleet_told(),
            is_ours=lambda device: place_of(device) in places,
        )

    def poll(
        self, now_s: float, *, at_most: int | None = None, unanswered: Iterable[Place] = ()
    ) -> list[Noticed]:
        """Read what there is, ask for the ends, and tell what is to be told."""
        timeline, found = self.listening.timeline, []
        for place in self.places:
            if place in unanswered:
                continue
            records = self.log.records[place]
            fresh = records[self._next[place] :][:at_most]
            for said in fresh:
                timeline.say(place, self._next[place], said, BEGAN_S + now_s)
                self._next[place] += 1
            timeline.reach(place, self._next[place])
            timeline.prove({place: len(records)}, BEGAN_S + now_s)
        while (noticed := self.listening.advance()) is not None:
            found += noticed
        for each in found:
            self.log.append(each)
        return found


def place_of(device: bytes) -> Place:
    return PLACES[partition_of(device, PARTITIONS)]
