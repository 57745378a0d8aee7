import gzip
import json
import re
from typing import Any, Never

import pytest
from hypothesis import given, strategies as st

from bridge.config.sections import Route
from bridge.mqtt.packets import PoisonPublish
from bridge.pipeline.identity import Address, AddressBook
from bridge.pipeline.stages import Stages
from tests.pipeline.given import (
    DEVICE,
    MESSAGE,
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
    value,
    verdict,
)

SERVER_FIELDS = {"server_received_at": RECEIVED.rfc3339, "time_drift_seconds": 0.877}


def test_the_guides_message_becomes_one_telemetry_record() -> None:
    record = carry(PAYLOAD)

    assert ("telemetry-raw", b"dev-0001", RECEIVED) == (
        record.kafka_topic,
        record.key,
        record.received,
    )
    assert MESSAGE | SERVER_FIELDS == value(record)
    assert {
        "content-type": "application/json",
        "idempotency-key": f"{DEVICE}:{TIMESTAMP}:009f1de37fc1ae62",
    } == headers(record)
    assert not record.is_flagged


def test_records_come_in_the_order_of_their_packets() -> None:
    topics = ["devices/a/telemetry", "devices/b/telemetry", "devices/a/telemetry", "nowhere"]
    packets = [Packet(topic=topic, payload=message(device_id="a")) for topic in topics]

    records = records_of(flow(), packets)

    assert [b"a", b"b", b"a", b""] == [record.key for record in records]
    assert [True, False, True, False] == [record.dead_letter is None for record in records]


def test_a_device_cannot_set_a_field_of_the_server() -> None:
    forged = {
        "server_received_at": "2000-01-01T00:00:00Z",
        "time_drift_seconds": 0,
        "warnings": ["none at all"],
        "timestamp_sent": "forged",
    }

    assert MESSAGE | SERVER_FIELDS == value(carry(message(**forged)))


def test_a_rewritten_timestamp_leaves_the_devices_own_beside_it() -> None:
    record = value(carry(message(timestamp=1_795_455_324.123, timestamp_sent="forged")))

    assert (TIMESTAMP, 1_795_455_324.123) == (record["timestamp"], record["timestamp_sent"])
    assert "warnings" not in record


def test_a_timestamp_without_zone_is_flagged() -> None:
    record = carry(message(timestamp="2026-11-23T17:35:24.123"))

    assert record.is_flagged
    assert ["timestamp_without_zone"] == value(record)["warnings"]
    assert TIMESTAMP == value(record)["timestamp"]


def test_of_duplicate_keys_the_last_is_judged_and_sent() -> None:
    twice = PAYLOAD.replace(b'{"device_id"', b'{"device_id":"evil","metrics":7,"device_id"')

    assert MESSAGE | SERVER_FIELDS == value(carry(twice))


def test_integers_stay_exact() -> None:
    metrics = {"a": 2**53 + 1, "b": -(2**64), "c": 10**4_000}

    assert metrics == value(carry(message(metrics=metrics)))["metrics"]


def test_the_first_matching_route_decides() -> None:
    routes = (
        Route(filter="plant/+/t", kafka_topic="plant"),
        Route(filter="hall/+/t", kafka_topic="hall"),
        Route(filter="hall/+/#", kafka_topic="rest"),
    )

    record = carry(Packet(topic="hall/dev-0001/t"), routes=routes)

    assert "hall" == record.kafka_topic


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "Application/JSON; charset=utf-8",
        " application/json ",
        "text/json",
        "text/plain",
        "application/octet-stream",
    ],
)
def test_a_content_type_for_json_or_for_nothing_is_read_as_json(content_type: str | None) -> None:
    assert carry(Packet(content_type=content_type)).dead_letter is None


@pytest.mark.parametrize(
    "content_type",
    ["application/gzip", "application/xml", "image/png", "json", "x/\x1b"],
)
def test_another_content_type_is_an_unsupported_format(content_type: str) -> None:
    record = carry(Packet(content_type=content_type))

    assert ("unsupported_format", "protocol") == verdict(record)[:2]
    assert PAYLOAD == record.value
    assert content_type == headers(record)["content-type"]
    assert "\x1b" not in headers(record)["dlq.detail"]


def test_gzip_under_the_content_type_of_json_keeps_its_bytes() -> None:
    packed = gzip.compress(PAYLOAD)

    record = carry(Packet(payload=packed, content_type="application/json"))

    assert ("not_decodable", "protocol", "payload is gzip (bytes 1f 8b), not JSON") == verdict(
        record
    )
    assert packed == record.value


def test_an_empty_payload_is_a_dead_letter_and_no_tombstone() -> None:
    record = carry(b"")

    assert ("empty", "protocol", "payload has no bytes") == verdict(record)
    assert record.value == b""


def test_a_payload_over_the_bound_of_its_route_is_kept_whole() -> None:
    routes = (Route(payload_bytes_max=100),)

    record = carry(PAYLOAD, routes=routes)

    assert (
        "too_large",
        "protocol",
        "payload has 217 bytes, at most 100 on this route",
    ) == verdict(record)
    assert (PAYLOAD, "true") == (record.value, headers(record)["dlq.retryable"])
    assert carry(PAYLOAD, routes=(Route(payload_bytes_max=217),)).dead_letter is None


@pytest.mark.parametrize(
    ("device_id", "key"),
    [
        ("", b""),
        ("a b", b"a b"),
        ("ok\n", b"ok\n"),
        ("d" * 65, b"d" * 65),
        ("é" * 200, "é".encode() * 128),
        ("x" + "é" * 200, b"x" + "é".encode() * 127),
    ],
    ids=["empty", "space", "newline", "65", "256 bytes", "255 bytes"],
)
def test_a_topic_with_an_invalid_device_id_is_a_dead_letter(device_id: str, key: bytes) -> None:
    record = carry(Packet(topic=f"devices/{device_id}/telemetry"))

    assert ("device_id_invalid", "protocol") == verdict(record)[:2]
    assert key == record.key
    assert "telemetry-raw" == headers(record)["dlq.kafka-topic"]


def test_a_topic_without_a_route_is_still_a_dead_letter() -> None:
    record = carry(Packet(topic="left/over"))

    assert (
        "device_id_invalid",
        "protocol",
        'MQTT topic "left/over" matches the filter of no route',
    ) == verdict(record)
    assert (b"", "") == (record.key, headers(record)["dlq.kafka-topic"])


@pytest.mark.parametrize(
    ("is_too_large", "reason"), [(True, "too_large"), (False, "malformed_packet")]
)
def test_a_packet_that_the_codec_refused_is_a_dead_letter(
    *, is_too_large: bool, reason: str
) -> None:
    poison = PoisonPublish(
        topic=TOPIC,
        payload=b"head",
        packet_id=1,
        is_too_large=is_too_large,
        detail="why \x1b[2J",
        payload_bytes=3_000_000,
        payload_sha256="ab" * 32,
        content_type="application/json",
        retain=True,
    )

    record = carry(poison)

    assert (reason, "protocol", r"why \x1b[2J") == verdict(record)
    sent = headers(record)
    assert ("3000000", "ab" * 32, "false", "application/json", "true") == (
        sent["dlq.payload-bytes"],
        sent["dlq.payload-sha256"],
        sent["dlq.retryable"],
        sent["content-type"],
        sent["mqtt.retained"],
    )
    assert (b"head", b"dev-0001", poison) == (record.value, record.key, record.origin)


def test_a_refused_packet_stays_so_whatever_its_topic_is() -> None:
    poison = PoisonPublish(
        topic="devices/\\xff/telemetry",
        payload=PAYLOAD,
        packet_id=1,
        is_too_large=False,
        detail="topic is not UTF-8",
        payload_bytes=len(PAYLOAD),
        payload_sha256="",
    )

    record = carry(poison)

    assert ("malformed_packet", "protocol", "topic is not UTF-8") == verdict(record)
    assert "dlq.payload-bytes" not in headers(record)


def _break(*_: object) -> Never:
    raise RuntimeError("boom \x1b")


@pytest.mark.parametrize(
    ("stage", "layer"),
    [("decode", "protocol"), ("validate", "schema"), ("enrich", "schema"), ("write", "schema")],
)
def test_a_fault_of_ours_in_a_stage_costs_one_message_a_detour(stage: str, layer: str) -> None:
    record = carry(PAYLOAD, stages=Stages(**{stage: _break}))

    reason, said_layer, detail = verdict(record)
    assert ("internal_error", layer) == (reason, said_layer)
    assert re.fullmatch(r"RuntimeError at test_flow\.py:\d+: boom \\x1b", detail)
    assert (PAYLOAD, b"dev-0001", "true") == (
        record.value,
        record.key,
        headers(record)["dlq.retryable"],
    )


def test_a_fault_in_one_message_leaves_the_others_alone() -> None:
    def decode_but_for_one(payload: bytes, content_type: str | None, address: Address) -> object:
        return _break() if b"bad" in payload else Stages().decode(payload, content_type, address)

    packets = [Packet(), Packet(payload=b'"bad"'), Packet()]

    records = records_of(flow(stages=Stages(decode=decode_but_for_one)), packets)

    assert [None, "internal_error", None] == [
        r.dead_letter and r.dead_letter.reason for r in records
    ]


def test_the_address_book_is_bounded_and_remembers_only_valid_topics() -> None:
    book = AddressBook((Route(filter="devices/+/#"),), addresses_max=3)

    for topic in ("devices/a/t", "devices/b/t", "devices//t", "x", "devices/c/" + "l" * 300):
        assert book[topic] is not None
    assert {"devices/a/t", "devices/b/t"} == set(book)
    for name in "cdef":
        assert book[f"devices/{name}/t"].device_id == name
    assert len(book) <= 3


@given(st.binary(max_size=300), st.text(max_size=20), st.none() | st.text(max_size=20))
def test_no_packet_makes_the_flow_raise_and_each_gives_one_record(
    payload: bytes, level: str, content_type: str | None
) -> None:
    packets = [
        Packet(payload=payload, topic=topic, content_type=content_type)
        for topic in (TOPIC, level, f"devices/{level}/telemetry")
    ]

    records = records_of(flow(), packets)

    assert [payload] * 3 == [record.value for record in records]
    assert "internal_error" not in {r.dead_letter.reason for r in records if r.dead_letter}


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
_NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(
    st.dictionaries(_NAMES, _SCALARS, min_size=1),
    st.dictionaries(_NAMES, st.recursive(_SCALARS, st.lists, max_leaves=9)),
)
def test_every_field_of_the_device_arrives_equal(
    metrics: dict[str, Any], metadata: dict[str, Any]
) -> None:
    sent = MESSAGE | {"metrics": metrics, "metadata": metadata}

    record = value(carry(json.dumps(sent).encode()))

    assert json.dumps(sent | SERVER_FIELDS) == json.dumps(record)
