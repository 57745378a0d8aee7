"""What counts as a change of a file: it is there, it is another one, and it has come to rest."""

import os
from pathlib import Path

from bridge.runtime.file_watch import FileChanges, Look, Seen, look_at

A, B = Path("/a"), Path("/b")
OLD, HALF, NEW = Seen(1, 10, 7, 1), Seen(2, 4, 7, 2), Seen(3, 12, 7, 3)


def changed(*looks: Look) -> list[bool]:
    """Tell at which of these looks at one file it is said to have changed."""
    changes = FileChanges()
    return [A in changes.take({A: look}) for look in looks]


def test_the_first_look_is_no_change() -> None:
    assert [False, False] == changed(OLD, OLD)


def test_a_change_is_told_once_after_two_looks_that_agree() -> None:
    assert [False, False, True, False] == changed(OLD, NEW, NEW, NEW)


def test_a_file_that_is_being_written_has_not_changed_yet() -> None:
    assert [False, False, False, True] == changed(OLD, HALF, NEW, NEW)


def test_a_file_that_is_gone_for_a_moment_has_not_changed() -> None:
    assert [False, False, False, False] == changed(OLD, None, None, OLD)


def test_a_file_that_comes_back_as_another_has() -> None:
    assert [False, False, False, True] == changed(OLD, None, NEW, NEW)


def test_one_that_was_not_there_at_first_is_told_when_it_comes() -> None:
    assert [False, False, True] == changed(None, NEW, NEW)


def test_a_file_that_changed_since_it_was_read_is_told() -> None:
    changes = FileChanges({A: OLD})
    changes.take({A: NEW})

    assert {A} == changes.take({A: NEW})


def test_only_what_changed_is_told_and_what_is_named_no_more_is_forgotten() -> None:
    changes = FileChanges()
    changes.take({A: OLD, B: OLD})
    changes.take({A: NEW, B: OLD})

    assert {A} == changes.take({A: NEW, B: OLD})
    changes.take({A: NEW})
    assert frozenset() == changes.take({A: NEW, B: NEW}), "the first look at it"


def test_a_file_that_may_be_read_now_has_changed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch(mode=0o600)
    os.utime(file, ns=(1, 1))
    before = look_at(file)
    assert before is not None

    assert [False, False, True] == changed(before, *[before._replace(status_changed_ns=1)] * 2)
    assert file.stat().st_ctime_ns == before.status_changed_ns


def test_a_link_that_is_turned_is_another_file(tmp_path: Path) -> None:
    one, two, link = tmp_path / "one", tmp_path / "two", tmp_path / "link"
    one.write_text("same")
    two.write_text("same")
    link.symlink_to(one)
    before = look_at(link)

    link.unlink()
    link.symlink_to(two)

    assert before != look_at(link)
    assert None is look_at(tmp_path / "absent")
