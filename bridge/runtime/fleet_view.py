"""The fleet, read for whoever asks: numbers for metrics and status, devices that stand out."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bridge.fleet import silence_state
from bridge.fleet.talkers import KEPT, Kind
from bridge.observe.fleet_facts import DeviceFacts, FleetFacts, Sort, Standing
from bridge.runtime.alert_records import AlertRecords
from bridge.runtime.attendance import Attendance
from bridge.runtime.clock import Clock

TOP_OF_STATUS: Final = 5
_KINDS: Final = {Sort.RATE: Kind.MESSAGES, Sort.ERRORS: Kind.ERRORS, Sort.DRIFT: Kind.DRIFT}
_STANDINGS: Final = {
    Standing.LIVE: silence_state.LIVE,
    Standing.QUIET: silence_state.QUIET,
    Standing.GROUPED: silence_state.GROUPED,
    Standing.SILENT: silence_state.SILENT,
    Standing.OFFLINE: silence_state.OFFLINE,
}
SILENT_FOUND: Final = 1_000
"""So many of each standing are looked through for those heard last."""
_GONE: Final = (Standing.GROUPED, Standing.SILENT, Standing.OFFLINE)


class FleetView:
    """Read the machines of the fleet when somebody asks; keeps nothing."""

    def __init__(self, attendance: Attendance, alerts: AlertRecords, clock: Clock) -> None:
        self._attendance = attendance
        self._alerts = alerts
        self._clock = clock

    def facts(self) -> FleetFacts:
        """Tell what the fleet is now."""
        attendance = self._attendance
        silence, host, drifts = attendance.silence, attendance.host, attendance.drifts
        return FleetFacts(
            is_silence_on=silence is not None,
            can_hear=attendance.is_hearing,
            devices={}
            if silence is None
            else {str(name): silence.count(state) for name, state in _STANDINGS.items()},
            is_fleet_silent=silence is not None and silence.is_fleet_silent,
            clocks_wrong=drifts.wrong,
            offsets=drifts.counts(),
            host_doubt=host.doubt or "",
            is_host_kept=host.is_kept,
            fleet_drift_s=host.fleet_drift_s,
            alerts_held=len(self._alerts),
        )

    def top(self, sort: Sort, count: int) -> Sequence[DeviceFacts]:
        """Give the devices that stand out most, with what is known of each besides."""
        if sort is Sort.SILENCE:
            return self._silent(count)
        talkers, now = self._attendance.talkers, self._clock.monotonic_s()
        known = {
            kind: {each.device: each.amount for each in talkers.top(kind, KEPT, now)}
            for kind in (Kind.MESSAGES, Kind.ERRORS)
        }
        return [
            DeviceFacts(
                device_id=each.device.decode("utf-8", "replace"),
                messages_per_s=known[Kind.MESSAGES].get(each.device, 0.0),
                errors_per_s=known[Kind.ERRORS].get(each.device, 0.0),
                clock_offset_s=self._attendance.drifts.offset_s(each.device),
            )
            for each in talkers.top(_KINDS[sort], count, now)
        ]

    def tops(self) -> Mapping[Sort, Sequence[DeviceFacts]]:
        """Give the few that stand out in each respect, for `/status`."""
        return {sort: self.top(sort, TOP_OF_STATUS) for sort in _KINDS}

    def _silent(self, count: int) -> Sequence[DeviceFacts]:
        silence, now = self._attendance.silence, self._clock.monotonic_s()
        if silence is None:
            return []
        found = [
            DeviceFacts(
                device_id=device.decode("utf-8", "replace"),
                messages_per_s=0.0,
                errors_per_s=0.0,
                clock_offset_s=self._attendance.drifts.offset_s(device),
                standing=standing,
                silent_s=heard_ago_s,
            )
            for standing in _GONE
            for device, heard_ago_s in silence.standing(_STANDINGS[standing], SILENT_FOUND, now)
        ]
        return sorted(found, key=_silent_s)[:count]

    def devices(self, sort: Sort, count: int) -> dict[str, Any]:
        """Answer `/status/devices`."""
        now = self._clock.monotonic_s()
        kind = _KINDS.get(sort)
        first = () if kind is None else self._attendance.talkers.top(kind, 1, now)
        above_max = next((each.amount_above_max for each in first), 0.0)
        return {
            "sort": str(sort),
            "is_above_by_at_most": round(above_max, 6),
            "devices": [each.as_tree() for each in self.top(sort, count)],
        }


def _silent_s(device: DeviceFacts) -> float:
    return device.silent_s or 0.0
