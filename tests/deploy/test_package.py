"""Wheel and source archive: what they carry, and that the wheel works where nothing else is."""

import email
import json
import subprocess
import tarfile
import tomllib
import zipfile
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from bridge import __version__
from bridge.cli.install import MONITORING
from bridge.config.schema import build_schema
from bridge.errors import ExitCode
from tests.support.certificates import PROJECT
from tests.support.installation import Installation
from tests.support.wheels import build

EXTRAS = {"all", "completion", "fast", "otel", "protobuf", "dev"}
CARRIED = {
    "bridge.toml": "config/bridge.toml",
    "monitoring/runbook.md": "docs/runbook.md",
    **{
        f"{directory}/{path.name}": f"deploy/{directory}/{path.name}"
        for directory in ("systemd", "monitoring")
        for path in (PROJECT / "deploy" / directory).iterdir()
    },
}
IMPORT_ALL = """
import importlib, json, pkgutil, bridge
failed = {}
for each in pkgutil.walk_packages(bridge.__path__, "bridge."):
    try:
        each.name == "bridge.__main__" or importlib.import_module(each.name)
    except ModuleNotFoundError as error:
        failed[each.name] = error.name
print(json.dumps(failed))
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive of this tree."""
    return build("sdist", PROJECT, tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    return build("wheel", PROJECT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel with what it asks for, and no extra."""
    return Installation(tmp_path_factory.mktemp("bare") / "venv", wheel)


@pytest.fixture(scope="module")
def full(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The wheel with every extra that runs."""
    pytest.importorskip("shtab")
    return Installation(tmp_path_factory.mktemp("full") / "venv", wheel, ["all"])


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (each for each in opened.namelist() if each.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(opened.read(name))


def metadata_of_the_tree() -> dict[str, Any]:
    text = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    return project


# --- what is in them


def test_the_wheel_carries_units_configuration_and_monitoring_as_they_are(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        carried = {name: opened.read(f"bridge/shipped/{name}") for name in CARRIED}
        shipped = {name for name in opened.namelist() if name.startswith("bridge/shipped/")}

    assert {name: (PROJECT / source).read_bytes() for name, source in CARRIED.items()} == carried
    assert {f"bridge/shipped/{name}" for name in CARRIED} == shipped


def test_the_wheel_holds_the_package_and_nothing_beside_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()

    info = f"mqtt_kafka_bridge-{__version__}.dist-info"
    assert {"bridge", info} == {name.split("/")[0] for name in names}
    assert {f"{info}/licenses/LICENSE", "bridge/py.typed"} <= set(names)
    assert "bridge/pipeline/formats/telemetry.proto" in names


def test_the_metadata_say_licence_version_extras_and_python(wheel: Path) -> None:
    said = metadata(wheel)

    assert ("mqtt-kafka-bridge", __version__) == (said["Name"], said["Version"])
    assert ("Apache-2.0", ">=3.11") == (said["License-Expression"], said["Requires-Python"])
    assert EXTRAS == set(said.get_all("Provides-Extra", []))


def test_the_wheel_that_is_made_from_the_source_archive_is_the_same(
    wheel: Path, archive: Path, tmp_path: Path
) -> None:
    (tmp_path / "tree").mkdir()
    # Not by tarfile: the Python of Debian 12 has no filters, and a later one warns without.
    subprocess.run(["tar", "-xf", archive, "-C", tmp_path / "tree"], check=True, timeout=60)
    (tree,) = (tmp_path / "tree").iterdir()

    again = build("wheel", tree, tmp_path / "again")

    assert wheel.name == again.name
    assert wheel.read_bytes() == again.read_bytes()


def test_the_source_archive_has_what_it_takes_to_test_and_release(archive: Path) -> None:
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    listed = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    wanted = {
        "dev",
        "requirements.lock",
        "requirements-runtime.lock",
        "LICENSE",
        "tests/conftest.py",
    }
    assert wanted <= names
    assert set() == set(listed.stdout.split()) - names
    assert set() == {
        name for name in names if name.startswith((".git/", ".venv", ".cache", "dist"))
    }


# --- what an operator has of it


def test_pip_misses_nothing_that_the_wheel_asks_for(bare: Installation) -> None:
    assert "No broken requirements found." == bare.what_pip_misses()


def test_the_installed_command_is_this_version_and_not_the_one_of_the_tree(
    bare: Installation,
) -> None:
    where = bare.python("import bridge; print(bridge.__file__)").stdout

    assert f"mqtt-kafka-bridge {__version__}\n" == bare.bridge("--version").stdout
    assert where.startswith(str(bare.directory))


def test_the_installed_command_takes_the_sample_that_it_carries(
    bare: Installation, tmp_path: Path
) -> None:
    installed = bare.bridge(
        "install", "--systemd", "--prefix", "/opt/mqtt-kafka-bridge", "--root", tmp_path
    )
    configuration = tmp_path / "etc/mqtt-kafka-bridge/bridge.toml"

    checked = bare.bridge("check", "--config", configuration)

    assert (ExitCode.OK, "") == (installed.returncode, installed.stderr)
    assert (ExitCode.OK, "") == (checked.returncode, checked.stderr)
    assert (PROJECT / "config/bridge.toml").read_bytes() == configuration.read_bytes()
    unit = tmp_path / "etc/systemd/system/mqtt-kafka-bridge.service"
    assert (PROJECT / CARRIED["systemd/mqtt-kafka-bridge.service"]).read_text() == unit.read_text()


def test_the_installed_command_writes_the_monitoring_files(
    bare: Installation, tmp_path: Path
) -> None:
    done = bare.bridge("install", "--monitoring", tmp_path)

    assert (ExitCode.OK, "") == (done.returncode, done.stderr)
    assert set(MONITORING) == {path.name for path in tmp_path.iterdir()}
    for path in tmp_path.iterdir():
        assert (PROJECT / CARRIED[f"monitoring/{path.name}"]).read_bytes() == path.read_bytes()


def test_the_installed_command_prints_the_schema_of_its_configuration(bare: Installation) -> None:
    done = bare.bridge("config", "schema")

    assert (ExitCode.OK, "") == (done.returncode, done.stderr)
    assert json.loads(json.dumps(build_schema())) == json.loads(done.stdout)


def test_without_extras_only_what_needs_one_cannot_be_imported(bare: Installation) -> None:
    done = bare.python(IMPORT_ALL)

    assert "" == done.stderr
    assert {
        "bridge.config.protobuf_schema": "google",
        "bridge.pipeline.formats.protobuf": "google",
        "bridge.pipeline.formats.published": "google",
        "bridge.runtime.traces": "opentelemetry",
    } == json.loads(done.stdout)


def test_a_configuration_that_needs_a_missing_extra_is_told_what_to_type(
    bare: Installation, tmp_path: Path
) -> None:
    configuration = tmp_path / "bridge.toml"
    configuration.write_text('[[route]]\nfilter = "devices/+/telemetry"\nformat = "protobuf"\n')

    done = bare.bridge("check", "--config", configuration)

    assert ExitCode.CONFIGURATION == done.returncode
    assert "pip install 'mqtt-kafka-bridge[protobuf]'" in done.stderr


def test_a_command_that_needs_a_missing_extra_is_told_what_to_type(bare: Installation) -> None:
    done = bare.bridge("completion", "bash")

    assert (ExitCode.UNAVAILABLE, "") == (done.returncode, done.stdout)
    assert "pip install 'mqtt-kafka-bridge[completion]'" in done.stderr


def test_with_all_extras_everything_can_be_imported_and_completed(full: Installation) -> None:
    imported = full.python(IMPORT_ALL)
    completed = full.bridge("completion", "bash")

    assert ("{}\n", "") == (imported.stdout, imported.stderr)
    assert "complete -o bashdefault" in completed.stdout
    assert "No broken requirements found." == full.what_pip_misses()


def test_every_extra_that_runs_is_told_to_whoever_installs() -> None:
    extras = metadata_of_the_tree()["optional-dependencies"]
    told = (PROJECT / "docs/packaging.md").read_text(encoding="utf-8")

    assert EXTRAS == set(extras)
    assert [] == [name for name in EXTRAS - {"dev"} if f"| `{name}` |" not in told]


def test_the_changelog_and_the_archive_have_what_a_release_needs(archive: Path) -> None:
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}

    assert {"CHANGELOG.md", "SECURITY.md", "README.md", "docs/packaging.md"} <= names
    assert "## [Unreleased]" in (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
