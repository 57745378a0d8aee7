"""`completion`: what lets a shell complete the commands, written from the parsers themselves."""

import argparse
import sys
from pathlib import Path
from typing import Final

from bridge.cli.arguments import directory as read_directory
from bridge.config.extras import missing_extra
from bridge.errors import ExitCode, UnavailableError

SHELLS: Final = ("bash", "zsh", "fish")
DESCRIPTION: Final = """\
Write a script to standard output that lets a shell complete commands, options, choices and files.

  bash   mqtt-kafka-bridge completion bash > ~/.local/share/bash-completion/completions/mqtt-kafka-bridge
  zsh    mqtt-kafka-bridge completion zsh > DIR/_mqtt-kafka-bridge      # DIR is one of $fpath
  fish   mqtt-kafka-bridge completion fish > ~/.config/fish/completions/mqtt-kafka-bridge.fish

For this shell alone, in bash: source <(mqtt-kafka-bridge completion bash)
"""  # noqa: E501 - a command to be copied stays on its line


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Say what `completion` takes."""
    parser = subparsers.add_parser(
        "completion",
        help="write what lets a shell complete these commands",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Write the script for one shell.

    Raises:
        UnavailableError: the extra that writes such scripts is not installed.
    """
    try:
        import shtab  # noqa: PLC0415 - the package is an extra
    except ModuleNotFoundError as error:
        raise UnavailableError(missing_extra("shtab", "completion")) from error
    parser: argparse.ArgumentParser = arguments.parser
    _complete_paths(parser, file=shtab.FILE, directory=shtab.DIRECTORY)
    sys.stdout.write(shtab.complete(parser, shell=arguments.shell))
    return ExitCode.OK


def _complete_paths(parser: argparse.ArgumentParser, *, file: object, directory: object) -> None:
    """Mark what names a file or a directory, here and in every command below."""
    parser.description = None  # A menu has room for the one line of `help`.
    for action in parser._actions:  # noqa: SLF001 - argparse has no public way to list them
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for each in action.choices.values():
                _complete_paths(each, file=file, directory=directory)
        elif action.type in {Path, read_directory}:
            wanted = directory if action.metavar == "DIR" else file
            action.complete = wanted  # type: ignore[attr-defined]  # where shtab looks for it
