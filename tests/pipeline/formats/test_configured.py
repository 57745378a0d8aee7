"""From the file to the decoders: what the configuration names is what payloads are read by."""

from pathlib import Path

import pytest

from bridge.config import LoadedConfig
from bridge.errors import ConfigError
from bridge.kafka.record import Record
from bridge.pipeline.decode import decoding_of
from bridge.pipeline.stages import Stages
from tests.config.support import load_text
from tests.pipeline.formats.given import FORMATS, OWN, Reading, encode, own_descriptor_set
from tests.pipeline.given import Packet, carry, value, verdict

TABLES = """\
[layout.small]
byte_order = "little"
fields = [
  { name = "version", type = "u8", to = "ignored" },
  { name = "time", type = "u64", to = "timestamp", unit = "ms" },
  { name = "temperature", type = "i16", scale = 0.1, missing = -32768 },
  { name = "energy", type = "u64" },
  { name = "flow", type = "f64" },
  { name = "is_open", type = "bool" },
  { name = "signal_strength", type = "i8", to = "metadata" },
]
[protobuf.pump]
message = "acme.Reading"
fields.timestamp = "header.sent_at_ms"
fields.timestamp_unit = "ms"
fields.device_id = "header.id"
fields.metadata = { signal_strength = "header.signal" }
[protobuf.pump.fields.metrics]
temperature = "temperature"
energy = "energy"
flow = "flow"
is_open = "is_open"
"""
ROUTES = {
    OWN: 'format = "protobuf"\nprotobuf = "pump"',
    "binary": 'format = "binary"\nlayout = "small"',
}


def load_formats(directory: Path) -> LoadedConfig:
    """Load a file with a route for each format: `f0/+/telemetry` and on."""
    path = directory / "pump.binpb"
    path.write_bytes(own_descriptor_set())
    routes = [
        f'[[route]]\nfilter = "f{index}/+/telemetry"\n' + ROUTES.get(name, f'format = "{name}"')
        for index, name in enumerate(FORMATS)
    ]
    tables = TABLES.replace("message", f"descriptor_set = '{path}'\nmessage", 1)
    return load_text(directory, "\n".join([*routes, tables]))


def carry_on(loaded: LoadedConfig, name: str, packet: Packet) -> Record:
    """Send a packet as `dev-0001` on the route of a format."""
    return carry(
        Packet(
            payload=packet.payload,
            topic=f"f{FORMATS.index(name)}/dev-0001/telemetry",
            content_type=packet.content_type,
        ),
        routes=loaded.config.route,
        stages=Stages(decode=decoding_of(loaded.config).decode),
    )


def test_one_file_with_a_route_for_each_format_reads_one_reading_alike(tmp_path: Path) -> None:
    loaded = load_formats(tmp_path)

    records = [carry_on(loaded, name, Packet(payload=encode(Reading(), name))) for name in FORMATS]

    assert 21.5 == value(records[0])["metrics"]["temperature"]
    assert [value(records[0])] * len(FORMATS) == [value(record) for record in records]


@pytest.mark.parametrize("sent_as", ["json", "msgpack", "cbor"])
@pytest.mark.parametrize("route_format", FORMATS)
def test_the_content_type_wins_over_every_format_that_a_file_names(
    tmp_path: Path, route_format: str, sent_as: str
) -> None:
    packet = Packet(payload=encode(Reading(), sent_as), content_type=f"application/{sent_as}")

    record = carry_on(load_formats(tmp_path), route_format, packet)

    assert 21.5 == value(record)["metrics"]["temperature"]


def test_the_mapping_of_a_json_route_reads_what_is_called_protobuf(tmp_path: Path) -> None:
    loaded = load_formats(tmp_path)
    route = loaded.config.route[0]
    config = type(loaded.config)(
        route=(type(route)(protobuf="pump"),), protobuf=loaded.config.protobuf
    )
    packet = Packet(payload=encode(Reading(), OWN), content_type="application/protobuf")

    record = carry(packet, routes=config.route, stages=Stages(decode=decoding_of(config).decode))

    assert 21.5 == value(record)["metrics"]["temperature"]


def test_a_payload_of_another_layout_is_a_dead_letter_that_says_how_long_it_is(
    tmp_path: Path,
) -> None:
    record = carry_on(load_formats(tmp_path), "binary", Packet(payload=b"\0" * 28))

    assert (
        "not_decodable",
        "protocol",
        "payload has 28 bytes, the layout of this route 29",
    ) == verdict(record)
    assert b"\0" * 28 == record.value


@pytest.mark.parametrize("name", FORMATS)
def test_more_bytes_than_the_route_takes_are_too_large_before_anything_is_decoded(
    tmp_path: Path, name: str
) -> None:
    payload = encode(Reading(), name) + b"\0" * 262_144

    record = carry_on(load_formats(tmp_path), name, Packet(payload=payload))

    reason, layer, detail = verdict(record)
    assert ("too_large", "protocol") == (reason, layer)
    assert detail.endswith("at most 262144 on this route")
    assert payload == record.value


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "could not be read: No such file or directory"),
        (b"\0", "holds no FileDescriptorSet"),
    ],
    ids=["gone", "another"],
)
def test_a_descriptor_set_that_changed_since_the_check_is_still_refused_in_words(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    config = load_formats(tmp_path).config
    path = tmp_path / "pump.binpb"
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        decoding_of(config)

    (said,) = caught.value.problems
    assert said.startswith("protobuf.pump.descriptor_set: ")
    assert problem in said
