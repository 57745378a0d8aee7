"""The demo as its user meets it: a real Mosquitto, a real bridge, real signals."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.integration
DEMO = [sys.executable, "-m", "bridge", "demo"]
TIMEOUT_S = 90


@contextmanager
def plain_demo(directory: Path) -> Iterator[tuple["subprocess.Popen[str]", list[psutil.Process]]]:
    """Start a live demo, wait until messages flow; yield it and its children."""
    with subprocess.Popen(
        [*DEMO, "--plain"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(directory), "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            for line in process.stdout:
                if "telemetry 0 " not in line:
                    break
            else:
                pytest.fail(process.stderr.read())
            yield process, psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()


@pytest.mark.parametrize("seed", ["1", "2"])
def test_once_carries_every_message_to_its_place(seed: str) -> None:
    done = subprocess.run(
        [*DEMO, "--once", "300", "--seed", seed],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    summary = json.loads(done.stdout)
    assert summary["sent"] == 300 == summary["telemetry"] + summary["dead_letters"]
    assert summary["dead_letters"] == sum(summary["dead_letters_by_reason"].values()) > 0
    wrong = ("missing", "unexpected", "duplicates", "out_of_order")
    assert [summary[name] for name in wrong] == [0, 0, 0, 0]
    assert summary["messages_per_s"] > 0
    assert summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_live_demo_cleanly(number: signal.Signals, tmp_path: Path) -> None:
    with plain_demo(tmp_path) as (process, children):
        process.send_signal(number)
        output, errors = process.communicate(timeout=TIMEOUT_S)

    assert (process.returncode, errors) == (0, "")
    assert " 0 missing, 0 unexpected, 0 duplicates, 0 out of order" in output
    assert len(children) == 2
    assert [child for child in children if child.is_running()] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has PR_SET_PDEATHSIG")
def test_no_child_outlives_a_demo_that_is_killed(tmp_path: Path) -> None:
    with plain_demo(tmp_path) as (process, children):
        process.kill()
        process.wait(timeout=TIMEOUT_S)

    _, alive = psutil.wait_procs(children, timeout=10)
    assert len(children) == 2
    assert alive == []


def test_a_reader_that_has_enough_ends_the_demo(tmp_path: Path) -> None:
    with plain_demo(tmp_path) as (process, children):
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=TIMEOUT_S)

    assert process.returncode == 0
    assert [child for child in children if child.is_running()] == []


def test_without_mosquitto_the_demo_names_the_command_that_brings_it(tmp_path: Path) -> None:
    done = subprocess.run(
        DEMO,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=os.environ | {"PATH": str(tmp_path)},
    )

    assert (done.returncode, done.stdout) == (69, "")
    assert "this brings it: " in done.stderr
    assert "mosquitto" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_failed_start_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = tmp_path / "bin" / "mosquitto"
    broken.parent.mkdir()
    broken.write_text("#!/bin/sh\necho it cannot be >&2\nexit 1\n")
    broken.chmod(0o755)
    temporary = Path(tempfile.mkdtemp(dir=tmp_path))

    done = subprocess.run(
        DEMO,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        env=os.environ
        | {"PATH": f"{broken.parent}:{os.environ['PATH']}", "TMPDIR": str(temporary)},
    )

    assert done.returncode == 69
    assert "it cannot be" in done.stderr
    assert list(temporary.iterdir()) == []
