"""A disk that forgets: what is gone is told, and nothing is acknowledged into a file that is."""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.spool.store import FILE_NAME, SpoolFailedError, Store
from tests.spool.given import close_all, entries, entry, everything, open_store


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def close_with_rows(directory: Path, count: int = 500) -> None:
    store = open_store(directory)
    store.write(entries(*[b"%d" % number * 100 for number in range(count)]))
    store.close()


def damage(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 64)


def test_a_page_that_went_bad_after_a_clean_stop_is_found_and_set_aside(tmp_path: Path) -> None:
    close_with_rows(tmp_path)
    damage(tmp_path / FILE_NAME, 5 * 4_096)

    store = open_store(tmp_path)

    assert store.set_aside is not None
    assert store.set_aside.exists()
    assert store.corruption
    assert (0, "") == (store.live_rows, store.lost)


@pytest.mark.parametrize("table", ["topic", "row"])
def test_a_page_that_went_bad_while_there_was_no_row_is_found_and_set_aside(
    tmp_path: Path, table: str
) -> None:
    store = open_store(tmp_path)
    store.write([], store.write(entries(b"1")))
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
        (page,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)
        ).fetchone()
    damage(tmp_path / FILE_NAME, (page - 1) * 4_096)

    store = open_store(tmp_path)

    assert store.set_aside is not None
    assert "database disk image is malformed" == store.corruption
    store.write(entries(b"2"))
    assert [b"2"] == everything(store)


@pytest.mark.parametrize(
    "lose",
    [
        pytest.param(Path.unlink, id="removed"),
        pytest.param(lambda path: path.write_bytes(b""), id="emptied"),
    ],
)
def test_a_spool_that_is_gone_with_its_rows_is_missed(
    tmp_path: Path, lose: Callable[[Path], object]
) -> None:
    close_with_rows(tmp_path)
    lose(tmp_path / FILE_NAME)

    store = open_store(tmp_path)
    again = store.lost
    store.close()

    assert "the file is another one than before" == again
    assert "" == open_store(tmp_path).lost, "it is told once"


def test_rows_that_only_the_log_had_are_missed_when_the_log_is_gone(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.close()
    store = open_store(tmp_path)
    store.write(entries(b"1"))
    left = tmp_path / "left"
    left.mkdir()
    for name in (FILE_NAME, "spool.holds"):  # As a crash leaves it, but without its log.
        (left / name).write_bytes((tmp_path / name).read_bytes())

    assert "the file is there, but its rows are not" == open_store(left).lost


def test_a_spool_that_was_drained_is_not_missed(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    sequences = store.write(entries(b"1", b"2"))
    store.write([], sequences)
    store.close()
    (tmp_path / FILE_NAME).unlink()

    assert "" == open_store(tmp_path).lost


@pytest.mark.parametrize("is_replaced", [False, True], ids=["removed", "replaced"])
def test_nothing_is_safe_in_a_file_that_is_not_there_any_more(
    tmp_path: Path, *, is_replaced: bool
) -> None:
    store = open_store(tmp_path)
    store.write(entries(b"1"))
    (tmp_path / FILE_NAME).unlink()
    if is_replaced:
        sqlite3.connect(tmp_path / FILE_NAME).close()
        (tmp_path / FILE_NAME).touch()

    with pytest.raises(SpoolFailedError, match="was removed or replaced while it is in use"):
        store.write(entries(b"2"))

    assert b"1" == everything(store)[0], "what is open can still be drained"


def move_away(path: Path) -> None:
    path.rename(path.with_name("away"))


def move_back(path: Path) -> None:
    path.with_name("away").rename(path)


def hide_behind_a_file(path: Path) -> None:
    path.parent.rename(path.parent.with_name("hidden"))
    path.parent.touch()


def bring_into_sight(path: Path) -> None:
    path.parent.unlink()
    path.parent.with_name("hidden").rename(path.parent)


@pytest.mark.parametrize(
    ("hide", "show", "said"),
    [
        pytest.param(move_away, move_back, "was removed or replaced", id="gone"),
        pytest.param(
            hide_behind_a_file,
            bring_into_sight,
            "cannot be looked at: Not a directory",
            id="not to be looked at",
        ),
    ],
)
def test_what_is_written_again_once_the_file_is_back_is_there_once(
    tmp_path: Path, hide: Callable[[Path], None], show: Callable[[Path], None], said: str
) -> None:
    store = open_store(tmp_path / "spool")
    (first,) = store.write(entries(b"1"))

    hide(store.path)
    with pytest.raises(SpoolFailedError, match=said):
        store.write([*entries(b"2"), entry(b"u", kafka_topic="u")], [first])
    show(store.path)
    store.write([*entries(b"2"), entry(b"u", kafka_topic="u")], [first])

    assert ([b"2"], [b"u"]) == (everything(store), everything(store, "u"))
    assert (2, 12) == (store.live_rows, store.live_bytes)


def test_a_directory_in_the_place_of_the_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()

    with pytest.raises(ConfigError, match="is no file: remove what is there"):
        Store(tmp_path, client_id="c", bytes_max=1)
