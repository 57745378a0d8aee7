import json
import os
from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.errors import ExitCode

UNSUPPORTED = (
    'rejected: unsupported_format: Content Type "application/gzip" names no format'
    " that this version decodes"
)
TOPIC = "devices/dev-0001/telemetry"


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "bridge.toml"
    path.write_text("[validation]\ntimestamp_age_max_s = 1e12\n")
    return str(path)


def payload(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "payload"
    path.write_bytes(content)
    return str(path)


def good(**changes: object) -> bytes:
    return json.dumps(
        {"device_id": "dev-0001", "timestamp": "2020-01-01T00:00:00Z", "metrics": {"t": 1}}
        | changes
    ).encode()


def test_a_good_message_is_explained_down_to_its_record(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = payload(tmp_path, good(timestamp="2020-01-01T00:00:00"))

    code = main(["explain", "--config", config, "--mqtt-topic", TOPIC, file])

    lines = capsys.readouterr().out.splitlines()
    assert code == ExitCode.OK
    assert "protocol     ok" in lines
    assert any(
        line.startswith("schema       ok, timestamp 2020-01-01T00:00:00Z, server minus device ")
        for line in lines
    )
    assert "flagged      timestamp_without_zone" in lines
    assert "Kafka topic  telemetry-raw" in lines
    assert "key          dev-0001" in lines
    assert "  content-type: application/json" in lines
    assert json.loads(lines[-1])["timestamp_sent"] == "2020-01-01T00:00:00"


@pytest.mark.parametrize(
    ("content", "options", "protocol", "schema"),
    [
        (b"", [], "rejected: empty: payload has no bytes", "not reached"),
        (
            good(metadata="\x1b[2J"),
            [],
            "ok",
            r'rejected: schema_mismatch: metadata is "\x1b[2J", expected an object',
        ),
        (
            good(),
            ["--content-type", "application/gzip"],
            UNSUPPORTED,
            "not reached",
        ),
        (
            good(metadata={"x": "y" * 2_000}),
            ["--set", "mqtt.packet_bytes_max=1024"],
            "rejected: too_large: payload of 2106 bytes, over packet_bytes_max 1024",
            "not reached",
        ),
    ],
    ids=["empty", "hostile name", "content type", "packet too large"],
)
def test_a_bad_message_is_explained_too(
    config: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    content: bytes,
    options: list[str],
    protocol: str,
    schema: str,
) -> None:
    file = payload(tmp_path, content)

    code = main(["explain", "--config", config, "--mqtt-topic", TOPIC, *options, file])

    lines = capsys.readouterr().out.splitlines()
    assert code == ExitCode.OK
    assert [f"protocol     {protocol}", f"schema       {schema}"] == lines[3:5]
    assert "outcome      dead letter" in lines
    assert "Kafka topic  telemetry-dlq" in lines


def test_a_user_property_goes_where_a_real_one_would(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--user-property", "idempotency-key=a=b", "--user-property", "site=north"]
    options += ["--set", 'route[0].user_properties=["site"]']

    main(
        ["explain", "--config", config, "--mqtt-topic", TOPIC, *options, payload(tmp_path, good())]
    )

    out = capsys.readouterr().out
    assert "  mqtt.user.site: north\n" in out
    assert "  idempotency-key: dev-0001:a=b:" in out


def test_what_is_shown_cannot_move_the_cursor(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = payload(tmp_path, b"\x1b[2J\r\n\xff\xe2\x80\xae")

    main(["explain", "--config", config, "--mqtt-topic", "devices/\x1b\u202e/x", file])

    out = capsys.readouterr().out
    assert not {"\x1b", "\r", "\u202e"} & set(out)
    assert r"  \x1b[2J\x0d\x0a\xff\u202e" in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--mqtt-topic", "devices/+/telemetry"], '--mqtt-topic "devices/+/telemetry" is no topic'),
        (["--mqtt-topic", ""], '--mqtt-topic "" is no topic'),
        (["--mqtt-topic", TOPIC, "--user-property", "x"], '--user-property "x" is not NAME=VALUE'),
        (["--mqtt-topic", TOPIC, "/no/such/file"], 'cannot read payload file "/no/such/file": No'),
        (["--mqtt-topic", TOPIC, "/"], 'cannot read payload file "/": Is a directory'),
    ],
    ids=["wildcard", "empty topic", "property", "no file", "directory"],
)
def test_a_question_that_makes_no_sense_is_a_usage_error(
    config: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    arguments: list[str],
    complaint: str,
) -> None:
    has_file = arguments[-1].startswith("/")
    file = [] if has_file else [payload(tmp_path, good())]

    code = main(["explain", "--config", config, *arguments, *file])

    assert code == ExitCode.USAGE
    assert complaint in capsys.readouterr().err


def test_a_payload_is_not_waited_for_at_a_fifo_that_nobody_writes_to(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)

    code = main(["explain", "--config", config, "--mqtt-topic", TOPIC, str(fifo)])

    assert code == ExitCode.USAGE
    assert "it is no regular file" in capsys.readouterr().err


def test_a_payload_that_the_shell_passes_through_a_pipe_is_read(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"12345")
    os.close(writing)

    code = main(["explain", "--config", config, "--mqtt-topic", TOPIC, f"/dev/fd/{reading}"])
    os.close(reading)

    assert code == ExitCode.OK
    assert "5 bytes" in capsys.readouterr().out


def explained(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, *options: str
) -> list[str]:
    """Return the lines of layers 3 and 4, and how it ends."""
    arguments = ["--config", config, "--mqtt-topic", TOPIC, *options]
    assert main(["explain", *arguments, payload(tmp_path, content)]) == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if line.startswith(("semantic", "business", "outcome"))]


def test_layers_3_and_4_name_rule_value_and_bound_and_let_the_message_pass(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = tmp_path / "devices.toml"
    registry.write_text("[device.dev-0001]\nlocation = 'hall-3'\nenabled = false\n")
    content = good(
        metrics={"temperature": 200, "humidity": "wet"},
        metadata={"location": "hall-4", "firmware_version": "1.4.2"},
    )
    options = ["--set", f"registry.file={registry}", "--set", "validation.units.temperature=Cel"]
    options += ["--set", 'validation.firmware_recalled=["<1.5"]']

    lines = explained(config, tmp_path, capsys, content, *options)

    assert [
        (
            "semantic     flagged: out_of_range: metrics.temperature is 200 Cel, above 150 Cel,"
            " the highest allowed (validation.ranges)"
        ),
        (
            'semantic     flagged: out_of_range: metrics.humidity is "wet", expected a number'
            " from 0 to 100 (validation.ranges)"
        ),
        'business     flagged: device_disabled: device "dev-0001" is disabled in the registry',
        (
            'business     flagged: location_unexpected: metadata.location is "hall-4", the registry'
            ' expects "hall-3"'
        ),
        (
            'business     flagged: firmware_recalled: metadata.firmware_version is "1.4.2",'
            ' recalled by "<1.5" (validation.firmware_recalled)'
        ),
        "outcome      telemetry record",
    ] == lines


@pytest.mark.parametrize(
    ("options", "business"),
    [
        ([], "off: the configuration has no [registry]"),
        (
            ["--set", "registry.kafka_topic=device-registry"],
            'not judged: the registry is in Kafka topic "device-registry"',
        ),
    ],
    ids=["no registry", "registry in Kafka"],
)
def test_layer_4_says_why_it_judges_nothing(
    config: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    options: list[str],
    business: str,
) -> None:
    lines = explained(config, tmp_path, capsys, good(), *options)

    assert [
        "semantic     ok",
        f"business     {business}",
        "outcome      telemetry record",
    ] == lines


def test_layers_behind_the_one_that_rejected_are_not_reached(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = explained(config, tmp_path, capsys, b"")

    assert [
        "semantic     not reached",
        "business     not reached",
        "outcome      dead letter",
    ] == lines
