"""The units that are shipped: understood by systemd, and tight."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge.config.sections import BridgeConfig
from bridge.errors import ExitCode
from tests.support.certificates import PROJECT

DIRECTORY = PROJECT / "deploy/systemd"
UNIT = DIRECTORY / "mqtt-kafka-bridge.service"
TEMPLATE = DIRECTORY / "mqtt-kafka-bridge@.service"
RELOADING = DIRECTORY / "notify-reload.conf"
UNITS = [pytest.param(UNIT, id="unit"), pytest.param(TEMPLATE, id="template")]
EXPOSURE_MAX = 1.5
NOTIFY_RELOAD_SINCE = 253

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd is not installed"
)


def settings_of(unit: Path) -> list[str]:
    """Return the lines of a unit that say something."""
    lines = unit.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def value_of(unit: Path, name: str) -> str:
    (value,) = (
        line.removeprefix(f"{name}=") for line in settings_of(unit) if line.startswith(f"{name}=")
    )
    return value


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("unit", UNITS)
def test_the_unit_never_gives_up_but_on_a_bad_configuration(unit: Path) -> None:
    assert {
        "Type=notify",
        "Restart=always",
        f"RestartPreventExitStatus={ExitCode.CONFIGURATION}",
        "StartLimitIntervalSec=0",
        "Wants=network-online.target",
        "After=network-online.target time-sync.target",
    } <= set(settings_of(unit))


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_waits_longer_for_a_stop_than_the_bridge_needs(unit: Path) -> None:
    assert float(value_of(unit, "TimeoutStopSec")) > BridgeConfig().shutdown.drain_timeout_s


def test_the_template_is_the_unit_with_the_instance_in_its_paths() -> None:
    expected = [
        re.sub(r"(StateDirectory|RuntimeDirectory)=mqtt-kafka-bridge$", r"\g<0>-%i", line)
        .replace(":mqtt-kafka-bridge.", ":mqtt-kafka-bridge@%i.")
        .replace("/bridge.toml", "/%i.toml")
        .replace("IoT telemetry", "IoT telemetry (%i)")
        for line in settings_of(UNIT)
    ]

    assert expected == settings_of(TEMPLATE)


def test_no_two_instances_share_state_or_secrets() -> None:
    for name in ("StateDirectory", "RuntimeDirectory", "ExecStart"):
        assert "%i" in value_of(TEMPLATE, name)
    credentials = [line for line in settings_of(TEMPLATE) if line.startswith("LoadCredential=")]

    assert credentials
    assert [line for line in credentials if "@%i." not in line] == []


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_the_units_exposure_is_at_most_1_5(unit: Path) -> None:
    finished = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)

    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", finished.stdout)
    assert found is not None, finished.stdout + finished.stderr
    assert float(found.group(1)) <= EXPOSURE_MAX


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line_of_the_unit(unit: Path, tmp_path: Path) -> None:
    name = unit.name.replace("@.", "@one.")

    assert [] == complaints(tmp_path, unit, name)


@needs_systemd
def test_a_systemd_that_knows_notify_reload_understands_the_drop_in(tmp_path: Path) -> None:
    version = re.match(r"systemd (\d+)", run("systemd-analyze", "--version").stdout)
    assert version is not None
    drop_in = tmp_path / f"{UNIT.name}.d" / "notify-reload.conf"
    drop_in.parent.mkdir()
    shutil.copy(RELOADING, drop_in)

    complained = complaints(tmp_path, UNIT, UNIT.name)

    if int(version.group(1)) >= NOTIFY_RELOAD_SINCE:
        assert [] == complained
    else:  # It is why the drop-in is one: there it leaves Type=notify as it is.
        assert ["notify-reload" in line for line in complained] == [True]


def complaints(directory: Path, unit: Path, name: str) -> list[str]:
    """Return what systemd says of a unit whose program is there."""
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    (directory / name).write_text(text, encoding="utf-8")
    finished = run("systemd-analyze", "verify", directory / name)
    return [line for line in finished.stderr.splitlines() if "mqtt-kafka-bridge" in line]
