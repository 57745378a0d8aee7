"""A request to follow is a file: taken away once, and harmless whatever it is."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.runtime.follow_requests import FILE_NAME, FollowRequestError, Request, ask, take


def test_a_request_is_taken_once(tmp_path: Path) -> None:
    path = ask(tmp_path, Request("dev-1", 60.0))

    first = take(tmp_path)
    second = take(tmp_path)

    assert (Request("dev-1", 60.0), None) == (first, second)
    assert not path.exists()
    assert [] == list(tmp_path.iterdir())


def test_the_last_request_counts(tmp_path: Path) -> None:
    ask(tmp_path, Request("dev-1"))
    ask(tmp_path, Request(None))

    assert Request(None) == take(tmp_path)


def test_another_user_than_the_one_who_asked_can_read_it(tmp_path: Path) -> None:
    path = ask(tmp_path, Request("dev-1"))

    assert 0o644 == path.stat().st_mode & 0o777


def test_a_directory_that_is_not_there_holds_no_request(tmp_path: Path) -> None:
    assert take(tmp_path / "nowhere") is None


def _link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: path.write_bytes(b"\xff{"), id="no JSON"),
        pytest.param(lambda path: path.write_bytes(b'{"device_id":"\xff"}'), id="no text"),
        pytest.param(lambda path: path.write_text('{"device_id": 7}'), id="a number"),
        pytest.param(lambda path: path.write_text('{"device_id": ""}'), id="nobody"),
        pytest.param(lambda path: path.write_text('{"device_id":"d","for_s":-1}'), id="no time"),
        pytest.param(lambda path: path.write_text('{"device_id":"d","for_s":1e9}'), id="for ever"),
        pytest.param(lambda path: path.write_text('{"device_id":"d","x":1}'), id="more"),
        pytest.param(lambda path: path.write_bytes(b" " * 1_000_000), id="large"),
        pytest.param(_link, id="a link"),
        pytest.param(os.mkfifo, id="a pipe"),
    ],
)
def test_what_is_no_request_is_refused_and_gone(
    tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / FILE_NAME)

    with pytest.raises(FollowRequestError):
        take(tmp_path)

    assert not (tmp_path / FILE_NAME).is_symlink()
    assert take(tmp_path) is None


def test_a_directory_in_the_place_of_a_request_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()

    with pytest.raises(FollowRequestError):
        take(tmp_path)
