"""`top` looks at a real bridge: as lines, and in a terminal."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.integration.scene import Scene
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import DeviceMessage, telemetry
from tests.support.terminal import Terminal

TOP = [sys.executable, "-m", "bridge", "top", "--every", "0.2"]


def url_of(bridge: BridgeProcess) -> list[str]:
    return ["--url", f"http://127.0.0.1:{bridge.ops_port}"]


def start(scene: Scene) -> BridgeProcess:
    scene.create_topics()
    bridge = scene.start()
    good = [telemetry(f"dev-{number}", number) for number in range(20)]
    bad = DeviceMessage(topic="devices/dev-bad/telemetry", payload=b"\x1b[2J no json")
    scene.devices().publish([*good, bad])
    scene.await_quiet(bridge)
    return bridge


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*TOP, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_one_look_is_a_line_of_json_that_says_what_the_bridge_said(scene: Scene) -> None:
    bridge = start(scene)

    done = run("--once", "--config", str(bridge.config_path))

    assert (0, "") == (done.returncode, done.stderr)
    (line,) = done.stdout.splitlines()
    moment = json.loads(line)
    status = moment["status"]
    assert "answers" == moment["state"]
    assert True is status["ready"]
    assert bridge.metric("bridge_messages_received_total") == status["conservation"]["received"]
    assert 0 == status["conservation"]["residue"]
    assert {"mqtt", "kafka", "spool"} <= set(status["checks"])
    assert ["not_decodable"] == [each["reason"] for each in moment["dead_letters"]]
    assert 0 < moment["latency"]["p50_s"] <= moment["latency"]["p99_s"]
    assert "dev-1" in {each["device_id"] for each in moment["devices"]}


def test_lines_end_when_the_reader_has_enough(scene: Scene) -> None:
    bridge = start(scene)
    command = [*TOP, *url_of(bridge)]

    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as top:
        assert top.stdout is not None
        assert top.stderr is not None
        first, second = json.loads(top.stdout.readline()), json.loads(top.stdout.readline())
        top.stdout.close()
        code, errors = top.wait(timeout=60), top.stderr.read()

    assert ["answers", "answers"] == [first["state"], second["state"]]
    assert (0, b"") == (code, errors)


def test_a_terminal_shows_a_bridge_that_goes_away_and_comes_back(scene: Scene) -> None:
    bridge = start(scene)

    with _watch(bridge) as terminal:
        there = terminal.wait_for("not_decodable")
        bridge.stop()
        away = terminal.wait_for("connection refused")
        bridge.start()
        bridge.wait_ready()
        back = terminal.wait_for("subscribed")  # Its first frames may be of before that.
        code = terminal.interrupt()

    assert "ready" in there
    assert "dev-" in there
    assert "the bridge is away since" in away
    assert "devices active" in back
    assert 0 == code


def test_no_color_draws_without_colours(scene: Scene) -> None:
    bridge = start(scene)

    with _watch(bridge, NO_COLOR="1") as plain, _watch(bridge) as coloured:
        plain.wait_for("devices active")
        coloured.wait_for("devices active")
        plain.interrupt()
        coloured.interrupt()

        assert "\x1b[36m" in coloured.written or "\x1b[1;36m" in coloured.written
        assert [] == [code for code in _colours(plain.written) if int(code) >= 30]


def _colours(written: str) -> Sequence[str]:
    return [
        code
        for piece in written.split("\x1b[")[1:]
        if "m" in piece[:12] and piece.partition("m")[0].replace(";", "").isdigit()
        for code in piece.partition("m")[0].split(";")
    ]


def _watch(bridge: BridgeProcess, **environment: str) -> Terminal:
    return Terminal([*TOP, *url_of(bridge)], columns=60, environment=environment)


def test_a_bridge_that_wants_a_token_is_opened_by_its_own_configuration(
    scene: Scene, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-this-test-alone\n")
    scene.create_topics()
    bridge = scene.start(ops={"token": {"file": str(token)}})

    refused = run("--once", *url_of(bridge))
    opened = run("--once", "--config", str(bridge.config_path))

    assert (69, "") == (refused.returncode, refused.stdout)
    assert "--token-file FILE" in refused.stderr
    assert (0, "") == (opened.returncode, opened.stderr)
    assert "answers" == json.loads(opened.stdout)["state"]
