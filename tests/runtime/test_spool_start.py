"""Whether there is a spool to open is known of every directory, also of one that cannot be."""

from pathlib import Path

from bridge.runtime.spool_start import is_spool_wanted


def test_a_spool_that_is_off_is_opened_where_one_was_left(tmp_path: Path) -> None:
    before = is_spool_wanted(tmp_path, 0)
    (tmp_path / "spool.sqlite3").write_bytes(b"")

    assert [False, True] == [before, is_spool_wanted(tmp_path, 0)]


def test_in_a_directory_whose_name_is_too_long_there_is_none(tmp_path: Path) -> None:
    assert not is_spool_wanted(tmp_path / ("x" * 6_000), 0)
