"""The messages: telemetry in the shape of the ingestion guide, some 219 bytes each."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec


class Message(msgspec.Struct, frozen=True, gc=False):
    """One PUBLISH."""

    mqtt_topic: str
    payload: bytes


def telemetry(messages: int, *, devices: int, now: datetime) -> Iterator[Message]:
    """Yield good telemetry, the devices in turn; no two messages are alike.

    The timestamps end at `now`, a millisecond apart, so that a queue of millions is not too old.
    """
    for number in range(messages):
        device, sequence = number % devices, number // devices
        device_id = f"sensor-{device:04d}"
        measured_at = now - timedelta(milliseconds=messages - number)
        reading = {
            "device_id": device_id,
            "timestamp": _rfc3339(measured_at),
            "metrics": {
                "temperature": round(15 + device % 17 + sequence % 100 / 37, 2),
                "humidity": round(40 + (device + sequence) % 300 / 10 + 0.1, 1),
                "pressure": round(1_000 + device % 25 + sequence % 10 / 10, 1),
                "battery_level": 99 - sequence % 89,
            },
            "metadata": {
                "firmware": f"2.{device % 10}.3",
                "signal_strength": -40 - device % 50,
                "site": f"b-{device % 90 + 10}",
            },
        }
        payload = json.dumps(reading, separators=(",", ":")).encode()
        yield Message(f"devices/{device_id}/telemetry", payload)


def _rfc3339(instant: datetime) -> str:
    utc = instant.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")
