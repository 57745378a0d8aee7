from pathlib import Path

import pytest

from bridge.__main__ import main
from bridge.errors import ExitCode


@pytest.mark.parametrize(
    "text", ["", "[registry]\nfile = 'x'"], ids=["no registry", "a registry in a file"]
)
def test_loading_needs_a_topic_to_fill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text(text)

    code = main(["registry", "load", "devices.toml", "--config", str(config)])

    assert ExitCode.CONFIGURATION == code
    assert (
        f'config file "{config}": registry.kafka_topic: is not set, so there is no topic to fill;'
        ' write kafka_topic = "device-registry" in [registry]\n'
    ) == capsys.readouterr().err


def test_a_registry_file_that_cannot_be_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text("[registry]\nkafka_topic = 'device-registry'")

    code = main(["registry", "load", "/no/such.toml", "--config", str(config)])

    assert ExitCode.CONFIGURATION == code
    assert (
        'registry file "/no/such.toml" could not be read: No such file or directory;'
        " write the path of a file that is there\n"
    ) == capsys.readouterr().err
