"""What several commands take on their command line."""

import argparse
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from bridge.config import LoadedConfig, load


def add_config(parser: argparse.ArgumentParser) -> None:
    """Let a command take `--config FILE` and `--set KEY=VALUE`."""
    parser.add_argument(
        "--config", metavar="FILE", type=Path, required=True, help="the configuration, TOML"
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="override one key, such as mqtt.port=1884 or 'route[0].kafka_topic=x'; repeatable",
    )


def directory(text: str) -> Path:
    """Read the name of a directory, for argparse's `type=`."""
    return Path(_given(text))


def address(text: str) -> str:
    """Read the URL of a bridge, for argparse's `type=`."""
    return _given(text)


def _given(text: str) -> str:
    """Refuse what a shell makes of a variable that is not set: "" would be here, or the default."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; is a variable not set?")
    return text


def load_from(arguments: argparse.Namespace, *, reads_files: bool = True) -> LoadedConfig:
    """Load what `--config`, the environment and `--set` make together.

    Raises:
        ConfigError: with every problem there is.
    """
    return load(
        arguments.config,
        environment=os.environ,
        overrides=arguments.overrides,
        reads_files=reads_files,
    )


def print_warnings(warnings: Iterable[str]) -> None:
    """Write what works but is probably not meant, one line each, where errors go too."""
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")
