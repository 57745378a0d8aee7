"""Who has the spool, asked without touching its lock."""

import os
import sys
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.spool.lock import lock, owner_of


def test_the_owner_is_the_process_that_holds_the_lock(tmp_path: Path) -> None:
    descriptor = lock(tmp_path)
    try:
        assert os.getpid() == owner_of(tmp_path)
    finally:
        os.close(descriptor)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks the table of Linux")
def test_the_number_that_an_owner_left_behind_is_no_owner(tmp_path: Path) -> None:
    os.close(lock(tmp_path))

    assert str(os.getpid()) == (tmp_path / "spool.lock").read_text()
    assert owner_of(tmp_path) is None


@pytest.mark.parametrize("content", [None, "", "not a number"])
def test_without_a_number_there_is_no_owner(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "spool.lock").write_text(content)

    assert owner_of(tmp_path) is None


def test_asking_for_the_owner_makes_no_file(tmp_path: Path) -> None:
    owner_of(tmp_path)

    assert [] == list(tmp_path.iterdir())


def test_what_is_no_file_is_named_and_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "spool.lock")

    assert owner_of(tmp_path) is None
    with pytest.raises(ConfigError, match=r'spool\.lock" is no regular file.*: remove it'):
        lock(tmp_path)
