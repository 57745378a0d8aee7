"""`watch` refuses what it cannot watch, and says what to write instead."""

from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.errors import ExitCode

KAFKA = '[silence]\nsource = "kafka"\n'


def run(tmp_path: Path, text: str) -> tuple[int, Path]:
    path = tmp_path / "bridge.toml"
    path.write_text(text)
    return main(["watch", "--config", str(path)]), path


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            "",
            'silence.source: "mqtt" lets each bridge judge silence itself, so watch would tell all'
            ' twice; write source = "kafka"',
            id="the bridges judge",
        ),
        pytest.param(
            KAFKA + "multiplier = 0\n",
            "silence.multiplier: 0 turns silence off, so there is nothing to watch",
            id="turned off",
        ),
        pytest.param(
            KAFKA + '[[route]]\nfilter = "a/+/b"\nkafka_topic = "t"\nkind = "opaque"\n',
            'route: none is of kind "telemetry" or "batch", so nobody is expected',
            id="no telemetry",
        ),
    ],
)
def test_what_cannot_be_watched_is_refused_with_what_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    code, path = run(tmp_path, text)

    assert ExitCode.CONFIGURATION == code
    assert f'config file "{path}": {problem}\n' == capsys.readouterr().err


def test_a_configuration_that_is_wrong_is_refused_as_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = run(tmp_path, KAFKA + "watch_groop = 1\n")

    assert ExitCode.CONFIGURATION == code
    assert "watch_group" in capsys.readouterr().err


def test_the_help_says_what_it_is_for_and_what_it_needs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["watch", "--help"])

    text = capsys.readouterr().out
    assert 0 == ended.value.code
    assert 'silence.source = "kafka"' in text
    assert "exit codes" in text
