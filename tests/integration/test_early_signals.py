"""Signals that come before the event loop listens to them: with each module that is imported."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bridge_process import BridgeProcess
from tests.support.processes import free_port

REPOSITORY = Path(__file__).parents[2]
# By the process to itself, so that no machine is too fast or too slow for it.
SIGNALLER = """\
import signal, sys
def send(event, arguments):
    if event == "import" and arguments[0].startswith("bridge.") and "bridge.cli" in sys.modules:
        signal.raise_signal({number:d})
sys.addaudithook(send)
"""
Start = Callable[[int], BridgeProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a bridge that sends itself a signal with each module of its own, from the first on."""
    config = {
        "mqtt": {"port": free_port()},
        "kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"},
    }
    bridge = BridgeProcess(tmp_path, config, env={"PYTHONPATH": f"{tmp_path}:{REPOSITORY}"})

    def start(number: int) -> BridgeProcess:
        source = SIGNALLER.format(number=number)
        (tmp_path / "sitecustomize.py").write_text(source, encoding="utf-8")
        bridge.start()
        return bridge

    yield start
    bridge.kill()


def test_a_reload_that_is_asked_for_during_the_start_follows_it(start: Start) -> None:
    bridge = start(signal.SIGHUP)

    reloaded = bridge.wait_for_event("configuration_reloaded")

    assert "signal" == reloaded["cause"]
    assert 0 == bridge.stop(timeout_s=30.0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_during_the_start_is_a_clean_one(start: Start, number: signal.Signals) -> None:
    bridge = start(number)

    exit_code = bridge.wait()

    assert (0, "") == (exit_code, bridge.output())
