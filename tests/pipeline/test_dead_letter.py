import hashlib
import re
import uuid

import pytest

from bridge.config.sections import Route
from bridge.kafka.record import Instant, Kept, Record
from bridge.mqtt.packets import PoisonPublish
from bridge.pipeline.dead_letter import IS_RETRYABLE
from bridge.pipeline.verdict import Reason
from tests.pipeline.given import (
    DEVICE,
    PAYLOAD,
    RECEIVED,
    TIMESTAMP,
    TOPIC,
    Packet,
    carry,
    flow,
    headers,
    message,
    records_of,
    verdict,
)

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def digest(payload: bytes) -> str:
    return hashlib.blake2b(payload, digest_size=8).hexdigest()


def refused(record: Record, error: str, *, value_bytes_max: int) -> Record:
    letter = flow().refuse(record, error=error, value_bytes_max=value_bytes_max)
    assert isinstance(letter, Record)
    return letter


def test_a_dead_letter_has_all_its_headers_in_a_stable_order() -> None:
    payload = message(metrics={})
    packet = Packet(
        payload=payload,
        content_type="application/json",
        retain=True,
        user_properties=[("site", "north"), ("traceparent", PARENT)],
    )

    record = carry(packet, routes=(Route(user_properties=("site",)),))

    letter = record.dead_letter
    assert letter is not None
    detail = "metrics has 0 entries, expected 1 to 1000"
    assert [
        ("dlq.id", letter.dlq_id),
        ("dlq.reason", "schema_mismatch"),
        ("dlq.layer", "schema"),
        ("dlq.detail", detail),
        ("dlq.retryable", "false"),
        ("dlq.kafka-topic", "telemetry-raw"),
        ("dlq.mqtt-topic", TOPIC),
        ("dlq.received-at", RECEIVED.rfc3339),
        ("dlq.attempt", "1"),
        ("dlq.copy", "false"),
        ("idempotency-key", f"{DEVICE}:{TIMESTAMP}:{digest(payload)}"),
        ("content-type", "application/json"),
        ("mqtt.retained", "true"),
        ("traceparent", PARENT),
        ("mqtt.user.site", "north"),
        ("__connect.errors.topic", "telemetry-raw"),
        ("__connect.errors.stage", "schema"),
        ("__connect.errors.exception.message", detail),
    ] == list(headers(record).items())
    assert ("telemetry-dlq", b"dev-0001", payload, RECEIVED) == (
        record.kafka_topic,
        record.key,
        record.value,
        record.received,
    )
    assert Kept(packet.topic, payload, packet.content_type) == record.origin, "no properties"
    assert (DEVICE, TOPIC, detail) == (letter.device_id, letter.mqtt_topic, letter.detail)


def test_the_id_is_a_uuid_of_version_7_at_the_time_of_receipt() -> None:
    number = uuid.UUID(headers(carry(b""))["dlq.id"])

    assert (7, uuid.RFC_4122, RECEIVED.unix_us // 1_000) == (
        number.version,
        number.variant,
        number.int >> 80,
    )


def test_a_clock_before_1970_still_gives_an_id() -> None:
    early = Instant(unix_us=-5_000_000, monotonic_s=0.0, rfc3339="1969-12-31T23:59:55.000000Z")

    (record,) = records_of(flow(), [Packet(payload=b"")], early)

    assert uuid.UUID(headers(record)["dlq.id"]).int >> 80 == 0


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", message(timestamp="now")])
def test_a_letter_without_a_readable_timestamp_is_known_by_its_digest(payload: bytes) -> None:
    assert f"{DEVICE}::{digest(payload)}" == headers(carry(payload))["idempotency-key"]


def test_a_letter_has_the_key_that_its_publisher_gave() -> None:
    packet = Packet(payload=b"{", user_properties=[("idempotency-key", "mine")])

    assert f"{DEVICE}:mine:{digest(b'{')}" == headers(carry(packet))["idempotency-key"]


def test_every_reason_says_whether_a_replay_can_help() -> None:
    assert set(Reason) == set(IS_RETRYABLE)


HOSTILE = "\x1b]0;x\x07\r\n\u2028\u202e\u2066\x9b\x7f"


@pytest.mark.parametrize(
    "packet",
    [
        Packet(topic=f"devices/{HOSTILE}/telemetry"),
        Packet(topic=HOSTILE),
        Packet(payload=message(device_id=HOSTILE)),
        Packet(payload=message(timestamp=HOSTILE)),
        Packet(payload=message(metrics={HOSTILE: []})),
        Packet(payload=message(metrics=HOSTILE)),
        Packet(payload=HOSTILE.encode()),
        Packet(content_type=HOSTILE),
        Packet(payload=message(metrics={HOSTILE * 10_000: []})),
    ],
    ids=[
        "topic-level",
        "topic",
        "device_id",
        "timestamp",
        "name",
        "metrics",
        "syntax",
        "content-type",
        "long",
    ],
)
def test_what_a_device_sent_cannot_reach_a_terminal_through_a_letter(packet: Packet) -> None:
    letter = carry(packet).dead_letter

    assert letter is not None
    for text in (letter.detail, letter.device_id, letter.mqtt_topic):
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)
        assert len(text) <= 512


def test_topics_are_cut_between_characters() -> None:
    topic = "devices/" + "é" * 30_000 + "/telemetry"

    sent = headers(carry(Packet(topic=topic)))

    assert topic[: 8 + 508] == sent["dlq.mqtt-topic"]


def test_a_long_content_type_is_cut() -> None:
    assert "x" * 1_024 == headers(carry(Packet(content_type="x" * 60_000)))["content-type"]


def test_two_large_payloads_with_one_head_have_two_keys() -> None:
    keys = {
        headers(
            carry(
                PoisonPublish(
                    topic=TOPIC,
                    payload=b"head",
                    packet_id=1,
                    is_too_large=True,
                    detail="large",
                    payload_bytes=5_000_000,
                    payload_sha256=sha256,
                )
            )
        )["idempotency-key"]
        for sha256 in ("aa" * 32, "bb" * 32)
    }

    assert len(keys) == 2


def test_a_record_that_kafka_never_takes_becomes_a_letter_cut_to_fit() -> None:
    packet = Packet(content_type="application/json", user_properties=[("traceparent", PARENT)])
    record = carry(packet)

    letter = refused(record, "TOO_LARGE", value_bytes_max=100)

    assert (
        "kafka_refused",
        "kafka",
        f"Kafka topic telemetry-raw refused the record of {len(record.value)} bytes: TOO_LARGE",
    ) == verdict(letter)
    assert ("telemetry-dlq", b"dev-0001", PAYLOAD[:100], record.origin, RECEIVED) == (
        letter.kafka_topic,
        letter.key,
        letter.value,
        letter.origin,
        letter.received,
    )
    sent = headers(letter)
    assert headers(record)["idempotency-key"] == sent["idempotency-key"]
    assert ("217", hashlib.sha256(PAYLOAD).hexdigest(), "false", PARENT, "telemetry-raw") == (
        sent["dlq.payload-bytes"],
        sent["dlq.payload-sha256"],
        sent["dlq.retryable"],
        sent["traceparent"],
        sent["dlq.kafka-topic"],
    )


def test_a_refused_record_whose_payload_fits_is_kept_whole_and_may_be_replayed() -> None:
    letter = refused(carry(PAYLOAD), "INVALID_RECORD", value_bytes_max=217)

    assert (PAYLOAD, "true") == (letter.value, headers(letter)["dlq.retryable"])
    assert "dlq.payload-bytes" not in headers(letter)


def test_a_refused_letter_keeps_its_reason_and_headers_and_is_cut() -> None:
    payload = message(metrics={}) + b" " * 1_000
    record = carry(payload)

    letter = refused(record, "MSG_SIZE_TOO_LARGE", value_bytes_max=50)

    assert record.dead_letter is letter.dead_letter
    assert payload[:50] == letter.value
    assert headers(record) | {
        "dlq.retryable": "false",
        "dlq.payload-bytes": str(len(payload)),
        "dlq.payload-sha256": hashlib.sha256(payload).hexdigest(),
    } == headers(letter)


def test_a_letter_cut_twice_still_tells_of_the_whole() -> None:
    payload = b"x" * 1_000
    record = carry(payload)

    once = refused(record, "MSG_SIZE_TOO_LARGE", value_bytes_max=500)
    twice = refused(once, "MSG_SIZE_TOO_LARGE", value_bytes_max=0)

    assert headers(once) == headers(twice)
    assert ("1000", b"") == (headers(twice)["dlq.payload-bytes"], twice.value)
    assert twice is refused(twice, "MSG_SIZE_TOO_LARGE", value_bytes_max=-1)
