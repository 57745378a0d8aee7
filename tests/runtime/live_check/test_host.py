"""What the check says of the machine it runs on."""

import sys
from pathlib import Path

import pytest

from bridge.config.sections import BridgeConfig, MqttSection
from bridge.runtime.live_check import host
from bridge.runtime.live_check.points import Standing
from bridge.runtime.session_memory import FILE_NAME


def test_a_directory_with_room_is_ok_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    point = host.look_at_directory("spool", tmp_path, bytes_wanted=1)

    assert Standing.OK is point.standing
    assert [] == list(tmp_path.iterdir())


def test_a_directory_that_is_not_there_yet_is_judged_by_its_parent(tmp_path: Path) -> None:
    point = host.look_at_directory("spool", tmp_path / "a" / "b", bytes_wanted=1)

    assert Standing.OK is point.standing
    assert [] == list(tmp_path.iterdir())


def test_too_little_room_is_a_warning(tmp_path: Path) -> None:
    assert Standing.WARN is host.look_at_directory("spool", tmp_path, bytes_wanted=2**62).standing


def test_a_directory_that_cannot_be_written_fails(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    point = host.look_at_directory("spool", file, bytes_wanted=1)

    assert Standing.FAIL is point.standing
    assert "not writable" in point.value


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the Linux kernel")
def test_the_kernel_is_asked_for_its_clock_and_answers() -> None:
    point = host.judge_clock()

    assert "clock" == point.name
    assert Standing.FAIL is not point.standing


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"client_id":"b","address":"a","canary_key":"x"}']
)
def test_a_memory_without_a_sound_key_gives_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    config = BridgeConfig(mqtt=MqttSection(client_id="b"))

    assert host.read_canary_key(config, {"STATE_DIRECTORY": str(tmp_path)}) is None


def test_the_key_of_the_running_bridge_is_read_from_its_memory(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b'{"client_id":"b","address":"a","canary_key":"0aff"}')
    config = BridgeConfig(mqtt=MqttSection(client_id="b"))

    assert b"\x0a\xff" == host.read_canary_key(config, {"STATE_DIRECTORY": str(tmp_path)})
