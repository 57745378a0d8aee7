"""What people see of dead letters: nothing that a device wrote moves their cursor."""

import base64
import contextlib
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.errors import ExitCode
from tests.integration.dlq_stand import RECALLED, REPOSITORY, DlqStand, reading
from tests.pipeline.given import Packet
from tests.support.kafka_choice import ChosenKafka

HOSTILE = b'{"device_id":"\x1b[2J\xe2\x80\xae","x":"\xc2\x9b31m\r\n"}'
UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def stand(kafka: ChosenKafka, tmp_path: Path, unique_name: Callable[[str], str]) -> DlqStand:
    return DlqStand(kafka, tmp_path, unique_name)


def test_hostile_bytes_are_escaped_wherever_they_stand(stand: DlqStand) -> None:
    topic = "devices/\x1b]0;owned\x07\u202e/telemetry"
    stand.write([Packet(payload=HOSTILE), Packet(payload=HOSTILE, topic=topic)])
    stand.kafka.client.produce(
        stand.dead_letters,
        [HOSTILE],
        key=b"\x1b[2J",
        headers=[("\x1b[31m", b"\x1b[2J"), ("dlq.reason", b"\x1b[2J"), ("dlq.id", b"\r\n")],
    )

    outputs = [
        stand.run("show", "--limit", "9", *options).output
        for options in ([], ["--payload", "text"], ["--json"])
    ]
    outputs.append(stand.run("stats").output)

    assert 3 == outputs[0].count(" of 3 that match\n")
    assert "\\x1b[2J\\u202e" in outputs[0]
    assert [] == [UNPRINTABLE.findall(each) for each in outputs if UNPRINTABLE.search(each)]
    payloads = [json.loads(line)["payload_base64"] for line in outputs[2].splitlines()]
    assert [HOSTILE] * 3 == [base64.b64decode(each) for each in payloads]


def test_bytes_that_are_no_text_are_shown_as_hex(stand: DlqStand) -> None:
    stand.write([Packet(payload=b"\xff\xfe" + bytes(range(30)) + b"ABC")])

    lines = stand.run("show").output.splitlines()

    assert "payload      35 bytes, hex" in lines
    assert any(line.startswith("  00000000  ff fe 00 01 02") for line in lines)
    assert lines[lines.index("payload      35 bytes, hex") + 3].endswith(" ABC")


def test_one_letter_is_found_by_its_id_and_others_by_filters(stand: DlqStand) -> None:
    stand.write(map(reading, range(60)), business="dlq", firmware_recalled=(RECALLED,))
    letter = stand.read_dead_letters()[17]
    wanted = letter.header("dlq.id")
    assert wanted is not None

    found = stand.run("show", "--id", wanted.decode(), "--json").json()
    of_device = stand.run("show", "--device", "dev-3", "--limit", "100", "--json").output
    newest = stand.run("show", "--json").json()
    none = stand.run("show", "--until", "2020-01-01")
    missing = stand.run("show", "--id", "0199" + wanted.decode()[4:])

    assert f"{letter.topic}/{letter.partition}/{letter.offset}" == found["place"]
    assert letter.value == base64.b64decode(found["payload_base64"])
    assert [stand.telemetry] == found["today"]["kafka_topics"]
    assert {"dev-3"} == {json.loads(line)["device_id"] for line in of_device.splitlines()}
    assert newest["received_at"] >= found["received_at"]
    assert (ExitCode.OK, True) == (none.code, "none matches" in none.output)
    assert ExitCode.USAGE == missing.code
    assert "no such dead letter" in missing.errors


def test_what_todays_rules_say_is_told_layer_by_layer(stand: DlqStand) -> None:
    stand.write([reading(1, temperature=99.5)], semantic="dlq", ranges={"temperature": (0.0, 99.0)})
    stand.configure(validation={"semantic": "dlq", "ranges": {"temperature": [0, 50]}})

    shown = stand.run("show").output

    assert "  semantic     rejected: out_of_range: metrics.temperature is 99.5, above 50" in shown
    assert "  outcome      a dead letter again: out_of_range:" in shown


def test_a_terminal_sees_a_progress_bar_and_a_pipe_does_not(stand: DlqStand) -> None:
    stand.write(map(reading, range(500)), business="dlq", firmware_recalled=(RECALLED,))

    piped = stand.run("stats")
    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "bridge", "dlq", "replay", "--config", str(stand.config)]
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=writer, env=env) as running:
        os.close(writer)
        drawn = _read_all(reader)
        assert running.stdout is not None
        printed = running.stdout.read()

    assert "" == piped.errors
    assert "replaying" in drawn
    assert "500/500" in drawn
    assert b"replayed        500" in printed


def _read_all(terminal: int) -> str:
    """Read until nobody has the other end, which Linux calls an error of I/O."""
    pieces: list[bytes] = []
    with contextlib.suppress(OSError):
        while piece := os.read(terminal, 65_536):
            pieces.append(piece)
    os.close(terminal)
    return b"".join(pieces).decode()
