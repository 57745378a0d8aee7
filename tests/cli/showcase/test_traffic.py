import json
from datetime import UTC, datetime

import pytest

from bridge.cli.showcase.malformed import WAYS
from bridge.cli.showcase.traffic import Device, Kind, message_for
from bridge.pipeline.verdict import Reason

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DEVICE = Device(number=3, device_id="meter-0003", seed=7)


def test_the_same_arguments_give_the_same_bytes() -> None:
    first = message_for(DEVICE, 5, Kind.GOOD, NOW)
    second = message_for(DEVICE, 5, Kind.GOOD, NOW)

    assert first == second


def test_a_good_message_names_its_device_its_time_and_its_sequence() -> None:
    message = message_for(DEVICE, 5, Kind.GOOD, NOW)

    reading = json.loads(message.payload)
    assert reading["device_id"] == "meter-0003"
    assert reading["timestamp"] == "2026-03-01T12:00:00.000Z"
    assert reading["metadata"]["sequence"] == 5
    assert message.device.mqtt_topic == "devices/meter-0003/telemetry"
    assert message.expected is None


def test_a_drifting_device_writes_its_own_time() -> None:
    late = Device(number=3, device_id="meter-0003", seed=7, clock_drift_s=-90)

    message = message_for(late, 1, Kind.DRIFTING, NOW)

    assert json.loads(message.payload)["timestamp"] == "2026-03-01T11:58:30.000Z"
    assert message.expected is None


def test_an_out_of_range_message_is_sound_but_for_one_value() -> None:
    message = message_for(DEVICE, 1, Kind.OUT_OF_RANGE, NOW)

    assert json.loads(message.payload)["metrics"]["temperature"] == 999.9


@pytest.mark.parametrize("way", WAYS)
def test_each_way_of_being_malformed_differs_from_a_good_message(way: str) -> None:
    good = message_for(DEVICE, 9, Kind.GOOD, NOW)

    bad = message_for(DEVICE, 9, Kind.MALFORMED, NOW, way=way)

    assert bad.payload != good.payload
    assert bad.expected is WAYS[way].expected


@pytest.mark.parametrize("way", [way for way in WAYS if way != "empty"])
def test_two_malformed_messages_of_a_device_can_be_told_apart(way: str) -> None:
    first = message_for(DEVICE, 1, Kind.MALFORMED, NOW, way=way)
    second = message_for(DEVICE, 2, Kind.MALFORMED, NOW, way=way)

    assert first.payload != second.payload


def test_the_ways_lead_to_every_reason_that_a_device_alone_can_cause() -> None:
    expected = {malformation.expected for malformation in WAYS.values()}

    assert expected == {
        Reason.EMPTY,
        Reason.NOT_DECODABLE,
        Reason.SCHEMA_MISMATCH,
        Reason.DEVICE_MISMATCH,
        Reason.TIMESTAMP_FUTURE,
        Reason.TIMESTAMP_OLD,
    }
