"""With what rules the bridge is measured: nearly none, what the promise needs, or all there are.

Nothing is flagged, refused or dropped: what is measured is the way of nearly every message.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.telemetry import Message, telemetry
from bridge.config.sections import RANGES
from tests.support.bridge_process import to_toml

DEVICES: Final = 10_000
"""In the registry."""
Sections = Mapping[str, Mapping[str, Any]]

BARE: Final[Sections] = {
    "limits": {"per_device_per_s": 0},
    "dedup": {"keys_max": 0},
    "silence": {"multiplier": 0},
    "validation": {"ranges": {name: [] for name in RANGES}},
}
"""Layers 1 and 2 alone."""
BUSINESS: Final[Mapping[str, Any]] = {
    "firmware_recalled": ["1.4.2", ">=3.0.0,<3.1.0"],
    "types": {"type-0": {"ranges": {"temperature": [-20.0, 60.0]}}},
}


def promise() -> Sections:
    """Give what the promise needs: layers 1 and 2, deduplication, the spool armed, metrics."""
    return {**BARE, "dedup": {}}


def everything(registry: Path) -> Sections:
    """Give all: layers 1 to 4 with this registry, limits, deduplication, silence."""
    return {"registry": {"file": str(registry)}, "validation": BUSINESS, "limits": {}}


def write_registry(path: Path) -> None:
    """Write an entry for each device, with all that layer 4 looks at; no two rules disagree."""
    entries = {
        f"sensor-{number:04d}": {
            "type": f"type-{number % 8}",
            "location": f"b-{number % 90 + 10}",
            "expected_interval_s": 60,
            "limits": {"per_device_per_s": 5.0} if number % 10 == 0 else {"burst": 30},
        }
        for number in range(DEVICES)
    }
    path.write_text(to_toml({"device": entries}), encoding="utf-8")


def messages(count: int, *, devices: int = DEVICES) -> Iterator[Message]:
    """Give telemetry that says where the device is and what its firmware is, as layer 4 reads."""
    for each in telemetry(count, devices=devices, now=datetime.now(UTC)):
        payload = each.payload.replace(b'"firmware":', b'"firmware_version":')
        yield Message(each.mqtt_topic, payload.replace(b'"site":', b'"location":'))
