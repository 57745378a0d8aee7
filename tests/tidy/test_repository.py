"""What lies in the repository: nothing of one machine, no loose ends, a lock that covers all."""

import os
import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from tests.tidy.sources import REPOSITORY, text_files

RUNTIME = "requirements-runtime.lock"
_MACHINE_PATH = re.compile(r"(?<![\w.$}\-])/(?:root|work|home/[\w.-]+|tmp/venv)/")
_REGISTRY = re.compile(r"pypi\.org|pythonhosted\.org|repo\.maven|repo1\.maven")
_OPEN_END = re.compile(r"\b(?:TOD[O]|FIXM[E]|XX[X]|HAC[K])\b(?!.*#\d+)")


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    assert list(_lines_with(_MACHINE_PATH)) == []


def test_no_file_names_a_package_registry() -> None:
    assert list(_lines_with(_REGISTRY)) == []


def test_nothing_is_left_to_do_without_an_issue() -> None:
    assert list(_lines_with(_OPEN_END)) == []


@pytest.mark.parametrize("lock", ["requirements.lock", RUNTIME])
def test_every_locked_requirement_is_pinned_and_hashed(lock: str) -> None:
    entries = _lock_entries(lock)

    unpinned = [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry]

    assert entries
    assert unpinned == []
    assert [entry for entry in entries if entry.startswith("-")] == []  # No index, no options.


def test_the_lock_covers_everything_that_pyproject_asks_for() -> None:
    project = _pyproject()
    extras = chain.from_iterable(project["project"]["optional-dependencies"].values())
    asked = [
        *project["project"]["dependencies"],
        *(line for line in extras if _name(line) != project["project"]["name"]),
        *project["build-system"]["requires"],
    ]

    missing = {_name(line) for line in asked} - {_name(entry) for entry in _lock_entries()}

    assert missing == set(), "run ./dev lock"


def test_the_lock_of_what_runs_covers_the_dependencies_and_all_extras_but_dev() -> None:
    project = _pyproject()["project"]
    extras = project["optional-dependencies"]
    wanted = [f"{project['name']}[{name}]" for name in extras if name not in {"all", "dev"}]
    asked = [
        *project["dependencies"],
        *(line for name in extras if name not in {"all", "dev"} for line in extras[name]),
    ]

    missing = {_name(line) for line in asked} - {_name(entry) for entry in _lock_entries(RUNTIME)}

    assert wanted == extras["all"]
    assert missing == set(), "run ./dev lock"


def test_what_runs_is_locked_to_the_versions_and_hashes_that_are_tested() -> None:
    tested = {_pin(entry) for entry in _lock_entries()}

    other = [entry for entry in _lock_entries(RUNTIME) if _pin(entry) not in tested]

    assert other == [], "run ./dev lock"


def test_the_readme_and_ci_use_one_test_command() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")

    assert "./dev test" in readme
    assert "./dev demo" in readme
    assert "./dev test" in ci
    assert all(os.access(REPOSITORY / name, os.X_OK) for name in ("dev", ".ci/run"))


def _lines_with(pattern: re.Pattern[str]) -> Iterator[str]:
    for path in text_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # Not text: a sample payload, a picture.
        if pattern.search(text) is None:
            continue
        for number, line in enumerate(text.split("\n"), start=1):
            if pattern.search(line):
                yield f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()[:100]}"


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


def _lock_entries(name: str = "requirements.lock") -> list[str]:
    """Return the requirements of a lock, each with the hashes that follow it."""
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    return re.split(r"\n(?=\S)", "\n".join(lines))


def _pin(entry: str) -> tuple[str, ...]:
    """Return version and hashes without the marker, which differs where fewer packages ask."""
    return entry.split(maxsplit=1)[0], *sorted(re.findall(r"--hash=(\S+)", entry))


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found is not None, requirement
    return re.sub(r"[._-]+", "-", found.group()).lower()
