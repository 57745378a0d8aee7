"""The parts that know the fleet over time, made and joined; nothing runs yet."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bridge.config.sections import BridgeConfig, SilenceSection
from bridge.fleet.host_clock import HostClock
from bridge.fleet.limits import Limits
from bridge.fleet.registry import Registry
from bridge.fleet.silence import Silence
from bridge.fleet.silence_facts import SilenceRules
from bridge.observe.counters import Counters
from bridge.observe.log import EventLog
from bridge.runtime.alert_records import AlertRecords
from bridge.runtime.aside_records import Producer
from bridge.runtime.attendance import Attendance
from bridge.runtime.clock import Clock
from bridge.runtime.fleet_narrator import FleetNarrator
from bridge.runtime.fleet_state import FleetState
from bridge.runtime.fleet_view import FleetView
from bridge.runtime.kept_machines import LIMITS, KeptLimits, kept_machines
from bridge.runtime.kernel_clock import ask_kernel


class FleetParts:
    """What one bridge knows of its devices."""

    def __init__(  # noqa: PLR0913 - all named
        self,
        config: BridgeConfig,
        *,
        registry: Registry,
        producer: Producer,
        counters: Counters,
        log: EventLog,
        clock: Clock,
        state: Path,
        on_trust: Callable[[bool], None],
        on_bug: Callable[[Exception], None],
    ) -> None:
        silence = None
        # A member of a share group hears only a part of each device.
        is_heard_whole = config.silence.source == "mqtt" and not config.mqtt.share_group
        if config.silence.multiplier and is_heard_whole:
            silence = make_silence(config.silence, registry)
        alerts = AlertRecords(producer, config.silence.kafka_topic, counters, log)
        client_id = config.mqtt.client_id
        self.attendance = Attendance(
            silence=silence,
            clock_offset_max_s=config.validation.clock_offset_max_s,
            host=HostClock(
                ahead_max_s=config.validation.timestamp_future_max_s,
                behind_max_s=config.validation.timestamp_age_max_s,
            ),
            narrator=FleetNarrator(
                client_id=client_id,
                registry=registry,
                records=alerts,
                counters=counters,
                log=log,
                clock=clock,
            ),
            clock=clock,
            ask_kernel=ask_kernel,
            on_trust=on_trust,
            on_bug=on_bug,
        )
        self.view = FleetView(self.attendance, alerts, clock)
        self.limits = _make_limits(config)
        self.state = FleetState(
            state,
            kept_machines(
                limits=self.limits,
                silence=silence,
                drifts=self.attendance.drifts,
                talkers=self.attendance.talkers,
                alerts=alerts,
                clock=clock,
            ),
            client_id=client_id,
            log=log,
        )

    def follow(self, config: BridgeConfig) -> None:
        """Go by another configuration; where limits were turned on, count from now on.

        What is counted goes on.
        """
        self.attendance.host.allow(
            ahead_max_s=config.validation.timestamp_future_max_s,
            behind_max_s=config.validation.timestamp_age_max_s,
        )
        if self.limits is None:
            self.limits = _make_limits(config)
            if self.limits is not None:
                self.state.keep(LIMITS, KeptLimits(self.limits))

    def registry_changed(self, gone: Sequence[str]) -> None:
        """Ask the registry anew, now that it changed."""
        self.attendance.registry_changed(gone)


def make_silence(section: SilenceSection, registry: Registry) -> Silence:
    """Make the machine that judges silence, as the configuration and the registry say."""

    def interval_s_of(device: bytes) -> float | None:
        entry = registry.get(device.decode("utf-8", "replace"))
        return None if entry is None else entry.expected_interval_s

    rules = SilenceRules(
        expected_interval_s=section.expected_interval_s,
        multiplier=section.multiplier,
        fleet_share=section.fleet_share,
        fleet_min=section.fleet_min,
    )
    return Silence(rules, interval_s_of=interval_s_of)


def _make_limits(config: BridgeConfig) -> Limits | None:
    routes = config.route
    is_wanted = config.limits.per_device_per_s or any(each.per_device_per_s for each in routes)
    return Limits() if is_wanted else None
