"""`config schema` and `config show`: what may stand in the file, and what is in force."""

import argparse
import json
import sys

from bridge.cli.arguments import add_config, load_from, print_warnings
from bridge.config.schema import build_schema
from bridge.config.show import render
from bridge.errors import ExitCode


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Say what `config` takes."""
    parser = subparsers.add_parser(
        "config", help="show the configuration, or the schema of its file"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    show = commands.add_parser(
        "show",
        help="show the effective configuration with the origin of each value",
        description="Show the effective configuration as TOML, each value with its origin;"
        " of a secret only where it is kept.",
    )
    add_config(show)
    show.set_defaults(execute=execute)
    schema = commands.add_parser(
        "schema",
        help="print the JSON Schema of the file",
        description="Print the JSON Schema of the configuration file, for editors.",
    )
    schema.set_defaults(execute=print_schema)


def execute(arguments: argparse.Namespace) -> int:
    """Show the effective configuration; secrets and keys need not be there for it."""
    loaded = load_from(arguments, reads_files=False)
    print_warnings(loaded.warnings)
    sys.stdout.write(render(loaded))
    return ExitCode.OK


def print_schema(_: argparse.Namespace) -> int:
    """Print the JSON Schema."""
    sys.stdout.write(json.dumps(build_schema(), indent=2) + "\n")
    return ExitCode.OK
