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
    ("options", "refusal"),
    [
        (["--topic", "t"], "--topic goes with --sample"),
        (["--since", "2026-11-23"], "--since goes with --sample"),
        (["--against", "other.toml"], "--against goes with --sample"),
        (["--json"], "--json goes with --live or --sample"),
        (["--fill", "--sample", "1"], "--fill goes with --live"),
        (["--live", "--sample", "1"], "--live and --sample are two checks"),
        (["--sample", "1", "--since", "2h ago"], '--since "2h ago" is no time'),
        (["--sample", "1"], "--sample has nothing to compare with: write [shadow] into"),
    ],
    ids=str,
)
def test_an_option_that_would_be_ignored_is_refused_with_a_remedy(
    config: str, capsys: pytest.CaptureFixture[str], options: list[str], refusal: str
) -> None:
    code = main(["check", "--config", config, *options])

    assert ExitCode.USAGE == code
    assert refusal in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "many", "1e9"])
def test_a_sample_has_a_number_of_records(
    config: str, capsys: pytest.CaptureFixture[str], number: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["check", "--config", config, f"--sample={number}"])

    assert ExitCode.USAGE == caught.value.code
    assert f'argument --sample: "{number}" is not between 1 and' in capsys.readouterr().err


def test_a_mistake_in_the_configuration_in_force_is_told_too(
    config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "running.toml"
    other.write_text("[validation]\nsemantic = 'none'\n")

    code = main(["check", "--config", config, "--sample", "1", "--against", str(other)])

    assert ExitCode.CONFIGURATION == code
    assert f'config file "{other}" line 2: validation.semantic' in capsys.readouterr().err


def test_a_cluster_that_is_away_is_told_with_its_topic(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = ["--set", "shadow.metrics_max=9"]

    code = main(["check", "--config", config, *trial, "--sample", "1"])

    assert ExitCode.UNAVAILABLE == code
    assert 'Kafka topic "telemetry-raw" could not be read' in capsys.readouterr().err
