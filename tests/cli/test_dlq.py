"""The command line of `dlq`: what cannot be meant is refused with a remedy, Kafka is not asked."""

from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.errors import ExitCode


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "bridge.toml"
    path.write_text('[kafka]\nbootstrap_servers = "127.0.0.1:1"\n')
    return str(path)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["stats", "--reason", "out_of_rage"], "meant out_of_range?"),
        (["stats", "--reason", "zzz"], "one of empty, not_decodable,"),
        (["replay", "--since", "2h"], "write it as 2026-11-23 or 2026-11-23T17:00:00Z"),
        (["show", "--since", "2026-11-24", "--until", "2026-11-23"], "put the earlier one in"),
        (["replay", "--reason", "not_decodable"], "add --force"),
        (["replay", "--reason", "empty", "--reason", "rate_limited"], "add --force"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_a_usage_error(
    config: str, words: list[str], remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["dlq", *words, "--config", config])

    assert ExitCode.USAGE == code
    assert remedy in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ([], "COMMAND"),
        (["replay", "--rate", "0"], "'0' is no number from 0.001 to 1000000"),
        (["replay", "--limit", "-1"], "'-1' is no whole number from 1"),
        (["show", "--limit", "101"], "'101' is no whole number from 1 to 100"),
        (["stats", "--top", "x"], "'x' is no whole number from 1 to 10000"),
        (["show", "--payload", "png"], "choose from"),
    ],
)
def test_an_option_that_is_wrong_is_one_too(
    config: str, words: list[str], remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dlq", *words, *(["--config", config] if words else [])])

    assert ExitCode.USAGE == ended.value.code
    assert remedy in capsys.readouterr().err


def test_a_wrong_configuration_is_the_configurations_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bridge.toml"
    path.write_text("[dead_letter]\nkafka_topik = 1\n")

    code = main(["dlq", "stats", "--config", str(path)])

    assert ExitCode.CONFIGURATION == code
    assert 'meant "kafka_topic"?' in capsys.readouterr().err
