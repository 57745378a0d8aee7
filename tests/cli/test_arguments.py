"""Arguments as a shell may pass them, whatever the command."""

import pytest

from bridge.__main__ import main
from bridge.errors import ExitCode


@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "--config", "a\udcff"],
        ["explain", "--config", "x", "--mqtt-topic", "a\udcff"],
        ["top", "--url", "a\udcff"],
        ["a\udcff"],
    ],
    ids=lambda arguments: arguments[0] if arguments[0].isascii() else "command",
)
def test_an_argument_that_is_no_text_is_refused_by_its_number(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(arguments)

    assert ExitCode.USAGE == code
    told = f'argument {len(arguments)}, "a\\udcff", is not UTF-8; write it as text'
    assert f"mqtt-kafka-bridge: {told}\n" == capsys.readouterr().err
