"""What the fleet is at the moment of asking: metrics and status say it each in its own way."""

import enum
from collections.abc import Mapping, Sequence

import msgspec

from bridge.fleet.drift import OFFSET_BOUNDS_S
from bridge.observe.text import printable


class Standing(enum.StrEnum):
    """How a device stands; the label `state` of `bridge_devices`."""

    LIVE = "live"
    QUIET = "quiet"
    """For two thirds of what makes it silent."""
    GROUPED = "grouped"
    """Silent with so many others that it is told with them, or will be."""
    SILENT = "silent"
    OFFLINE = "offline"


class FleetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Plain numbers; the default is a bridge that judges no silence."""

    is_silence_on: bool = False
    can_hear: bool = False
    """A device that spoke now would be heard: time passes for silent ones."""
    devices: Mapping[str, int] = {}
    """Known devices by standing."""
    is_fleet_silent: bool = False
    clocks_wrong: int = 0
    offsets: Sequence[int] = (0,) * (len(OFFSET_BOUNDS_S) + 1)
    """Devices by the offset of their clock, one number a bucket."""
    host_doubt: str = ""
    """Why the host's own clock is doubted; empty, it is not."""
    is_host_kept: bool | None = None
    """What the kernel says of it."""
    fleet_drift_s: float | None = None
    alerts_held: int = 0
    """Alerts that Kafka has not confirmed."""


class DeviceFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One device that stands out."""

    device_id: str
    messages_per_s: float
    errors_per_s: float
    """Dead letters and flagged messages."""
    clock_offset_s: float | None
    """Server minus device."""
    standing: Standing | None = None
    """Told of those that are asked for because of it."""
    silent_s: float | None = None
    """The same: how long ago it was heard last."""

    def as_tree(self) -> dict[str, object]:
        """Write it for people, whatever a device called itself."""
        offset_s = self.clock_offset_s
        return {
            "device_id": printable(self.device_id),
            "messages_per_s": round(self.messages_per_s, 3),
            "errors_per_s": round(self.errors_per_s, 3),
            "clock_offset_s": None if offset_s is None else round(offset_s, 3),
            **self._silence(),
        }

    def _silence(self) -> dict[str, object]:
        if self.standing is None or self.silent_s is None:
            return {}
        return {"standing": str(self.standing), "silent_s": round(self.silent_s, 1)}


class Sort(enum.StrEnum):
    """In what respect devices stand out."""

    RATE = "rate"
    ERRORS = "errors"
    DRIFT = "drift"
    SILENCE = "silence"
    """Those silent or offline; who was heard last comes first."""


def fleet_tree(facts: FleetFacts) -> dict[str, object]:
    """Write the fleet for `/status`."""
    drift_s = facts.fleet_drift_s
    return {
        "silence": "off" if not facts.is_silence_on else "hears" if facts.can_hear else "deaf",
        "devices": dict(facts.devices),
        "is_fleet_silent": facts.is_fleet_silent,
        "clocks_wrong": facts.clocks_wrong,
        "alerts_held": facts.alerts_held,
        "host_clock": {
            "state": "doubted" if facts.host_doubt else "trusted",
            "cause": facts.host_doubt,
            "is_kept": facts.is_host_kept,
            "fleet_drift_s": None if drift_s is None else round(drift_s, 3),
        },
    }
