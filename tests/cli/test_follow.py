"""`follow` says what it needs."""

from pathlib import Path

import pytest

from bridge.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ([], "one of DEVICE and --stop"),
        (["dev-1", "--stop"], "one of DEVICE and --stop"),
        (["dev-1", "--for", "0"], "not above 0"),
        (["dev-1", "--for", "1e9"], "up to 86400"),
        (["dev\x1b1"], "no control characters"),
        ([""], "1 to 1024 characters"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text("")
    try:
        code = main(["follow", "--config", str(config), *arguments])
    except SystemExit as ended:
        code = int(ended.code or 0)

    assert 64 == code
    assert text in capsys.readouterr().err


def test_a_directory_that_is_not_there_is_named_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, nowhere = tmp_path / "bridge.toml", tmp_path / "nowhere"
    config.write_text("")

    code = main(["follow", "dev-1", "--config", str(config), "--state-directory", str(nowhere)])

    errors = capsys.readouterr().err
    assert 69 == code
    assert str(nowhere) in errors
    assert "--state-directory" in errors
    assert not nowhere.exists()


def test_the_directory_of_another_bridge_is_not_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "bridge.toml"
    config.write_text("[mqtt]\nclient_id = 'east'\n")
    (tmp_path / "session.json").write_text(
        '{"format": 1, "client_id": "west", "address": "localhost:1883"}'
    )

    code = main(["follow", "dev-1", "--config", str(config), "--state-directory", str(tmp_path)])

    assert 69 == code
    assert 'is that of client id "west", not "east"' in capsys.readouterr().err
    assert not (tmp_path / "follow.json").exists()
