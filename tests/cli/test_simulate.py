import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.cli.showcase.children import free_port
from bridge.cli.showcase.mosquitto import Mosquitto, find_mosquitto
from bridge.cli.simulate import CONNECTIONS_MAX
from tests.support.eventually import eventually_async

pytestmark = pytest.mark.integration
SIMULATE = [sys.executable, "-m", "bridge", "simulate"]


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    mosquitto = await Mosquitto.start(find_mosquitto(), tmp_path)
    yield mosquitto
    await mosquitto.child.stop(patience_s=5)


async def simulate(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *SIMULATE,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def test_every_message_of_a_fleet_is_counted_and_acknowledged(broker: Mosquitto) -> None:
    code, output, errors = await simulate(
        *("--port", str(broker.port), "--messages", "2000", "--rate", "0", "--devices", "50"),
        *("--malformed", "0.1", "--duplicate", "0.05", "--drifting", "0.2", "--silent", "0.1"),
    )

    assert (code, errors) == (0, "")
    summary = json.loads(output)
    assert summary["sent"] == summary["acknowledged"] == 2_000
    assert sum(summary["sent_by_kind"].values()) == 2_000
    assert sum(summary["malformed_by_way"].values()) == summary["sent_by_kind"]["malformed"]
    assert len(summary["malformed_by_way"]) >= 10


async def test_the_same_seed_sends_the_same_kinds(broker: Mosquitto) -> None:
    arguments = ("--port", str(broker.port), "--messages", "300", "--rate", "0", "--seed", "9")

    summaries = [json.loads((await simulate(*arguments))[1]) for _ in range(2)]

    assert summaries[0]["sent_by_kind"] == summaries[1]["sent_by_kind"]
    assert summaries[0]["malformed_by_way"] == summaries[1]["malformed_by_way"]


async def start_again(configuration: Path) -> asyncio.subprocess.Process:
    """Start the broker on its port, again where somebody else had the port for a moment."""
    while True:
        process = await asyncio.create_subprocess_exec(
            find_mosquitto(),
            "-c",
            str(configuration),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await asyncio.wait_for(process.wait(), 0.3)
        except TimeoutError:
            return process


async def test_a_fleet_outlives_a_restart_of_the_broker(broker: Mosquitto, tmp_path: Path) -> None:
    running = asyncio.create_task(
        simulate("--port", str(broker.port), "--messages", "600", "--rate", "150")
    )
    # Each of them: one that never was connected takes its first failure for a wrong address.
    await eventually_async(
        lambda: broker.child.log.read_bytes().count(b"New client connected"),
        lambda connections: connections == CONNECTIONS_MAX,
        what="all connections",
    )
    await broker.child.stop(patience_s=5)
    again = await start_again(tmp_path / "mosquitto.conf")

    code, output, errors = await running

    again.terminate()
    await again.wait()
    assert (code, errors) == (0, "")
    summary = json.loads(output)
    assert summary["sent"] == summary["acknowledged"] == 600


async def test_what_the_broker_refuses_is_not_called_acknowledged(tmp_path: Path) -> None:
    port = free_port()
    acl = tmp_path / "acl"
    acl.write_text("topic read nothing\n")
    acl.chmod(0o600)
    conf = tmp_path / "refusing.conf"
    user = "user root\n" if os.geteuid() == 0 else ""
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nacl_file {acl}\n{user}")
    process = await asyncio.create_subprocess_exec(
        find_mosquitto(),
        "-v",
        "-c",
        str(conf),
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert process.stderr is not None
    async with asyncio.timeout(10):
        while b"running" not in await process.stderr.readline():
            pass

    try:
        code, output, _ = await simulate("--port", str(port), "--messages", "20", "--rate", "0")
    finally:
        process.terminate()
        await process.communicate()

    assert code == 0
    summary = json.loads(output)
    assert (summary["acknowledged"], summary["refused"]) == (0, 20)


async def test_a_broker_that_is_not_there_is_an_exit_code_and_a_sentence() -> None:
    code, output, errors = await simulate("--port", str(free_port()), "--messages", "1")

    assert (code, output) == (69, "")
    assert "could not publish to the MQTT broker at 127.0.0.1" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        pytest.param(["--password-file", "x"], "needs --username", id="password without user"),
        pytest.param(["--tls-cert", "x"], "need each other", id="certificate without key"),
        pytest.param(["--malformed", "1.5"], "more than 1", id="share above one"),
        pytest.param(["--malformed", "0.9", "--duplicate", "0.2"], "add up", id="shares together"),
        pytest.param(["--rate", "nan"], "not a number", id="rate"),
        pytest.param(["--devices", "0"], "less than 1", id="devices"),
        pytest.param(["--devices", "1000001"], "more than 1,000,000 devices", id="too many"),
        pytest.param(["--port", "70000"], "not a TCP port", id="port"),
    ],
)
def test_contradictions_on_the_command_line_are_usage_errors(
    arguments: list[str], text: str
) -> None:
    done = subprocess.run(
        [*SIMULATE, *arguments], capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 64
    assert text in done.stderr


def test_a_password_is_never_an_argument() -> None:
    done = subprocess.run(
        [*SIMULATE, "--help"], capture_output=True, text=True, timeout=30, check=True
    )

    assert "--password-file" in done.stdout
    assert "--password " not in done.stdout
