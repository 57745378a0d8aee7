"""What the check says of the machine it runs on."""

import sys
from pathlib import Path

import pytest

from bridge.config.sections import BridgeConfig, MqttSection
from bridge.runtime.live_check import host
from bridge.runtime.live_check.points import Standing
from bridge.runtime.session_memory import FILE_NAME


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the Linux kernel")
def test_the_kernel_is_asked_for_its_clock_and_answers() -> None:
    point = host.judge_clock()

    assert "clock" == point.name
    assert Standing.FAIL is not point.standing


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut"),
        pytest.param(b'{"client_id":"b","address":"a","canary_key":"x"}', id="no key"),
        pytest.param(b'{"new":' + b"[" * 3_000 + b"]" * 3_000 + b"}", id="deep"),
    ],
)
def test_a_memory_without_a_sound_key_gives_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    config = BridgeConfig(mqtt=MqttSection(client_id="b"))

    assert host.read_canary_key(config, {"STATE_DIRECTORY": str(tmp_path)}) is None


def test_the_key_of_the_running_bridge_is_read_from_its_memory(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b'{"client_id":"b","address":"a","canary_key":"0aff"}')
    config = BridgeConfig(mqtt=MqttSection(client_id="b"))

    assert b"\x0a\xff" == host.read_canary_key(config, {"STATE_DIRECTORY": str(tmp_path)})
