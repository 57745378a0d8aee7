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
