"""Layers 3 and 4 at work: a message is accepted, flagged, copied, or sent to the dead letters."""

from typing import Any

import msgspec
import pytest

from bridge.config.sections import Route, ValidationSection
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.kafka.record import Record
from bridge.pipeline.flow import Flow, Outcome
from bridge.pipeline.policy import Policy
from bridge.pipeline.verdict import Several
from tests.pipeline.given import RECEIVED, Packet, message

HOT: dict[str, Any] = {"temperature": 9999, "humidity": 45.2}


def outcomes(validation: ValidationSection, *packets: Packet) -> list[Outcome]:
    flow = Flow(
        routes=[Route()],
        dead_letter_topic="dlq",
        validation=validation,
        entropy=bytes,
        policy=Policy.of(validation, Registry()),
    )
    return flow.process(list(packets), RECEIVED)


def hot(second: int = 24) -> Packet:
    return Packet(payload=message(metrics=HOT, timestamp=f"2026-11-23T17:35:{second:02}.000Z"))


def letter(record: Record) -> dict[str, bytes]:
    return dict(record.headers)


def test_a_flagged_message_is_telemetry_with_a_warning_and_a_copy_beside_it() -> None:
    (outcome,) = outcomes(ValidationSection(), hot())

    assert isinstance(outcome, Several)
    telemetry, copy = outcome.records
    (warning,) = msgspec.json.decode(telemetry.value)["warnings"]
    assert warning.startswith("out_of_range: metrics.temperature is 9999, above 150")
    assert (None, True) == (telemetry.dead_letter, telemetry.is_flagged)
    headers = letter(copy)
    assert (b"true", b"out_of_range", b"semantic") == (
        headers["dlq.copy"],
        headers["dlq.reason"],
        headers["dlq.layer"],
    )
    assert hot().payload == copy.value
    assert copy.dead_letter is not None
    assert copy.dead_letter.is_copy


def test_the_next_copy_of_a_device_and_reason_waits_and_says_how_many_were_left_out() -> None:
    validation = ValidationSection(flagged_copy_interval_s=60)
    flow = Flow(
        routes=[Route()],
        dead_letter_topic="dlq",
        validation=validation,
        entropy=bytes,
        policy=Policy.of(validation, Registry()),
    )
    later = msgspec.structs.replace(RECEIVED, monotonic_s=RECEIVED.monotonic_s + 61)

    first = flow.process([hot(10), hot(11), hot(12)], RECEIVED)
    (last,) = flow.process([hot(13)], later)

    assert [Several, Record, Record] == [type(each) for each in first]
    assert isinstance(last, Several)
    assert b"2" == letter(last.records[1])["dlq.suppressed"]


def test_forwarded_only_there_is_no_copy() -> None:
    (outcome,) = outcomes(ValidationSection(semantic="forward"), hot())

    assert isinstance(outcome, Record)
    assert outcome.is_flagged


def test_to_the_dead_letters_only_the_message_is_no_telemetry_and_no_copy() -> None:
    (outcome,) = outcomes(ValidationSection(semantic="dlq"), hot())

    assert isinstance(outcome, Record)
    assert outcome.dead_letter is not None
    assert ("out_of_range", False) == (outcome.dead_letter.reason, outcome.dead_letter.is_copy)
    assert b"false" == letter(outcome)["dlq.copy"]


@pytest.mark.parametrize("mode", ["forward", "dlq", "both"])
def test_a_message_within_all_ranges_is_plain_telemetry_in_every_mode(mode: Any) -> None:
    (outcome,) = outcomes(ValidationSection(semantic=mode, business=mode), Packet())

    assert isinstance(outcome, Record)
    assert (None, False) == (outcome.dead_letter, outcome.is_flagged)


def test_a_copy_is_known_by_its_reason_and_never_as_the_letter_of_its_message() -> None:
    metadata = {"signal_strength": 5, "firmware_version": "1.0.0"}
    payload = message(metrics=HOT, metadata=metadata)
    registry = Registry()
    registry.replace({"dev-0001": DeviceEntry(enabled=False)})
    validation = ValidationSection()
    flow = Flow(
        routes=[Route()],
        dead_letter_topic="dlq",
        validation=validation,
        entropy=bytes,
        policy=Policy.of(validation, registry),
    )

    (outcome,) = flow.process([Packet(payload=payload)], RECEIVED)
    assert isinstance(outcome, Several)
    refused = flow.refuse(outcome.records[0], error="MSG_SIZE_TOO_LARGE", value_bytes_max=100)

    assert isinstance(refused, Record)
    keys = [each.dedup_key for each in (*outcome.records, refused)]
    assert 4 == len(keys) == len(set(keys))
