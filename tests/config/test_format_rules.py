"""Layouts and mappings that cannot serve are found at the start: key, value, remedy."""

from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from bridge.config.layout_rules import check_layouts
from bridge.config.paths import key_text
from bridge.config.problems import Problem
from bridge.config.protobuf_rules import check_mappings, check_protobuf
from bridge.config.sections import BinaryField, BinaryLayout, ProtobufFields, ProtobufSection
from tests.pipeline.formats.given import LAYOUT, own_descriptor_set

TIME = BinaryField(name="time", type="u32", to="timestamp", unit="s")
VALUE = BinaryField(name="a", type="u16")


def text_of(problem: Problem) -> str:
    return f"{key_text(problem.path)}: {problem.text}"


def layout_problems(*fields: BinaryField) -> list[str]:
    layouts = {"door": BinaryLayout(byte_order="big", fields=fields)}
    return [text_of(problem) for problem in check_layouts(layouts)]


def of_value(**changes: Any) -> list[str]:
    """Give the problems of one field behind a sound timestamp, less where it stands."""
    field = BinaryField(**{"name": "a", "type": "u16"} | changes)
    problems = layout_problems(TIME, VALUE, field) if "to" in changes else None
    found = problems or layout_problems(TIME, field)
    return [problem.removeprefix("layout.door.") for problem in found]


def test_a_sound_layout_has_no_problem() -> None:
    assert [] == list(check_layouts({"door": LAYOUT}))


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        pytest.param(
            (VALUE,),
            "layout.door.fields: has no timestamp, and a message without one is never valid; add a"
            ' field such as { name = "timestamp", type = "u32", to = "timestamp", unit = "s" }',
            id="no timestamp",
        ),
        pytest.param(
            (TIME, VALUE, TIME),
            "layout.door.fields[2].to: fields[0] is the timestamp already; write"
            ' "metrics", "metadata" or "ignored"',
            id="two timestamps",
        ),
        pytest.param(
            (TIME,),
            "layout.door.fields: has 0 metrics, and a message is valid with 1 to 1000; a field is"
            ' one with to = "metrics", which is the default',
            id="no metrics",
        ),
        pytest.param(
            (TIME, VALUE, VALUE),
            'layout.door.fields[2].name: "a" is the name of fields[1] already, and only one of them'
            " would be in the record; choose another name",
            id="one name twice",
        ),
    ],
)
def test_a_layout_that_gives_no_valid_message_is_refused(
    fields: tuple[BinaryField, ...], problem: str
) -> None:
    assert [problem] == layout_problems(*fields)


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        pytest.param(
            {"unit": "s"},
            "fields[1].unit: belongs to the timestamp only; remove it, units of metrics stand in"
            " validation.units",
            id="unit of a metric",
        ),
        pytest.param(
            {"scale": 0},
            "fields[1].scale: 0 is out of bounds; write a number such as 0.1, not 0",
            id="scale 0",
        ),
        pytest.param(
            {"scale": 1e30},
            "fields[1].scale: 1e+30 is out of bounds; write a number such as 0.1, not 0",
            id="scale too large",
        ),
        pytest.param(
            {"offset": 1e30},
            "fields[1].offset: 1e+30 is out of bounds, 1e-18 to 1e18; change it",
            id="offset too large",
        ),
        pytest.param(
            {"type": "f32", "scale": 0.1},
            "fields[1].scale: is for integers, not for f32; remove it",
            id="scale of a float",
        ),
        pytest.param(
            {"type": "bool", "offset": 1},
            "fields[1].offset: is for integers, not for bool; remove it",
            id="offset of a bool",
        ),
        pytest.param(
            {"type": "bool", "missing": 2},
            "fields[1].missing: a bool has no value left that could mean that there is none; remove"
            " it",
            id="missing of a bool",
        ),
        pytest.param(
            {"type": "u16", "missing": "nan"},
            'fields[1].missing: "nan" is for f32 and f64; write a value of u16',
            id="nan of an integer",
        ),
        pytest.param(
            {"type": "i24", "missing": -8_388_609},
            "fields[1].missing: -8388609 is no value of i24, an integer from -8388608 to 8388607;"
            " write what is on the wire, before scale and offset",
            id="missing out of range",
        ),
        pytest.param(
            {"type": "u8", "missing": 1.5},
            "fields[1].missing: 1.5 is no value of u8, an integer from 0 to 255; write what is on"
            " the wire, before scale and offset",
            id="missing with a fraction",
        ),
        pytest.param(
            {"type": "f32", "missing": 1e300},
            "fields[1].missing: 1e+300 is no value of f32; write a smaller one, or f64",
            id="missing too large",
        ),
    ],
)
def test_a_field_that_means_nothing_is_refused(field: dict[str, Any], problem: str) -> None:
    assert [problem] == of_value(**field)


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        pytest.param(
            {"type": "u16", "unit": "s"},
            'fields[0].type: "u16" cannot hold a time since 1970; write "u32", "i32", "u64" or'
            ' "i64"',
            id="type",
        ),
        pytest.param(
            {"type": "u32"},
            'fields[0]: a timestamp needs its unit; write unit = "s" or unit = "ms"',
            id="no unit",
        ),
        pytest.param(
            {"type": "u32", "unit": "ms"},
            "fields[0].unit: milliseconds since 1970 do not fit into u32, which ends in February"
            ' 1970; write type = "u64" or "i64", or unit = "s"',
            id="unit too small",
        ),
        pytest.param(
            {"type": "u32", "unit": "s", "scale": 0.1},
            "fields[0].scale: means nothing on a timestamp; remove it",
            id="scale",
        ),
        pytest.param(
            {"type": "u32", "unit": "s", "missing": 0},
            "fields[0].missing: means nothing on a timestamp; remove it",
            id="missing",
        ),
    ],
)
def test_a_timestamp_that_is_none_is_refused(field: dict[str, Any], problem: str) -> None:
    time = BinaryField(**{"name": "time", "to": "timestamp"} | field)

    found = [each.removeprefix("layout.door.") for each in layout_problems(time, VALUE)]

    assert [problem] == found


def protobuf_problems(
    *, descriptor_set: bytes | None = None, message: str = "acme.Reading", **fields: Any
) -> list[str]:
    section = ProtobufSection(
        descriptor_set="x.binpb",
        message=message,
        fields=ProtobufFields(
            **{"timestamp": "header.sent_at_ms", "metrics": {"flow": "flow"}} | fields
        ),
    )
    written = own_descriptor_set() if descriptor_set is None else descriptor_set
    problems = [*check_mappings({"pump": section}), *check_protobuf("pump", section, written)]
    return [text_of(problem) for problem in problems]


def test_a_sound_mapping_has_no_problem() -> None:
    assert [] == protobuf_problems()
    assert [] == protobuf_problems(
        metrics="counts",
        metadata={"samples": "samples", "mode": "mode", "id": "header.id"},
        device_id="header.id",
        timestamp="note",
    )


_LACKING = descriptor_pb2.FileDescriptorSet(
    file=[descriptor_pb2.FileDescriptorProto(name="a.proto", dependency=["b.proto"])]
).SerializeToString()
_BROKEN = descriptor_pb2.FileDescriptorSet(
    file=[descriptor_pb2.FileDescriptorProto(name="a.proto", package="no package")]
).SerializeToString()
_PROTOC = "protoc --include_imports --descriptor_set_out=FILE"


@pytest.mark.parametrize(
    ("descriptor_set", "problem"),
    [
        (b"syntax = 3;", f"holds no FileDescriptorSet; write it with {_PROTOC}"),
        (b"", f"holds no message at all; write it with {_PROTOC}"),
        (_LACKING, f'lacks "b.proto", which "a.proto" imports; write it with {_PROTOC}'),
        (_BROKEN, 'holds "a.proto", which cannot be used ('),
    ],
    ids=["a .proto", "empty", "an import missing", "broken"],
)
def test_a_file_that_is_no_whole_descriptor_set_is_refused(
    descriptor_set: bytes, problem: str
) -> None:
    (found,) = protobuf_problems(descriptor_set=descriptor_set)

    assert found.startswith(f"protobuf.pump.descriptor_set: {problem}")


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("acme.Readings", 'meant "acme.Reading"?'),
        ("Reading", 'meant "acme.Reading"?'),
        ("x", 'there is: "acme.Header", "acme.Reading"'),
    ],
)
def test_a_message_that_is_not_there_is_refused(message: str, hint: str) -> None:
    assert [f'protobuf.pump.message: "{message}" is no message of it; {hint}'] == protobuf_problems(
        message=message
    )


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        pytest.param(
            {"timestamp": "header.sent_at"},
            'timestamp: "header.sent_at": acme.Header has no field "sent_at"; meant "sent_at_ms"?',
            id="no such field",
        ),
        pytest.param(
            {"timestamp": "flow.x"},
            'timestamp: "flow.x" goes on behind "flow", which is no message; end it there',
            id="through a number",
        ),
        pytest.param(
            {"timestamp": "children.sent_at_ms"},
            'timestamp: "children.sent_at_ms" leads through "children", which has several values;'
            " name a field that has one",
            id="through a repeated message",
        ),
        pytest.param(
            {"timestamp": "is_open"},
            'timestamp: "is_open" is bool; a timestamp is a string, a number or a'
            " google.protobuf.Timestamp",
            id="bool as timestamp",
        ),
        pytest.param(
            {"timestamp": "note", "timestamp_unit": "ms"},
            'timestamp: "note" is string, which needs no unit; remove timestamp_unit',
            id="unit of a string",
        ),
        pytest.param(
            {"device_id": "energy"},
            'device_id: "energy" is uint64; a device id is a string, and where none is named, the'
            " MQTT topic has it",
            id="number as device id",
        ),
        pytest.param(
            {"metrics": {"raw": "raw"}},
            'metrics.raw: "raw" is bytes, which JSON has no value for',
            id="bytes",
        ),
        pytest.param(
            {"metrics": {"h": "header"}},
            'metrics.h: "header" is message acme.Header, which JSON has no value for; name one of'
            ' its fields: "id", "sent_at_ms", "signal"',
            id="message",
        ),
        pytest.param(
            {"metrics": {"s": "samples"}},
            'metrics.s: "samples" has several values, and a metric has one; metadata may take it',
            id="repeated",
        ),
        pytest.param(
            {"metrics": "flow"},
            'metrics: "flow" is double, not a map with text for keys; write a table of names and'
            " paths",
            id="no map",
        ),
        pytest.param(
            {"metrics": {}},
            "metrics: is empty, and a message without a metric is never valid; write a name and a"
            " path",
            id="no metrics",
        ),
        pytest.param(
            {"metrics": {"": "flow"}},
            'metrics."": a name in metrics has 0 characters; write 1 to 128',
            id="a metric without a name",
        ),
    ],
)
def test_a_path_that_leads_to_no_value_is_refused(fields: dict[str, Any], problem: str) -> None:
    assert [f"protobuf.pump.fields.{problem}"] == protobuf_problems(**fields)


def test_all_problems_of_a_mapping_come_at_once() -> None:
    assert 3 == len(protobuf_problems(timestamp="x", metrics={"y": "y"}, metadata={"z": "z"}))
