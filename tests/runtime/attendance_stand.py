"""An attendance on a clock of its own, an MQTT broker that answers pings, a Kafka that takes all.

Each second passes as it does in the daemon: the broker says something, who speaks is noted, and
the tick comes.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from bridge.fleet.host_clock import HostClock
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.fleet.silence import Silence
from bridge.fleet.silence_facts import SilenceRules
from bridge.kafka.record import Instant
from bridge.observe.catalogue.entry import Level
from bridge.observe.counters import Counters
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.pipeline.roll import Presence
from bridge.runtime.alert_records import AlertRecords
from bridge.runtime.attendance import Attendance
from bridge.runtime.fleet_narrator import FleetNarrator
from bridge.runtime.fleet_state import FleetState
from bridge.runtime.kept_machines import kept_machines
from bridge.runtime.kernel_clock import KernelClock
from tests.fleet.silences import each_minute
from tests.runtime.gap_stand import Producer
from tests.simulation.clock import SimClock, instant_at

TOPIC = "device-alerts"
CLIENT_ID = "b1"


def fleet(count: int) -> list[bytes]:
    return [b"sensor-%d" % number for number in range(count)]


class Stand:
    """One process; a second stand with its `clock` is the next start."""

    def __init__(
        self,
        *,
        interval_s_of: Callable[[bytes], float | None] = each_minute,
        clock: SimClock | None = None,
        rules: SilenceRules | None = None,
        answers_at_once: bool = True,
    ) -> None:
        self.clock = clock or SimClock()
        self.stream = io.StringIO()
        self.log = EventLog(level=Level.DEBUG, lines=StreamLines(self.stream), renderer=render_json)
        self.counters = Counters()
        self.producer = Producer()
        self.registry = Registry()
        self.alerts = AlertRecords(self.producer, TOPIC, self.counters, self.log)
        self.silence = Silence(rules or SilenceRules(), interval_s_of=interval_s_of)
        self.kernel: KernelClock | None = KernelClock(is_kept=True, max_error_s=0.0)
        self.trust: list[bool] = []
        self.bugs: list[Exception] = []
        self.can_hear = True
        self.is_broker_frozen = False
        self.last_heard_s: float | None = None
        self._answers_at_once = answers_at_once
        self.attendance = Attendance(
            silence=self.silence,
            clock_offset_max_s=30.0,
            host=HostClock(ahead_max_s=300.0, behind_max_s=604_800.0),
            narrator=FleetNarrator(
                client_id=CLIENT_ID,
                registry=self.registry,
                records=self.alerts,
                counters=self.counters,
                log=self.log,
                clock=self.clock,
            ),
            clock=self.clock,
            ask_kernel=lambda: self.kernel,
            on_trust=self.trust.append,
            on_bug=self.bugs.append,
        )

    @property
    def now_s(self) -> int:
        return int(self.clock.now)

    def register(self, *device_ids: str, device_type: str = "") -> None:
        """Let the registry have these devices and no others."""
        self.registry.replace({each: DeviceEntry(type=device_type) for each in device_ids})

    def speak(self, devices: Iterable[bytes], *, ahead_s: float | None = None) -> None:
        """Let each send a message now; with `ahead_s` its own clock is so much ahead."""
        roll, received = self.attendance.roll, self._instant()
        measured = None if ahead_s is None else received.unix_us + round(ahead_s * 1e6)
        roll.devices += devices
        roll.measured_us += [measured] * (len(roll.devices) - len(roll.measured_us))
        self.attendance.note([], received)

    def say(self, device: bytes, *, is_online: bool, is_retained: bool = False) -> None:
        """Let a device, or its will, say whether it is there."""
        self.attendance.roll.presences.append(Presence(0, device, is_online, is_retained))
        self.attendance.note([], self._instant())

    def tick(self) -> None:
        self.attendance.tick(can_hear=self.can_hear, last_heard_s=self.last_heard_s)
        while self.clock.turn():
            pass
        if self._answers_at_once:
            self.producer.report()

    def pass_by(self, seconds: int, speaking: Iterable[bytes] = (), *, every_s: int = 60) -> None:
        """Let seconds pass; who speaks does so each `every_s`, spread over it."""
        devices = list(speaking)
        for _ in range(seconds):
            self.clock.now += 1.0
            if not self.is_broker_frozen:
                self.last_heard_s = self.clock.now
                self.speak(devices[self.now_s % every_s :: every_s])
            self.tick()

    def stand_still(self, seconds: float) -> None:
        """Let the loop not turn: time passes, and nothing is noticed."""
        self.clock.now += seconds

    def lose_link(self) -> None:
        self.can_hear = False
        self.attendance.link_lost(self.last_heard_s)

    def dump(self) -> list[bytes]:
        return list(self.silence.dump(self.clock.now))

    def state(self, directory: Path, *, client_id: str = CLIENT_ID) -> FleetState:
        machines = kept_machines(
            limits=None,
            silence=self.silence,
            drifts=self.attendance.drifts,
            talkers=self.attendance.talkers,
            alerts=self.alerts,
            clock=self.clock,
        )
        return FleetState(directory, machines, client_id=client_id, log=self.log)

    def _instant(self) -> Instant:
        return instant_at(self.clock.now, self.clock.now)

    @property
    def told(self) -> list[tuple[str, str | None]]:
        """Give type and device of every alert that Kafka was given."""
        return [(each["type"], each.get("device_id")) for each in self.records]

    @property
    def records(self) -> list[dict[str, Any]]:
        return [value for _, _, value in self.producer.taken]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [each for each in self._lines() if each["event"] == name]

    def _lines(self) -> Iterator[dict[str, Any]]:
        return (json.loads(line) for line in self.stream.getvalue().splitlines())
