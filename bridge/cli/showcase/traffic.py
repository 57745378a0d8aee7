"""What one simulated device says: pure, and the same bytes for the same arguments."""

import enum
import json
import math
import random
from datetime import datetime, timedelta
from typing import Any

import msgspec

from bridge.cli.showcase.malformed import WAYS
from bridge.pipeline.verdict import Reason

MODELS = ("boiler", "chiller", "fridge", "meter", "pump", "silo", "turbine", "valve")
SITES = ("north", "east", "south", "west")


class Kind(enum.StrEnum):
    """What is special about a message; the share of each is chosen on the command line."""

    GOOD = "good"
    DRIFTING = "drifting"
    OUT_OF_RANGE = "out_of_range"
    DUPLICATE = "duplicate"
    MALFORMED = "malformed"


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One device of the fleet; everything about it follows from its number and the seed."""

    number: int
    device_id: str
    seed: int
    clock_drift_s: float = 0.0
    """How far its clock is ahead of ours; within what the bridge accepts."""
    silent: bool = False
    """It speaks a few times and is not heard of again."""

    @property
    def mqtt_topic(self) -> str:
        """The topic that it publishes to."""
        return f"devices/{self.device_id}/telemetry"


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One PUBLISH of one device, and what the bridge must make of it."""

    device: Device
    sequence: int
    kind: Kind
    way: str
    """In which way it is malformed, else empty."""
    payload: bytes
    expected: Reason | None
    """The reason of the dead letter that it must become; None: a telemetry record."""


def message_for(
    device: Device, sequence: int, kind: Kind, now: datetime, *, way: str = ""
) -> Message:
    """Say what `device` sends as message number `sequence`, wrong in this `way` or not at all."""
    clock = now + timedelta(seconds=device.clock_drift_s)
    reading = _reading(device, sequence, clock)
    expected: Reason | None = None
    if kind is Kind.OUT_OF_RANGE:
        reading["metrics"]["temperature"] = 999.9
    if kind is Kind.MALFORMED:
        malformation = WAYS[way]
        payload, expected = malformation.spoil(reading, now), malformation.expected
    else:
        payload = json.dumps(reading, separators=(",", ":")).encode()
    return Message(
        device=device,
        sequence=sequence,
        kind=kind,
        way=way,
        payload=payload,
        expected=expected,
    )


def _reading(device: Device, sequence: int, clock: datetime) -> dict[str, Any]:
    chance = random.Random(hash((device.seed, device.number, sequence)))  # noqa: S311
    swing = math.sin(sequence / 20 + device.number)
    return {
        "device_id": device.device_id,
        "timestamp": clock.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "metrics": {
            "temperature": round(21 + device.number % 17 + 4 * swing + chance.gauss(0, 0.2), 2),
            "humidity": round(50 + 15 * swing + chance.gauss(0, 0.5), 1),
            "pressure": round(1_013 + 6 * swing + chance.gauss(0, 0.3), 1),
            "battery_level": max(5, 100 - sequence // 500),
        },
        "metadata": {
            "sequence": sequence,
            "site": SITES[device.number % len(SITES)],
            "firmware": f"2.{device.number % 4}.{device.seed % 10}",
            "signal_strength": -40 - chance.randrange(50),
        },
    }
