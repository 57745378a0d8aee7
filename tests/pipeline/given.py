"""The guide's message, a packet that carries it, and a flow at a fixed moment."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from bridge.config.sections import Route, ValidationSection
from bridge.kafka.record import Instant, Record
from bridge.mqtt.packets import Inbound
from bridge.pipeline.flow import Flow
from bridge.pipeline.stages import Stages

DEVICE = "dev-0001"
TOPIC = "devices/dev-0001/telemetry"
RECEIVED = Instant(
    unix_us=1_795_455_325_000_000, monotonic_s=7.0, rfc3339="2026-11-23T17:35:25.000000Z"
)
TIMESTAMP = "2026-11-23T17:35:24.123Z"
MESSAGE: dict[str, Any] = {
    "device_id": DEVICE,
    "timestamp": TIMESTAMP,
    "metrics": {"temperature": 21.5, "humidity": 45.2, "pressure": 1013.25, "battery_level": 87},
    "metadata": {"firmware": "1.2.3", "signal_strength": -67, "location": "x"},
}
PAYLOAD = json.dumps(MESSAGE, separators=(",", ":")).encode()


class Packet(msgspec.Struct, frozen=True):
    """A PUBLISH as a test needs it."""

    payload: bytes = PAYLOAD
    topic: str = TOPIC
    content_type: str | None = None
    user_properties: list[tuple[str, str]] = []
    retain: bool = False
    packet_id: int | None = 1


def message(**changes: object) -> bytes:
    """Write the guide's message with other fields; `...` takes a field away."""
    fields = {k: v for k, v in (MESSAGE | changes).items() if v is not ...}
    return json.dumps(fields).encode()


def flow(
    *,
    routes: tuple[Route, ...] = (Route(),),
    validation: ValidationSection | None = None,
    stages: Stages | None = None,
) -> Flow:
    """Make a flow whose entropy is all ones."""
    return Flow(
        routes=routes,
        dead_letter_topic="telemetry-dlq",
        validation=validation or ValidationSection(),
        entropy=lambda size: b"\xff" * size,
        stages=stages or Stages(),
    )


def carry(
    packet: Inbound | bytes,
    *,
    routes: tuple[Route, ...] = (Route(),),
    validation: ValidationSection | None = None,
    stages: Stages | None = None,
) -> Record:
    """Send one packet, or the guide's packet with another payload, through a new flow."""
    sent = Packet(payload=packet) if isinstance(packet, bytes) else packet
    carrying = flow(routes=routes, validation=validation, stages=stages)
    (record,) = carrying.process([sent], RECEIVED)
    assert isinstance(record, Record)
    return record


def records_of(
    carrying: Flow, packets: Sequence[Inbound], received: Instant = RECEIVED
) -> list[Record]:
    """Send packets through a flow that knows nothing, so none is a duplicate."""
    return [each for each in carrying.process(packets, received) if isinstance(each, Record)]


def headers(record: Record) -> dict[str, str]:
    """Read headers as text; a name that comes twice is a fault."""
    names = [name for name, _ in record.headers]
    assert len(names) == len(set(names))
    return {name: value.decode() for name, value in record.headers}


def value(record: Record) -> dict[str, Any]:
    """Read the value of a telemetry record."""
    assert record.dead_letter is None, record.dead_letter
    parsed: dict[str, Any] = json.loads(record.value)
    return parsed


def verdict(record: Record) -> tuple[str, str, str]:
    """Read reason, layer and detail of a dead letter."""
    letter = record.dead_letter
    assert letter is not None
    return letter.reason, letter.layer, letter.detail
