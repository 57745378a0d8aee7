"""What shows of the fleet over time, told: to the log, to the counters, to Kafka."""

from collections.abc import Mapping
from typing import Final, TypeAlias, assert_never

from bridge.fleet.drift import ClockFact, ClockRight
from bridge.fleet.host_clock import HostClock
from bridge.fleet.registry import Registry
from bridge.fleet.silence_facts import (
    DeviceOffline,
    DeviceOnline,
    DeviceRecovered,
    DeviceSilent,
    FleetRecovered,
    FleetSilence,
    SilenceFact,
)
from bridge.observe.counters import AlertType, Counters
from bridge.observe.log import EventLog, raised_at
from bridge.runtime.alert_records import Alert, AlertRecords
from bridge.runtime.clock import Clock
from bridge.runtime.gap_records import rfc3339

_US_PER_S: Final = 1e6

DeviceFact: TypeAlias = DeviceSilent | DeviceRecovered | DeviceOffline | DeviceOnline
_NAMES: Final[Mapping[type[DeviceFact], tuple[AlertType, str]]] = {
    DeviceSilent: (AlertType.DEVICE_SILENCE, "device_silent"),
    DeviceRecovered: (AlertType.DEVICE_RECOVERED, "device_recovered"),
    DeviceOffline: (AlertType.DEVICE_OFFLINE, "device_offline"),
    DeviceOnline: (AlertType.DEVICE_ONLINE, "device_online"),
}


class FleetNarrator:
    """Tell each fact once; the log leaves repetitions out, Kafka gets every one."""

    def __init__(  # noqa: PLR0913 - all named
        self,
        *,
        client_id: str,
        registry: Registry,
        records: AlertRecords,
        counters: Counters,
        log: EventLog,
        clock: Clock,
    ) -> None:
        self.records = records
        self._client_id = client_id
        self._registry = registry
        self._counters = counters
        self._log = log
        self._clock = clock

    def tell_fault(self, error: Exception) -> None:
        """Tell of a bug of ours that cost a batch its roll."""
        self._log.emit("attendance_failed", error=repr(error), where=raised_at(error))

    def tell(self, fact: SilenceFact, *, ago_s: float = 0.0) -> None:
        """Tell of a silence, or of its end; what `fact` says was so `ago_s` before now."""
        unix_s = self._clock.instant().unix_us / _US_PER_S
        match fact:
            case DeviceSilent():
                interval_s = round(fact.expected_interval_s, 3)
                self._tell_device(fact, ago_s, unix_s, expected_interval_s=interval_s)
            case DeviceRecovered() | DeviceOffline() | DeviceOnline():
                self._tell_device(fact, ago_s, unix_s)
            case FleetSilence() | FleetRecovered():
                self._tell_fleet(fact, ago_s, unix_s)
            case _:
                assert_never(fact)

    def _tell_device(
        self,
        fact: DeviceFact,
        ago_s: float,
        unix_s: float,
        expected_interval_s: float | None = None,
    ) -> None:
        kind, event = _NAMES[type(fact)]
        device_id = fact.device.decode("utf-8", "replace")
        entry = self._registry.get(device_id)
        device_type = (entry.type or None) if entry is not None else None
        heard_ago_s = fact.heard_ago_s + ago_s
        last_heard_at = rfc3339(unix_s - heard_ago_s)
        silent_s = round(heard_ago_s, 3)
        fields = {} if expected_interval_s is None else {"expected_interval_s": expected_interval_s}
        self._log.emit(
            event,
            device_id=device_id,
            device_type=device_type,
            last_heard_at=last_heard_at,
            silent_s=silent_s,
            **fields,
        )
        self.records.add(
            Alert(
                type=kind,
                client_id=self._client_id,
                at=rfc3339(unix_s),
                device_id=device_id,
                device_type=device_type,
                last_heard_at=last_heard_at,
                silent_s=silent_s,
                expected_interval_s=expected_interval_s,
            )
        )

    def _tell_fleet(self, fact: FleetSilence | FleetRecovered, ago_s: float, unix_s: float) -> None:
        since = rfc3339(unix_s - fact.since_ago_s - ago_s)
        share = None
        if isinstance(fact, FleetSilence):
            kind, devices, share = AlertType.FLEET_SILENCE, fact.count, round(fact.share, 4)
            self._log.emit("fleet_silent", devices=devices, share=share, since=since)
        else:
            kind, devices = AlertType.FLEET_RECOVERED, fact.silent
            self._log.emit("fleet_recovered", still_silent=devices, since=since)
        self.records.add(
            Alert(
                type=kind,
                client_id=self._client_id,
                at=rfc3339(unix_s),
                devices=devices,
                share=share,
                since=since,
            )
        )

    def tell_clock(self, fact: ClockFact) -> None:
        """Tell that a device's clock is wrong, or right again."""
        event = "device_clock_right" if isinstance(fact, ClockRight) else "device_clock_wrong"
        self._counters.clocks_told_wrong += event == "device_clock_wrong"
        self._log.emit(
            event,
            device_id=fact.device.decode("utf-8", "replace"),
            offset_s=round(fact.offset_s, 3),
        )

    def tell_host(self, host: HostClock) -> None:
        """Tell that the host's own clock is doubted, or trusted again."""
        drift_s = host.fleet_drift_s
        if host.doubt is None:
            self._log.emit("host_clock_trusted", is_kept=host.is_kept)
            return
        self._log.emit(
            "host_clock_unsynchronised",
            cause=str(host.doubt),
            is_kept=host.is_kept,
            fleet_drift_s=None if drift_s is None else round(drift_s, 3),
        )
