"""What the check says of the spool, and that it leaves it as it was."""

import os
from pathlib import Path
from typing import Any

import pytest

from bridge.config.sections import BridgeConfig, MqttSection, SpoolSection
from bridge.runtime.live_check import spool
from bridge.runtime.live_check.points import Standing
from bridge.spool.store import Store


def a_spool(directory: Path, *, client_id: str = "b") -> Store:
    return Store(directory, client_id=client_id, bytes_max=1_000)


def everything_in(directory: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in directory.iterdir()}


def test_a_directory_with_room_is_ok_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    point = spool.look_at_directory(tmp_path, bytes_wanted=1)

    assert Standing.OK is point.standing
    assert [] == list(tmp_path.iterdir())


def test_a_directory_that_is_not_there_yet_is_judged_by_its_parent(tmp_path: Path) -> None:
    point = spool.look_at_directory(tmp_path / "a" / "b", bytes_wanted=1)

    assert Standing.OK is point.standing
    assert [] == list(tmp_path.iterdir())


def test_too_little_room_is_a_warning(tmp_path: Path) -> None:
    point = spool.look_at_directory(tmp_path, bytes_wanted=2**62)

    assert Standing.WARN is point.standing
    assert f"spool.bytes_max is {2**62}" in point.value


def test_what_the_spool_has_taken_already_counts_as_room(tmp_path: Path) -> None:
    a_spool(tmp_path).close()

    point = spool.look_at_directory(tmp_path, bytes_wanted=1)

    assert point.value.endswith(" in the spool")


def test_a_directory_that_cannot_be_written_fails(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    point = spool.look_at_directory(file, bytes_wanted=1)

    assert Standing.FAIL is point.standing
    assert "not writable" in point.value


def test_where_there_is_no_spool_yet_none_is_made(tmp_path: Path) -> None:
    point = spool.look_at_file(tmp_path, client_id="b")

    assert (Standing.OK, "there is none yet") == (point.standing, point.value)
    assert [] == list(tmp_path.iterdir())


def test_a_spool_that_a_bridge_has_open_is_in_use_by_its_pid(tmp_path: Path) -> None:
    store = a_spool(tmp_path)
    try:
        point = spool.look_at_file(tmp_path, client_id="b")
    finally:
        store.close()

    assert Standing.OK is point.standing
    assert f"in use by process {os.getpid()}: a bridge is running with it" == point.value


def test_looking_changes_nothing_of_a_spool(tmp_path: Path) -> None:
    a_spool(tmp_path).close()
    before = everything_in(tmp_path)

    spool.look_at_directory(tmp_path, bytes_wanted=1)
    point = spool.look_at_file(tmp_path, client_id="b")

    assert "is of this client id and of a format that this version reads" == point.value
    assert before == everything_in(tmp_path)


def test_a_spool_of_another_client_id_fails_with_its_remedy(tmp_path: Path) -> None:
    a_spool(tmp_path, client_id="other").close()

    point = spool.look_at_file(tmp_path, client_id="b")

    assert Standing.FAIL is point.standing
    assert point.value.endswith('belongs to mqtt.client_id "other", not to "b"')
    assert "choose another spool.directory, or drain it with its owner" == point.remedy


def test_a_spool_that_cannot_be_read_is_left_to_the_start(tmp_path: Path) -> None:
    (tmp_path / "spool.sqlite3").write_bytes(b"no database at all" * 1_000)
    before = everything_in(tmp_path)

    point = spool.look_at_file(tmp_path, client_id="b")

    assert Standing.NOT_PROVEN is point.standing
    assert "sets a corrupt spool aside" in point.remedy
    assert before == everything_in(tmp_path)


@pytest.mark.parametrize(
    ("bytes_max", "queue", "standing", "value"),
    [
        pytest.param(
            1_000,
            {},
            Standing.NOT_PROVEN,
            "counts with a spool of 1000 bytes and an MQTT broker's queue of unknown size, which"
            " is not counted",
            id="queue unknown",
        ),
        pytest.param(
            0,
            {},
            Standing.NOT_PROVEN,
            "counts with an MQTT broker's queue of unknown size, which is not counted",
            id="nothing known",
        ),
        pytest.param(
            1_000,
            {"broker_queue_messages": 50, "broker_queue_bytes": 70},
            Standing.OK,
            "counts with a spool of 1000 bytes and 50 messages or 70 bytes in the MQTT broker's"
            " queue",
            id="all known",
        ),
        pytest.param(
            0,
            {"broker_queue_bytes": 70},
            Standing.OK,
            "counts with 70 bytes in the MQTT broker's queue",
            id="bytes alone",
        ),
    ],
)
def test_what_the_outage_budget_counts_with_is_told(
    bytes_max: int, queue: dict[str, Any], standing: Standing, value: str
) -> None:
    config = BridgeConfig(mqtt=MqttSection(**queue), spool=SpoolSection(bytes_max=bytes_max))

    point = spool.judge_budget(config)

    assert (standing, value) == (point.standing, point.value)


def test_without_a_spool_the_queue_of_the_broker_is_pointed_at(tmp_path: Path) -> None:
    config = BridgeConfig(spool=SpoolSection(bytes_max=0))

    points = list(spool.judge_spool(config, {"STATE_DIRECTORY": str(tmp_path)}))

    assert ["spool", "outage budget"] == [each.name for each in points]
    assert "see broker queue" == points[0].remedy


@pytest.mark.parametrize("directory", [None, "elsewhere"])
def test_the_directory_is_the_one_that_is_configured_else_that_of_the_state(
    tmp_path: Path, directory: str | None
) -> None:
    where = tmp_path / (directory or "state")
    a_spool(where).close()
    section = SpoolSection(directory=None if directory is None else str(where))
    config = BridgeConfig(mqtt=MqttSection(client_id="b"), spool=section)

    points = list(spool.judge_spool(config, {"STATE_DIRECTORY": str(tmp_path / "state")}))

    assert " in the spool" in points[0].value
    assert ["spool", "spool file", "outage budget"] == [each.name for each in points]
