"""The bill of materials: what runs, all of it and nothing else, in the versions of the lock."""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bridge import __version__
from tests.support.certificates import PROJECT
from tests.support.sbom import main

pytestmark = pytest.mark.slow  # The bill is validated against the schema of CycloneDX.


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The bill, as ./dev sbom writes it."""
    pytest.importorskip("cyclonedx_py")
    directory = tmp_path_factory.mktemp("sbom")

    assert 0 == main([str(directory)])

    return (directory / f"mqtt-kafka-bridge-{__version__}.cdx.json").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def bill(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def test_the_bill_lists_what_the_lock_of_what_runs_has_in_its_versions(
    bill: dict[str, Any],
) -> None:
    lock = (PROJECT / "requirements-runtime.lock").read_text(encoding="utf-8")
    lines = [Requirement(found) for found in re.findall(r"^([a-z].*?) \\$", lock, re.MULTILINE)]
    locked = {
        (canonicalize_name(line.name), str(line.specifier).removeprefix("=="))
        for line in lines
        if line.marker is None or line.marker.evaluate()
    }

    listed = {(canonicalize_name(each["name"]), each["version"]) for each in bill["components"]}

    assert locked
    assert locked == listed


def test_the_bill_is_of_this_version_and_says_who_asks_for_whom(bill: dict[str, Any]) -> None:
    subject = bill["metadata"]["component"]
    asks = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    direct = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]

    assert ("CycloneDX", "mqtt-kafka-bridge", __version__) == (
        bill["bomFormat"],
        subject["name"],
        subject["version"],
    )
    wanted = {canonicalize_name(Requirement(line).name) for line in direct}
    named = {canonicalize_name(ref.partition("==")[0]) for ref in asks[subject["bom-ref"]]}
    assert set() == wanted - named


def test_the_bill_tells_licences_and_nothing_of_this_machine(
    text: str, bill: dict[str, Any]
) -> None:
    silent = [each["name"] for each in bill["components"] if not each.get("licenses")]

    assert set(silent) <= {"protobuf"}  # Its metadata name none; it is BSD-3-Clause.
    assert "file:" not in text
    for place in (str(PROJECT), sys.prefix, str(Path.home())):
        assert f'"{place}' not in text
