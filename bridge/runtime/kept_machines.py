"""The machines of the fleet as the state file keeps them: each by its name."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from bridge.fleet.drift import Drifts
from bridge.fleet.limits import Limits
from bridge.fleet.silence import Silence
from bridge.fleet.talkers import Talkers
from bridge.runtime.alert_records import AlertRecords
from bridge.runtime.clock import Clock
from bridge.runtime.fleet_state import Machine

LIMITS: Final = "limits"


class KeptLimits(msgspec.Struct, frozen=True):
    """How much each device sent."""

    limits: Limits

    def dump(self, *, is_settled: bool) -> Iterator[bytes]:
        """Write the marks."""
        return self.limits.dump(is_settled=is_settled)

    def load(self, written: bytes, *, away_s: float) -> None:
        """Take over a slice."""
        del away_s
        self.limits.load(written)


class KeptSilence(msgspec.Struct, frozen=True):
    """When each device was heard, and what was told of it."""

    silence: Silence
    clock: Clock

    def dump(self, *, is_settled: bool) -> Iterator[bytes]:
        """Write it as of now."""
        del is_settled  # Who was heard is known, whatever became of the message.
        return self.silence.dump(self.clock.monotonic_s())

    def load(self, written: bytes, *, away_s: float) -> None:
        """Take over a slice; the time away is time in which nobody could hear."""
        self.silence.load(written, self.clock.monotonic_s(), away_s=away_s)


class KeptDrifts(msgspec.Struct, frozen=True):
    """What is thought of the devices' clocks."""

    drifts: Drifts

    def dump(self, *, is_settled: bool) -> Iterator[bytes]:
        """Write the offsets."""
        del is_settled
        return self.drifts.dump()

    def load(self, written: bytes, *, away_s: float) -> None:
        """Take over a slice."""
        del away_s
        self.drifts.load(written)


class KeptTalkers(msgspec.Struct, frozen=True):
    """Who talks most."""

    talkers: Talkers
    clock: Clock

    def dump(self, *, is_settled: bool) -> Iterator[bytes]:
        """Write the counts."""
        del is_settled
        return self.talkers.dump(self.clock.monotonic_s())

    def load(self, written: bytes, *, away_s: float) -> None:
        """Take over the counts, faded by the time away."""
        self.talkers.load(written, self.clock.monotonic_s(), away_s=away_s)


class KeptAlerts(msgspec.Struct, frozen=True):
    """What Kafka has not confirmed of what was told."""

    records: AlertRecords

    def dump(self, *, is_settled: bool) -> Iterator[bytes]:
        """Write the alerts."""
        del is_settled
        return self.records.dump()

    def load(self, written: bytes, *, away_s: float) -> None:
        """Owe them again."""
        del away_s
        self.records.load(written)


def kept_machines(  # noqa: PLR0913 - all named
    *,
    limits: Limits | None,
    silence: Silence | None,
    drifts: Drifts,
    talkers: Talkers,
    alerts: AlertRecords,
    clock: Clock,
) -> Mapping[str, Machine]:
    """Name whatever has a state to keep; what is off keeps none."""
    machines: dict[str, Machine] = {
        "drift": KeptDrifts(drifts),
        "talkers": KeptTalkers(talkers, clock),
        "alerts": KeptAlerts(alerts),
    }
    if limits is not None:
        machines[LIMITS] = KeptLimits(limits)
    if silence is not None:
        machines["silence"] = KeptSilence(silence, clock)
    return machines
