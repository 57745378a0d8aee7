"""Where state is kept: one rule, also for names that no file may have."""

from pathlib import Path

import pytest

from bridge.runtime.state_directory import state_directory


@pytest.mark.parametrize(
    ("environment", "directory"),
    [
        ({"STATE_DIRECTORY": "/var/lib/bridge", "HOME": "/h"}, "/var/lib/bridge"),
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/h"}, "/state/mqtt-kafka-bridge/b1"),
        ({"XDG_STATE_HOME": "state", "HOME": "/h"}, "/h/.local/state/mqtt-kafka-bridge/b1"),
        ({"HOME": "/h"}, "/h/.local/state/mqtt-kafka-bridge/b1"),
        ({}, "/.local/state/mqtt-kafka-bridge/b1"),
    ],
    ids=["unit", "unit with two", "XDG", "XDG not absolute", "home", "nothing"],
)
def test_the_unit_comes_first_then_the_user_with_a_directory_for_each_client_id(
    environment: dict[str, str], directory: str
) -> None:
    assert Path(directory) == state_directory("b1", environment)


@pytest.mark.parametrize("client_id", ["..", "a/b", "a/../b", "é" * 1_024, "\n"])
def test_no_client_id_leaves_its_place(client_id: str) -> None:
    directory = state_directory(client_id, {"HOME": "/h"})

    assert Path("/h/.local/state/mqtt-kafka-bridge") == directory.parent
    assert directory.name not in {".", ".."}
    assert len(directory.name.encode()) <= 255


def test_long_client_ids_that_begin_alike_are_kept_apart() -> None:
    one, other = (state_directory("x" * 300 + end, {}) for end in "ab")

    assert one != other
