"""A copy of the bridge with one bug, and what becomes of it: each in a process of its own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

from tests.mutants.table import SEEDS, Mutant

REPOSITORY = Path(__file__).resolve().parents[2]
_SEED = re.compile(r"^seed (\d+): (.*)$", re.MULTILINE)


class Outcome(msgspec.Struct, frozen=True):
    """How the search for a bug ended."""

    is_found: bool
    sentence: str
    """What was said of it: of the simulation the first line, of a test all that it printed."""


def copy_bridge(directory: Path, mutant: Mutant | None) -> Path:
    """Copy the sources, and put the bug in.

    Raises:
        AssertionError: The text to be changed is not there exactly once; the table is too old.
    """
    target = directory / "copy"
    shutil.copytree(
        REPOSITORY / "bridge", target / "bridge", ignore=shutil.ignore_patterns("__pycache__")
    )
    for change in mutant.changes if mutant else ():
        path = target / change.path
        text = path.read_text(encoding="utf-8")
        times = text.count(change.old)
        assert times == 1, f"{change.path} has the text of the mutant {times} times: {change.old!r}"
        path.write_text(text.replace(change.old, change.new), encoding="utf-8")
    return target


def run_seeds(copy: Path, seeds: int = SEEDS) -> Outcome:
    """Run the simulation on a copy until the first seed that finds something."""
    ended = _run(copy, "-P", "-m", "tests.simulation", "0", str(seeds))
    found = _SEED.search(ended.stdout)
    assert ended.returncode == bool(found), f"the simulation broke:\n{ended.stdout}{ended.stderr}"
    return Outcome(found is not None, found.group() if found else "")


def run_test(copy: Path, node_id: str) -> Outcome:
    """Run one test on a copy."""
    ended = _run(
        copy,
        *("-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:randomly"),
        *("-o", f"pythonpath={copy} {REPOSITORY}", node_id),
    )
    assert ended.returncode in (0, 1), f"pytest broke:\n{ended.stdout}{ended.stderr}"
    return Outcome(ended.returncode == 1, ended.stdout)


def _run(copy: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": f"{copy}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
