"""A gap finder between a memory in a directory and a producer that does what the test says."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.config.sections import BridgeConfig, GapsSection, MqttSection
from bridge.mqtt.events import Connected, Finding, SubscribedAll
from bridge.observe.catalogue.entry import Level
from bridge.observe.counters import Counters
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.runtime.gap_finder import GapFinder
from bridge.runtime.gap_records import GapRecords
from bridge.runtime.session_memory import SessionMemory

FILTER = "devices/+/telemetry"
EXPIRY_S = 3_600


class Producer:
    """Takes what it is told to take, and reports when it is told to report."""

    def __init__(self) -> None:
        self.generation = 0
        self.is_full = False
        self.taken: list[tuple[str, bytes, dict[str, Any]]] = []
        self.reports: list[Callable[[str | None], None]] = []

    def send_aside(
        self,
        kafka_topic: str,
        key: bytes,
        value: bytes,
        on_report: Callable[[str | None], None],
    ) -> bool:
        if self.is_full:
            return False
        self.taken.append((kafka_topic, key, json.loads(value)))
        self.reports.append(on_report)
        return True

    def report(self, error: str | None = None) -> None:
        reports, self.reports = self.reports, []
        for each in reports:
            each(error)


class Stand:
    """One process; a second stand on the same directory is the next start."""

    def __init__(self, directory: Path, *, address: str = "broker:1883") -> None:
        self.stream = io.StringIO()
        self.log = EventLog(level=Level.DEBUG, lines=StreamLines(self.stream), renderer=render_json)
        self.counters = Counters()
        self.producer = Producer()
        self.memory = SessionMemory(directory, client_id="b1", address=address, log=self.log)
        config = BridgeConfig(
            mqtt=MqttSection(client_id="b1"), gaps=GapsSection(kafka_topic="gaps")
        )
        self.records = GapRecords(self.producer, config, self.counters, self.log)
        self.suspended_s = 0.0
        self.finder = GapFinder(
            self.memory,
            self.records,
            self.log,
            session_expiry_s=EXPIRY_S,
            suspended_s=lambda: self.suspended_s,
        )

    @property
    def is_session_expected(self) -> bool:
        return self.memory.now.last_connected_at is not None

    def connect(self, *, session_present: bool, expiry_s: int | None = None) -> None:
        """Say CONNACK as the session reports it."""
        findings: tuple[Finding, ...] = ()
        if expiry_s is not None:
            findings = (Finding("session_expiry_interval", str(EXPIRY_S), str(expiry_s), ""),)
        is_lost = self.is_session_expected and not session_present
        self.finder.note(Connected(session_present, is_lost, 30, findings), ())

    def subscribe(self, *granted: str) -> None:
        filters = granted or (FILTER,)
        self.finder.note(SubscribedAll(filters), filters)

    @property
    def gaps(self) -> list[dict[str, Any]]:
        return [value for _, _, value in self.producer.taken]

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [each for each in lines if each["event"] == name]
