"""What a record of the dead letter topic says, whoever wrote it."""

import json

import pytest
from hypothesis import given, strategies as st

from bridge.pipeline.letters.letter import message_of, read_letter
from tests.pipeline.given import RECEIVED, TOPIC, Packet, message
from tests.pipeline.letters.given import DLQ, RECALL, letters_of, records_by, rejudging

NAMES = [
    "dlq.id",
    "dlq.reason",
    "dlq.layer",
    "dlq.attempt",
    "dlq.copy",
    "dlq.received-at",
    "dlq.mqtt-topic",
    "dlq.reading-index",
    "dlq.batch-head",
    "dlq.suppressed",
    "idempotency-key",
    "content-type",
    "mqtt.user.a",
    "traceparent",
]
texts = st.sampled_from([b"true", b"1", b"-1", b"9" * 30, b"out_of_range", b"{}", TOPIC.encode()])
anything = st.lists(st.tuples(st.sampled_from(NAMES) | st.text(), st.none() | texts | st.binary()))


@given(anything, st.binary(max_size=40), st.binary(max_size=40), st.integers(-(2**63), 2**63 - 1))
def test_no_record_of_anybody_makes_reading_or_judging_raise(
    headers: list[tuple[str, bytes | None]], key: bytes, payload: bytes, timestamp_ms: int
) -> None:
    letter = read_letter(
        kafka_topic=DLQ,
        partition=0,
        offset=0,
        key=key,
        payload=payload,
        headers=headers,
        timestamp_ms=timestamp_ms,
    )

    judged = rejudging(known=[]).judge(letter)

    assert judged.records or judged.left_out
    assert payload == message_of(letter).payload


def test_a_letter_says_what_the_bridge_wrote() -> None:
    packet = Packet(payload=message(metadata={"firmware_version": "1.2.3"}))
    (letter,) = letters_of(records_by([packet], **RECALL))

    assert ("firmware_recalled", "business") == (letter.reason, letter.layer)
    assert ("dev-0001", TOPIC, "telemetry-raw") == (
        letter.device_id,
        letter.mqtt_topic,
        letter.meant_for,
    )
    assert (1, False, True, True) == (
        letter.attempt,
        letter.is_copy,
        letter.is_whole,
        letter.is_retryable,
    )
    assert (RECEIVED.unix_us, RECEIVED.rfc3339) == (
        letter.received.unix_us,
        letter.received.rfc3339,
    )
    assert "telemetry-dlq/3/0" == letter.place


@pytest.mark.parametrize(
    ("payload", "reason", "is_retryable"),
    [
        (b"{", "not_decodable", False),
        (message(timestamp=4e9), "timestamp_future", True),
        (message(metrics={}), "schema_mismatch", False),
        (message(device_id="dev-0002"), "device_mismatch", False),
    ],
)
def test_whether_a_replay_may_help_is_asked_of_the_reason(
    payload: bytes,
    reason: str,
    is_retryable: bool,  # noqa: FBT001 - the expected answer
) -> None:
    (letter,) = letters_of(records_by([Packet(payload=payload)]))

    assert (reason, is_retryable) == (letter.reason, letter.is_retryable)


def test_a_letter_without_a_time_of_receipt_has_that_of_its_record() -> None:
    letter = read_letter(
        kafka_topic=DLQ,
        partition=0,
        offset=0,
        key=b"",
        payload=b"",
        headers=[("dlq.reason", b"empty")],
        timestamp_ms=1_500,
    )

    assert "1970-01-01T00:00:01.500000Z" == letter.received.rfc3339


def test_a_payload_that_was_cut_is_never_retryable() -> None:
    body = json.dumps({"device_id": "dev-0001"}).encode()
    letter = read_letter(
        kafka_topic=DLQ,
        partition=0,
        offset=0,
        key=b"dev-0001",
        payload=body[:5],
        headers=[("dlq.reason", b"too_large"), ("dlq.payload-bytes", b"25")],
        timestamp_ms=0,
    )

    assert (False, False) == (letter.is_whole, letter.is_retryable)
