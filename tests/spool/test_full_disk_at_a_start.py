"""A disk that is full or failing when the spool is opened: a failure that passes, not a refusal."""

import errno
import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.errors import DiskError, ExitCode
from bridge.spool.lock import lock
from bridge.spool.passing import is_passing
from bridge.spool.store import FILE_NAME
from tests.spool.given import close_all, entries, everything, open_store


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("said by SQLite")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        pytest.param(OSError(errno.ENOSPC, "full"), True, id="no space"),
        pytest.param(OSError(errno.EDQUOT, "quota"), True, id="quota"),
        pytest.param(OSError(errno.EIO, "failing"), True, id="I/O error"),
        pytest.param(OSError(errno.EACCES, "forbidden"), False, id="forbidden"),
        pytest.param(OSError(errno.ENOTDIR, "no directory"), False, id="no directory"),
        pytest.param(sqlite_error(sqlite3.SQLITE_FULL), True, id="SQLite: full"),
        pytest.param(sqlite_error(sqlite3.SQLITE_IOERR_WRITE), True, id="SQLite: I/O error"),
        pytest.param(sqlite_error(sqlite3.SQLITE_CANTOPEN), False, id="SQLite: cannot open"),
        pytest.param(sqlite_error(sqlite3.SQLITE_CORRUPT), False, id="SQLite: corrupt"),
        pytest.param(sqlite3.OperationalError("of the driver"), False, id="without a code"),
    ],
)
def test_what_passes_is_told_from_what_somebody_must_change(
    error: sqlite3.Error | OSError, *, expected: bool
) -> None:
    assert expected == is_passing(error)


def test_without_room_the_spool_is_left_as_it_is_and_opened_once_there_is_some(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path)
    store.write(entries(b"1" * 100_000))
    store.close()
    before = (tmp_path / FILE_NAME).read_bytes()

    with (
        no_file_beyond(1_000),
        pytest.raises(DiskError, match="make room on its file system") as is_,
    ):
        open_store(tmp_path)

    assert ExitCode.DISK == is_.value.exit_code
    assert before == (tmp_path / FILE_NAME).read_bytes()
    assert [b"1" * 100_000] == everything(open_store(tmp_path))


def test_without_room_for_a_new_spool_a_corrupt_one_is_still_set_aside(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"something else entirely" * 1_000)

    with no_file_beyond(1_000), pytest.raises(DiskError, match="could not be opened"):
        open_store(tmp_path)

    assert (tmp_path / "spool.corrupt-1.sqlite3").read_bytes().startswith(b"something else")
    open_store(tmp_path)


def test_a_lock_that_cannot_be_signed_is_let_go(tmp_path: Path) -> None:
    with no_file_beyond(0), pytest.raises(DiskError, match=r'spool\.lock" could not be opened'):
        lock(tmp_path)

    os.close(lock(tmp_path))
