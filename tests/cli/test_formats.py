"""The commands before `run`: what they say of routes whose payloads are not JSON."""

import struct
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.errors import ExitCode
from tests.pipeline.formats.given import own_class, own_descriptor_set

CONFIG = """\
[validation]
timestamp_age_max_s = 1e12
[[route]]
filter = "meters/+/telemetry"
format = "binary"
layout = "meter"
[[route]]
filter = "pumps/+/telemetry"
format = "protobuf"
protobuf = "pump"
[[route]]
filter = "plain/+/telemetry"
format = "protobuf"
[layout.meter]
byte_order = "little"
fields = [
  { name = "time", type = "u32", to = "timestamp", unit = "s" },
  { name = "temperature", type = "i16", scale = 0.1 },
]
[protobuf.pump]
descriptor_set = "DESCRIPTORS"
message = "acme.Reading"
fields = { timestamp = "header.sent_at_ms", timestamp_unit = "ms", metrics = { flow = "flow" } }
"""
Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command with this configuration, its file and its descriptor set changed at will."""

    def run_command(
        *command: str,
        change: tuple[str, str] = ("", ""),
        descriptor_set: bytes | None = None,
        options: tuple[str, ...] = (),
    ) -> int:
        descriptors = tmp_path / "pump.binpb"
        descriptors.write_bytes(own_descriptor_set() if descriptor_set is None else descriptor_set)
        path = tmp_path / "bridge.toml"
        text = CONFIG.replace("DESCRIPTORS", str(descriptors)).replace(*change)
        path.write_text(text, encoding="utf-8")
        return main([*command, "--config", str(path), *options])

    return run_command


def explain(tmp_path: Path, run: Run, filter_start: str, payload: bytes) -> int:
    file = tmp_path / "payload"
    file.write_bytes(payload)
    topic = f"{filter_start}/dev-0001/telemetry"
    return run("explain", options=("--mqtt-topic", topic, str(file)))


def test_check_says_what_the_payloads_of_a_route_are(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run("check")

    lines = capsys.readouterr().out.splitlines()
    to = 'to Kafka topic "telemetry-raw"'
    assert ExitCode.OK == code
    assert f'  route "meters/+/telemetry" {to}, binary of layout "meter", 6 bytes' in lines
    assert f'  route "pumps/+/telemetry" {to}, protobuf messages "acme.Reading"' in lines
    assert f'  route "plain/+/telemetry" {to}, protobuf as telemetry.proto has it' in lines


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        pytest.param(
            {"descriptor_set": b"not one"},
            "protobuf.pump.descriptor_set: holds no FileDescriptorSet; write it with protoc"
            " --include_imports --descriptor_set_out=FILE",
            id="no descriptor set",
        ),
        pytest.param(
            {"change": ("acme.Reading", "acme.Reding")},
            'protobuf.pump.message: "acme.Reding" is no message of it; meant "acme.Reading"?',
            id="no such message",
        ),
        pytest.param(
            {"change": ('"flow" }', '"flw" }')},
            'protobuf.pump.fields.metrics.flow: "flw": acme.Reading has no field "flw";'
            ' meant "flow"?',
            id="no such field",
        ),
        pytest.param(
            {"change": ('"i16"', '"i12"')},
            'layout.meter.fields[1].type: Expected one of "u8", "i8", "u16", "i16", "u24", "i24",'
            ' "u32", "i32", "u64", "i64", "f32", "f64", "bool", got "i12"; meant "i32"?',
            id="no such type",
        ),
    ],
)
def test_check_refuses_what_no_payload_could_be_read_by(
    run: Run, capsys: pytest.CaptureFixture[str], options: dict[str, object], problem: str
) -> None:
    code = run("check", **options)

    said = capsys.readouterr()
    assert ExitCode.CONFIGURATION == code
    assert [] == [line for line in said.err.splitlines() if not line.endswith(f": {problem}")]
    assert "" == said.out


def test_explain_reads_a_binary_payload_by_its_layout(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = explain(tmp_path, run, "meters", struct.pack("<Ih", 1_795_455_324, 215))

    out = capsys.readouterr().out
    assert ExitCode.OK == code
    assert "outcome      telemetry record" in out
    assert '"metrics":{"temperature":21.5}' in out


def test_explain_reads_a_message_by_its_descriptor_set(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sent = own_class()(flow=0.1)
    sent.header.sent_at_ms = 1_795_455_324_123

    code = explain(tmp_path, run, "pumps", sent.SerializeToString())

    out = capsys.readouterr().out
    assert ExitCode.OK == code
    assert "schema       ok, timestamp 2026-11-23T17:35:24.123Z" in out
    assert '"metrics":{"flow":0.1}' in out


def test_explain_without_the_descriptor_set_says_which_file_it_lacks(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "payload").write_bytes(b"x")

    code = run(
        "explain",
        change=("pump.binpb", "gone.binpb"),
        options=("--mqtt-topic", "pumps/dev-0001/telemetry", str(tmp_path / "payload")),
    )

    said = capsys.readouterr().err
    assert ExitCode.CONFIGURATION == code
    assert said.startswith("protobuf.pump.descriptor_set: file ")
    assert "gone.binpb" in said
    assert "could not be read: No such file or directory" in said


def test_config_show_writes_tables_that_could_be_loaded_again(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run("config", "show")

    out = capsys.readouterr().out
    shown = tomllib.loads(out)
    assert ExitCode.OK == code
    assert ["time", "temperature"] == [each["name"] for each in shown["layout"]["meter"]["fields"]]
    assert "acme.Reading" == shown["protobuf"]["pump"]["message"]
    assert 'name = "temperature", type = "i16", to = "metrics", scale = 0.1, offset = 0 }' in out
    (line,) = [each for each in out.splitlines() if '"temperature"' in each]
    assert line.endswith('bridge.toml" line 18')
