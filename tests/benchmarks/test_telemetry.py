from datetime import UTC, datetime

import pytest

from benchmarks.baseline import validate
from benchmarks.telemetry import telemetry
from bridge.kafka.record import Instant
from tests.pipeline.given import Packet, flow, records_of

_NOW = datetime(2026, 11, 23, 17, 35, 25, tzinfo=UTC)
_RECEIVED = Instant(
    unix_us=round(_NOW.timestamp()) * 1_000_000,
    monotonic_s=7.0,
    rfc3339="2026-11-23T17:35:25.000000Z",
)


def test_every_message_is_good_telemetry_to_the_bridge() -> None:
    messages = list(telemetry(3_000, devices=1_000, now=_NOW))

    packets = [Packet(payload=each.payload, topic=each.mqtt_topic) for each in messages]
    records = records_of(flow(), packets, _RECEIVED)

    assert [None] * 3_000 == [record.dead_letter for record in records]
    assert not any(record.is_flagged for record in records)


def test_messages_have_the_size_of_the_guides_and_are_all_different() -> None:
    payloads = [each.payload for each in telemetry(20_000, devices=1_000, now=_NOW)]

    assert 217 <= sum(map(len, payloads)) / len(payloads) <= 220
    assert len(payloads) == len(set(payloads))


def test_devices_speak_in_turn() -> None:
    topics = [each.mqtt_topic for each in telemetry(5, devices=2, now=_NOW)]

    assert ["devices/sensor-0000/telemetry", "devices/sensor-0001/telemetry"] * 2 == topics[:4]


@pytest.mark.parametrize(
    ("message", "detail"),
    [
        ([], "not an object"),
        ({"device_id": "d", "metrics": {"t": 1}}, "timestamp is missing"),
        ({"device_id": "e", "timestamp": "x", "metrics": {}}, "not that of the topic"),
        ({"device_id": "d", "timestamp": 7, "metrics": {}}, "not a string"),
        ({"device_id": "d", "timestamp": "2020-01-01T00:00:00Z", "metrics": {}}, "too far"),
        ({"device_id": "d", "timestamp": "2026-11-23T17:35:24", "metrics": {}}, "with entries"),
    ],
)
def test_the_baseline_refuses_what_the_guide_refuses(message: object, detail: str) -> None:
    with pytest.raises(ValueError, match=detail):
        validate(message, "d", _NOW)
