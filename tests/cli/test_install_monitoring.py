"""`install --monitoring`: what Prometheus and Grafana are given, out of the package."""

from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.cli.install import MONITORING
from bridge.errors import ExitCode
from tests.support.certificates import PROJECT
from tests.support.promtool import Promtool

SHIPPED = PROJECT / "deploy/monitoring"


def install(directory: Path, *more: str) -> int:
    return main(["install", "--monitoring", str(directory), *more])


def test_a_directory_gets_every_monitoring_file_as_it_is_in_the_repository(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "yet"

    assert ExitCode.OK == install(directory)

    sources = {path.name: path for path in (*SHIPPED.iterdir(), PROJECT / "docs/runbook.md")}
    assert sources.keys() == set(MONITORING)
    assert {name: source.read_text() for name, source in sources.items()} == {
        path.name: path.read_text() for path in directory.iterdir()
    }


def test_promtool_proves_the_rules_where_they_were_written(
    promtool: Promtool, tmp_path: Path
) -> None:
    install(tmp_path)

    answer = promtool.test_rules(tmp_path / "rules_test.yml")

    assert answer.is_ok, answer.text
    assert "SUCCESS" in answer.text


def test_the_operator_is_told_what_to_do_with_each_of_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path)

    told = capsys.readouterr().out
    assert f"promtool test rules {tmp_path}/rules_test.yml" in told
    assert f"import {tmp_path}/dashboard.json" in told
    assert len(MONITORING) == told.count("wrote: ")


def test_rules_of_an_older_version_are_kept_beside_the_new_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(tmp_path)
    (tmp_path / "rules.yml").write_text("groups: []\n")
    capsys.readouterr()

    assert ExitCode.OK == install(tmp_path)

    assert "groups: []\n" == (tmp_path / "rules.yml.old").read_text()
    assert (SHIPPED / "rules.yml").read_text() == (tmp_path / "rules.yml").read_text()
    told = capsys.readouterr().out
    assert f"wrote: {tmp_path}/rules.yml (the one before: rules.yml.old)\n" in told
    assert len(MONITORING) - 1 == told.count("unchanged: ")


def test_a_dry_run_makes_not_even_the_directory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ExitCode.OK == install(tmp_path / "monitoring", "--dry-run")

    assert [] == list(tmp_path.iterdir())
    assert f"would write: {tmp_path}/monitoring/rules.yml\n" in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--prefix", "--root"])
def test_an_option_of_the_units_is_refused(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ExitCode.USAGE == install(tmp_path, option, "/opt/mqtt-kafka-bridge")

    assert [] == list(tmp_path.iterdir())
    assert (
        f"mqtt-kafka-bridge: option {option} is for --systemd; --monitoring DIR says it all\n"
    ) == capsys.readouterr().err


def test_a_file_where_the_directory_should_be_is_told_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("")

    assert ExitCode.UNAVAILABLE == install(tmp_path / "taken")

    assert (
        f'mqtt-kafka-bridge: "{tmp_path}/taken" could not be written: File exists;'
        " name a directory that you may write\n"
    ) == capsys.readouterr().err
