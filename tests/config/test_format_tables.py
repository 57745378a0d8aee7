"""What a file says of binary layouts and of Protobuf: each mistake with key, value, remedy."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from bridge.config import load
from bridge.config.protobuf_schema import SchemaError, find_message
from tests.config.support import load_text, problems_of, warnings_of
from tests.pipeline.formats.given import own_descriptor_set

BINARY = '[[route]]\nformat = "binary"\nlayout = "door"\n'
DOOR = """\
[layout.door]
byte_order = "big"
fields = [
  { name = "time", type = "u32", to = "timestamp", unit = "s" },
  { name = "open", type = "bool" },
]
"""
MAPPED = '[[route]]\nformat = "protobuf"\nprotobuf = "pump"\n'
PUMP = """\
[protobuf.pump]
descriptor_set = "{path}"
message = "acme.Reading"
[protobuf.pump.fields]
timestamp = "header.sent_at_ms"
metrics = {{ flow = "flow" }}
"""


def pump(directory: Path, content: bytes | None = None) -> str:
    """Write a descriptor set, and give the table that names it."""
    path = directory / "pump.binpb"
    path.write_bytes(own_descriptor_set() if content is None else content)
    return PUMP.format(path=path)


def test_a_layout_and_a_mapping_of_a_file_are_taken(tmp_path: Path) -> None:
    text = BINARY + '[[route]]\nfilter = "pumps/+/telemetry"\n' + MAPPED.partition("\n")[2]

    loaded = load_text(tmp_path, text + DOOR + pump(tmp_path))

    assert () == loaded.warnings
    assert ["time", "open"] == [each.name for each in loaded.config.layout["door"].fields]
    assert {"flow": "flow"} == loaded.config.protobuf["pump"].fields.metrics
    assert ["door", None] == [route.layout for route in loaded.config.route]
    assert [None, "pump"] == [route.protobuf for route in loaded.config.route]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            '[[route]]\nformat = "binary"\n',
            'line 2: route[0].format: "binary" needs a layout; write layout = "NAME" in the route,'
            " and a table [layout.NAME] that says what the bytes are",
            id="no layout",
        ),
        pytest.param(
            '[[route]]\nformat = "binary"\nlayout = "gate"\n' + DOOR,
            'line 3: route[0].layout: "gate" is no layout of this file; there is: "door"',
            id="another layout",
        ),
        pytest.param(
            '[[route]]\nlayout = "door"\n' + DOOR,
            "line 2: route[0].layout: a layout is for binary payloads, but the format is"
            ' "json"; write format = "binary", or remove layout',
            id="layout of JSON",
        ),
        pytest.param(
            '[[route]]\nkind = "batch"\nformat = "binary"\n',
            'line 3: route[0].format: "binary" cannot hold a batch; write json, msgpack or cbor,'
            " or let each reading be a message of its own",
            id="a binary batch",
        ),
        pytest.param(
            '[[route]]\nkind = "opaque"\nlayout = "door"\n' + DOOR,
            "line 3: route[0].layout: is never read on a route of kind opaque; remove it, or write"
            ' kind = "telemetry"',
            id="layout of an opaque route",
        ),
        pytest.param(
            BINARY + "payload_bytes_max = 4\n" + DOOR,
            "line 4: route[0].payload_bytes_max: 4 is less than the 5 bytes of layout"
            ' "door", so every payload would be too large; raise it',
            id="payloads larger than the route takes",
        ),
        pytest.param(
            BINARY + DOOR.replace("bool", "u12"),
            'line 8: layout.door.fields[1].type: Expected one of "u8", "i8", "u16", "i16", "u24",'
            ' "i24", "u32", "i32", "u64", "i64", "f32", "f64", "bool", got "u12"; meant "u32"?',
            id="no such type",
        ),
        pytest.param(
            BINARY + DOOR.replace('"bool"', '"bool", missing = "none"'),
            'line 8: layout.door.fields[1].missing: Expected a number or "nan", got "none"',
            id="no such missing",
        ),
        pytest.param(
            BINARY + DOOR.replace("byte_order", "order"),
            'line 5: layout.door.order: unknown key; meant "byte_order"?',
            id="no such key",
        ),
        pytest.param(
            BINARY + DOOR.replace('byte_order = "big"', ""),
            "line 4: layout.door: Object missing required field byte_order, got a table",
            id="no byte order",
        ),
        pytest.param(
            BINARY + "[layout.door]\nbyte_order = 'big'\nfields = []\n",
            "line 6: layout.door.fields: Expected array of length >= 1, got an array",
            id="no fields",
        ),
        pytest.param(
            '[[route]]\nformat = "bynary"\n',
            'line 2: route[0].format: Expected one of "json", "msgpack", "cbor", "protobuf",'
            ' "binary", got "bynary"; meant "binary"?',
            id="no such format",
        ),
        pytest.param(
            '[[route]]\nprotobuf = "pump"\n',
            'line 2: route[0].protobuf: "pump" is no protobuf table of this file; there is: none',
            id="no mapping",
        ),
        pytest.param(
            '[[route]]\nkind = "batch"\nprotobuf = "pump"\n',
            "line 3: route[0].protobuf: is never read on a route of kind batch; remove it, or write"
            ' kind = "telemetry"',
            id="mapping of a batch",
        ),
    ],
)
def test_a_mistake_of_a_table_is_one_line_with_its_remedy(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert [f'config file "x.toml" {problem}'] == problems_of(tmp_path, text)


def test_a_table_that_no_route_names_is_warned_of(tmp_path: Path) -> None:
    unused = "is named by no route, so it is never used; write"
    where = 'config file "x.toml" line'

    assert [
        f'{where} 1: layout.door: {unused} layout = "door" in one, or remove it',
        f'{where} 7: protobuf.pump: {unused} protobuf = "pump" in one, or remove it',
    ] == warnings_of(tmp_path, DOOR + pump(tmp_path))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        pytest.param(
            ("acme.Reading", "acme.Gauge"),
            'line 6: protobuf.pump.message: "acme.Gauge" is no message of it; there is:'
            ' "acme.Header", "acme.Reading"',
            id="no such message",
        ),
        pytest.param(
            ('flow = "flow"', 'flow = "flw"'),
            'line 9: protobuf.pump.fields.metrics.flow: "flw": acme.Reading has no field "flw";'
            ' meant "flow"?',
            id="no such field",
        ),
        pytest.param(
            ('{ flow = "flow" }', "{}"),
            "line 9: protobuf.pump.fields.metrics: is empty, and a message without a metric is"
            " never valid; write a name and a path",
            id="no metrics",
        ),
        pytest.param(
            ('{ flow = "flow" }', "{ flow = 1 }"),
            "line 9: protobuf.pump.fields.metrics.flow: Expected str, got 1; write it in quotes",
            id="a number as path",
        ),
        pytest.param(
            ("timestamp =", "timestmp ="),
            'line 8: protobuf.pump.fields.timestmp: unknown key; meant "timestamp"?',
            id="no such key",
        ),
        pytest.param(
            ("pump.binpb", "pmp.binpb"),
            'line 5: protobuf.pump.descriptor_set: file "pmp.binpb" could not be read: No such file'
            " or directory; protoc --include_imports --descriptor_set_out=FILE writes it",
            id="no such file",
        ),
    ],
)
def test_a_mapping_that_does_not_fit_its_messages_is_refused(
    tmp_path: Path, change: tuple[str, str], problem: str
) -> None:
    text = MAPPED + pump(tmp_path).replace(*change)

    assert [f'config file "x.toml" {problem}'] == problems_of(tmp_path, text)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'syntax = "proto3";', "holds no FileDescriptorSet"),
        (b"", "holds no message at all"),
        (own_descriptor_set()[:-1], "holds no FileDescriptorSet"),
        (b"\0" * 16_777_217, "is longer than 16777216 bytes; is it the right file?"),
    ],
    ids=["a .proto", "empty", "cut short", "endless"],
)
def test_a_file_that_is_no_descriptor_set_is_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    (found,) = problems_of(tmp_path, MAPPED + pump(tmp_path, content))

    assert found.startswith('config file "x.toml" line 5: protobuf.pump.descriptor_set: ')
    assert problem in found


def test_commands_that_look_at_no_files_take_a_descriptor_set_that_is_absent(
    tmp_path: Path,
) -> None:
    path = tmp_path / "x.toml"
    path.write_text(MAPPED + PUMP.format(path="/not/there"), encoding="utf-8")

    assert "pump" in load(path, environment={}, reads_files=False).config.protobuf


@given(st.lists(st.tuples(st.integers(0, 700), st.integers(0, 9), st.binary(max_size=9))))
def test_no_damage_to_a_descriptor_set_raises_but_what_says_so(
    damage: list[tuple[int, int, bytes]],
) -> None:
    content = own_descriptor_set()
    for place, cut, written in damage:
        content = content[:place] + written + content[place + cut :]

    with contextlib.suppress(SchemaError):
        assert "acme.Reading" == find_message(content, "acme.Reading").full_name
