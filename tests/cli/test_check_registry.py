from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.errors import ExitCode


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "bridge.toml"
    path.write_text("[spool]\nbytes_max = 0\n")
    return str(path)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ([], "  no registry: layer 4 is off"),
        (["registry.kafka_topic=devices"], '  registry in Kafka topic "devices"'),
    ],
    ids=["none", "topic"],
)
def test_check_says_where_the_registry_is(
    config: str, capsys: pytest.CaptureFixture[str], options: list[str], line: str
) -> None:
    sets = [word for option in options for word in ("--set", option)]

    code = main(["check", "--config", config, *sets])

    assert ExitCode.OK == code
    assert line in capsys.readouterr().out.splitlines()


def test_check_reads_the_registry_file_whole(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = tmp_path / "devices.toml"
    registry.write_text("[device]\na = {}\nb = {}\n")
    arguments = ["check", "--config", config, "--set", f"registry.file={registry}"]

    good = main(arguments)
    said = capsys.readouterr().out
    registry.write_text("[device]\na = { typ = 1 }\nb = 5\n")
    bad = main(arguments)

    assert (ExitCode.OK, ExitCode.CONFIGURATION) == (good, bad)
    assert f'  registry of 2 devices in file "{registry}"' in said.splitlines()
    assert [
        f'registry file "{registry}" line 2: device.a.typ: unknown key; meant "type"?',
        f'registry file "{registry}" line 3: device.b: Expected table, got 5',
    ] == capsys.readouterr().err.splitlines()


def test_show_says_that_a_section_is_not_set(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["config", "show", "--config", config])

    lines = capsys.readouterr().out.splitlines()
    assert "# [registry] is not set" in lines
    values = [line.partition(" #")[0].strip() for line in lines]
    assert "ranges.temperature = [-50.0, 150.0]" in values
