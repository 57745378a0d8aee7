"""Who was heard in a batch, and when they say that it was: for what shows only over time.

Retained copies are of the past, so they count for nothing here; but a retained presence tells the
state of a device, so it is passed on as what it is.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from bridge.fleet.presence import read_presence
from bridge.mqtt.packets import Inbound
from bridge.pipeline.identity import Address, AddressBook
from bridge.pipeline.timestamps import Timestamp, read_timestamp
from bridge.pipeline.verdict import Passed, Readings, Reason, Rejected, Single, Telemetry, Verdict

_BY_TIME: Final = frozenset((Reason.TIMESTAMP_FUTURE, Reason.TIMESTAMP_OLD))
"""Nothing is wrong but the time: that is what tells of the clock."""

Carried = tuple[Verdict | Passed, Single | Readings]


class Presence(NamedTuple):
    """What a device, or its will, says of being there."""

    after: int
    """So many of those heard came before it."""
    device: bytes
    is_online: bool
    is_retained: bool


class Roll:
    """What a batch tells of the devices themselves; whoever reads it clears it.

    Invariant: `devices` and `measured_us` are equally long. A device that is heard twice stands
    there twice, in order; of a batch of readings each device once, with its newest reading.
    """

    def __init__(self) -> None:
        self.devices: list[bytes] = []
        self.measured_us: list[int | None] = []
        """Microseconds since 1970, UTC, as the device has it; None, it said nothing of use."""
        self.presences: list[Presence] = []
        self.fault: Exception | None = None
        """Why nothing is known of this batch: a bug of ours, which costs no message."""

    def clear(self) -> None:
        """Begin the next batch."""
        self.devices.clear()
        self.measured_us.clear()
        self.presences.clear()
        self.fault = None

    def call(
        self, packets: Sequence[Inbound], carried: Sequence[Carried], addresses: AddressBook
    ) -> None:
        """Take what was carried; one look-up and two appends a message. Never raises."""
        try:
            self._call(packets, carried, addresses)
        except Exception as error:  # noqa: BLE001 - the messages are judged, and are to go on
            self.clear()
            self.fault = error

    def _call(
        self, packets: Sequence[Inbound], carried: Sequence[Carried], addresses: AddressBook
    ) -> None:
        add_device, add_measured = self.devices.append, self.measured_us.append
        for packet, (verdict, outcome) in zip(packets, carried, strict=True):
            address = addresses[packet.topic]
            if type(verdict) is Telemetry:
                if not packet.retain:
                    add_device(address.key)
                    add_measured(verdict.measured_at_us)
            elif address.is_valid:
                self._add(packet, verdict, outcome, address)

    def _add(
        self,
        packet: Inbound,
        verdict: Verdict | Passed,
        outcome: Single | Readings,
        address: Address,
    ) -> None:
        is_online = None
        if address.route is not None and address.route.presence:
            is_online = read_presence(packet.payload)
        if is_online is not None:
            self.presences.append(
                Presence(len(self.devices), address.key, is_online, packet.retain)
            )
        elif not packet.retain:
            newest: dict[bytes, int | None] = {address.key: _measured_us(verdict)}
            if type(outcome) is Readings:
                _add_readings(newest, outcome)
            self.devices += newest
            self.measured_us += newest.values()


def _add_readings(newest: dict[bytes, int | None], readings: Readings) -> None:
    for device, verdict in zip(readings.keys, readings.verdicts, strict=True):
        measured_us, before_us = _measured_us(verdict), newest.get(device)
        if before_us is None or (measured_us is not None and measured_us > before_us):
            newest[device] = measured_us


def _measured_us(verdict: Verdict | Passed) -> int | None:
    if type(verdict) is Telemetry:
        return verdict.measured_at_us
    if type(verdict) is not Rejected or verdict.reason not in _BY_TIME or not verdict.timestamp:
        return None
    timestamp = read_timestamp(verdict.timestamp)
    return timestamp.measured_at_us if type(timestamp) is Timestamp else None
