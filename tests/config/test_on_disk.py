"""What a look at the machine finds wrong with the directory of the spool."""

import sys
from pathlib import Path

import pytest

from tests.config.support import load_text, problems_of

REMEDY = ": choose one that the bridge may write, or set spool.bytes_max = 0"


def test_a_spool_directory_that_is_there_or_can_be_made_is_taken(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "a" / "b"):
        loaded = load_text(tmp_path, f"[spool]\ndirectory = '{directory}'")

        assert str(directory) == loaded.config.spool.directory


def test_looking_at_the_spool_directory_makes_nothing(tmp_path: Path) -> None:
    load_text(tmp_path, f"[spool]\ndirectory = '{tmp_path / 'new'}'")

    assert ["x.toml"] == [each.name for each in tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("below", "reason"),
    [
        pytest.param("", "is no directory", id="a file"),
        pytest.param("/a/b", "cannot be made, since ", id="below a file"),
    ],
)
def test_a_spool_directory_that_cannot_be_is_refused_with_its_remedy(
    tmp_path: Path, below: str, reason: str
) -> None:
    (tmp_path / "file").touch()

    (problem,) = problems_of(tmp_path, f"[spool]\ndirectory = '{tmp_path}/file{below}'")

    assert problem.startswith('config file "x.toml" line 2: spool.directory: directory "')
    assert reason in problem
    assert problem.endswith(f"is no directory{REMEDY}")


@pytest.mark.parametrize("below", ["", "/x"])
@pytest.mark.parametrize("target", ["link", "absent"], ids=["to itself", "to nothing"])
def test_a_spool_directory_below_a_link_that_leads_nowhere_is_refused(
    tmp_path: Path, target: str, below: str
) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / target)

    (problem,) = problems_of(tmp_path, f"[spool]\ndirectory = '{link}{below}'")

    assert 'link" is a link that leads nowhere' in problem


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc takes no writes")
def test_a_spool_directory_on_a_file_system_that_takes_no_writes_is_refused(
    tmp_path: Path,
) -> None:
    (problem,) = problems_of(tmp_path, "[spool]\ndirectory = '/proc/self/spool'")

    assert 'cannot be made, since "/proc/self" is not writable' in problem


def test_a_spool_that_is_off_needs_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    loaded = load_text(tmp_path, f"[spool]\nbytes_max = 0\ndirectory = '{tmp_path}/file'")

    assert 0 == loaded.config.spool.bytes_max
