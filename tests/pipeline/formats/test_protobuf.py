"""Protobuf: telemetry.proto as published, and messages of the user's own."""

import math
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, timestamp_pb2

from bridge.config.sections import ProtobufFields
from bridge.pipeline.formats import published
from bridge.pipeline.formats.protobuf import ProtobufDecoder, ProtobufMapping
from bridge.pipeline.formats.published import PACKAGE, TELEMETRY, decode_published, describe
from bridge.pipeline.stages import Stages
from bridge.pipeline.verdict import Rejected
from tests.pipeline.formats.given import OWN, carry_as, mapping, own_class
from tests.pipeline.given import DEVICE, TIMESTAMP, carry, value, verdict

PROTO = Path(published.__file__).with_name("telemetry.proto").read_text(encoding="utf-8")
Reading = own_class()


def test_telemetry_proto_says_what_the_bridge_reads() -> None:
    kinds = {
        number: name.removeprefix("TYPE_").lower()
        for name, number in descriptor_pb2.FieldDescriptorProto.Type.items()
    }
    described = set()
    for message in describe().message_type:
        for field in message.field:
            kind = kinds[field.type]
            if field.label == field.LABEL_REPEATED:
                kind = "map<string, Value>"
            described.add((message.name, kind, field.name, field.number))
    written = set()
    for name, body in re.findall(r"^message (\w+) \{(.*?)^\}", PROTO, re.DOTALL | re.MULTILINE):
        fields = re.findall(r"^ +(map<.*?>|\w+) (\w+) = (\d+);", body, re.MULTILINE)
        written |= {(name, kind, field, int(number)) for kind, field, number in fields}

    assert described == written
    assert f"package {PACKAGE};" in PROTO


def published_message(**fields: Any) -> Any:
    sent = TELEMETRY(**{"timestamp": TIMESTAMP} | fields)
    sent.metrics["a"].number = 1
    return sent


def test_a_published_message_may_name_its_device_and_is_held_to_it() -> None:
    good = published_message(device_id=DEVICE)
    bad = published_message(device_id="other")

    assert DEVICE == value(carry_as("protobuf", good.SerializeToString()))["device_id"]
    assert "device_mismatch" == verdict(carry_as("protobuf", bad.SerializeToString()))[0]


def test_every_kind_of_value_arrives_as_what_it_is() -> None:
    sent = published_message()
    sent.metrics["number"].number = 2
    sent.metrics["integer"].integer = -(2**63)
    sent.metrics["unsigned"].unsigned = 2**64 - 1
    sent.metrics["text"].text = "é"
    sent.metrics["flag"].flag = False
    sent.metrics["null"].SetInParent()

    metrics = decode_published(sent.SerializeToString())["metrics"]

    assert {
        "a": 1.0,
        "number": 2.0,
        "integer": -(2**63),
        "unsigned": 2**64 - 1,
        "text": "é",
        "flag": False,
        "null": None,
    } == metrics
    assert [float, bool] == [type(metrics["number"]), type(metrics["flag"])]


@pytest.mark.parametrize(
    ("time", "detail"),
    [
        ({"timestamp": None}, "timestamp is missing"),
        ({"timestamp": "now"}, 'timestamp "now" is not RFC 3339'),
        ({"timestamp": ""}, 'timestamp "" is not RFC 3339'),
    ],
)
def test_a_published_message_without_a_readable_time_is_a_schema_mismatch(
    time: dict[str, Any], detail: str
) -> None:
    record = carry_as("protobuf", published_message(**time).SerializeToString())

    assert ("schema_mismatch", "schema", detail) == verdict(record)


def test_milliseconds_that_look_like_seconds_stay_milliseconds() -> None:
    sent = published_message(timestamp=None, timestamp_ms=1_795_455_324)

    assert "timestamp_old" == verdict(carry_as("protobuf", sent.SerializeToString()))[0]


def decode_own(sent: Any, **changes: Any) -> Any:
    return ProtobufDecoder(mapping(**changes)).decode(sent.SerializeToString())


def test_a_field_that_was_not_sent_is_left_out_and_one_without_presence_has_its_default() -> None:
    decoded = decode_own(Reading())

    assert {"metrics": {"energy": 0, "flow": 0.0, "is_open": False}} == decoded


def test_a_message_without_its_timestamp_is_a_schema_mismatch() -> None:
    record = carry_as(OWN, Reading(flow=1.5).SerializeToString())

    assert ("schema_mismatch", "schema", "timestamp is missing") == verdict(record)


def test_the_device_that_a_message_names_is_held_to() -> None:
    sent = Reading()
    sent.header.id, sent.header.sent_at_ms = "other", 1_795_455_324_123

    assert "device_mismatch" == verdict(carry_as(OWN, sent.SerializeToString()))[0]


def test_an_enum_is_its_name_and_a_number_without_one_stays_a_number() -> None:
    metrics = {"mode": "mode"}

    assert {"mode": "PUMPING"} == decode_own(Reading(mode=1), metrics=metrics)["metrics"]
    assert {"mode": 7} == decode_own(Reading(mode=7), metrics=metrics)["metrics"]
    assert {} == decode_own(Reading(), metrics=metrics)["metrics"]


def test_a_map_gives_all_metrics_and_a_repeated_field_may_be_metadata() -> None:
    sent = Reading(counts={"a": 2**53 + 1, "": -1}, samples=[3, -4])

    decoded = decode_own(sent, metrics="counts", metadata={"samples": "samples"})

    assert {"a": 2**53 + 1, "": -1} == decoded["metrics"]
    assert {"samples": [3, -4]} == decoded["metadata"]


def test_a_32_bit_float_is_the_number_that_was_meant() -> None:
    assert {"level": 45.2} == decode_own(Reading(level=45.2), metrics={"level": "level"})["metrics"]


def test_a_value_deep_in_messages_is_found_where_they_are_there() -> None:
    metrics = {"signal": "child.child.header.signal"}
    sent = Reading()
    sent.child.child.header.signal = -5

    assert {"signal": -5} == decode_own(sent, metrics=metrics)["metrics"]
    assert {} == decode_own(Reading(), metrics=metrics)["metrics"]


def test_unknown_fields_are_left_out_as_protobuf_asks() -> None:
    newer = Reading(flow=1.5).SerializeToString() + b"\xa2\x06\x03new"  # Field 100.

    assert 1.5 == ProtobufDecoder(mapping()).decode(newer)["metrics"]["flow"]


@pytest.mark.parametrize(
    ("unit", "sent", "expected"),
    [
        ("auto", 1_795_455_324, 1_795_455_324),
        ("s", 1_795_455_324, "2026-11-23T17:35:24Z"),
        ("ms", 1_795_455_324_123, TIMESTAMP),
        ("us", 1_795_455_324_123_456, "2026-11-23T17:35:24.123456Z"),
        ("ns", 1_795_455_324_123_456_789, "2026-11-23T17:35:24.123456Z"),
    ],
)
def test_an_integer_has_the_unit_that_the_mapping_says(
    unit: str, sent: int, expected: object
) -> None:
    message = Reading()
    message.header.sent_at_ms = sent

    assert expected == decode_own(message, timestamp_unit=unit)["timestamp"]


def test_a_float_as_timestamp_keeps_its_fraction() -> None:
    sent = Reading(flow=1_795_455_324.25)

    decoded = decode_own(sent, timestamp="flow", timestamp_unit="s")

    assert "2026-11-23T17:35:24.250Z" == decoded["timestamp"]


@pytest.mark.parametrize("unit", ["auto", "s", "ms", "us", "ns"])
@pytest.mark.parametrize(
    ("number", "reason"), [(1.7e308, "timestamp_future"), (-1.7e308, "timestamp_old")]
)
def test_a_float_that_no_year_holds_is_a_time_out_of_bounds(
    number: float, reason: str, unit: str
) -> None:
    sent = Reading(flow=number)
    sent.header.id = DEVICE
    decoding = ProtobufDecoder(mapping(timestamp="flow", timestamp_unit=unit))

    record = carry(
        sent.SerializeToString(), stages=Stages(decode=lambda sent, *_: decoding.decode(sent))
    )

    assert reason == verdict(record)[0]


@pytest.mark.parametrize("unit", ["auto", "s", "ns"])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_float_that_is_no_instant_is_refused(number: float, unit: str) -> None:
    decoded = decode_own(Reading(flow=number), timestamp="flow", timestamp_unit=unit)

    assert isinstance(decoded, Rejected)


def test_a_string_as_timestamp_is_taken_as_it_stands() -> None:
    decoded = decode_own(Reading(note=TIMESTAMP), timestamp="note", timestamp_unit="auto")

    assert TIMESTAMP == decoded["timestamp"]


def test_the_timestamp_of_protobuf_itself_is_an_instant() -> None:
    file = descriptor_pb2.FileDescriptorProto(
        name="t.proto", syntax="proto3", dependency=["google/protobuf/timestamp.proto"]
    )
    message = file.message_type.add(name="T")
    kind, single = descriptor_pb2.FieldDescriptorProto, 1
    message.field.add(
        name="at",
        number=1,
        type=kind.TYPE_MESSAGE,
        type_name=".google.protobuf.Timestamp",
        label=kind.LABEL_OPTIONAL,
    )
    message.field.add(name="a", number=2, type=kind.TYPE_DOUBLE, label=kind.LABEL_OPTIONAL)
    known = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(known)
    decoder = ProtobufDecoder(
        ProtobufMapping(
            descriptor_pb2.FileDescriptorSet(file=[known, file]).SerializeToString(),
            "T",
            ProtobufFields(timestamp="at", metrics={"a": "a"}),
        )
    )
    at = timestamp_pb2.Timestamp(seconds=1_795_455_324, nanos=123_456_789).SerializeToString()
    payload = b"\x0a" + bytes([len(at)]) + at + b"\x11" + struct.pack("<d", single)

    assert {"timestamp": "2026-11-23T17:35:24.123456Z", "metrics": {"a": 1.0}} == decoder.decode(
        payload
    )
    assert {"metrics": {"a": 1.0}} == decoder.decode(payload[-9:])
