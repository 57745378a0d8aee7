"""`registry load`: fill the registry's Kafka topic from a TOML file."""

import argparse
import os
import sys
from pathlib import Path

from bridge.cli.arguments import add_config, load_from, print_warnings
from bridge.config.paths import quoted, quoted_path
from bridge.errors import ConfigError, ExitCode
from bridge.runtime.kafka_producer import kafka_properties, try_properties
from bridge.runtime.registry_disk import read_registry_file
from bridge.runtime.registry_filling import (
    Difference,
    find_difference,
    read_topic,
    write_records,
)

LISTED_MAX = 20
_NO_TOPIC = (
    'is not set, so there is no topic to fill; write kafka_topic = "device-registry" in [registry]'
)
DESCRIPTION = """\
Make the Kafka topic registry.kafka_topic say what FILE says. The whole file is checked first; then
the topic is read, and only what differs is written: new and changed devices, and a tombstone for
each device that the file no longer has, unless --keep is given.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Say what `registry` takes."""
    parser = subparsers.add_parser(
        "registry", help="fill the registry's Kafka topic from a TOML file"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    load = commands.add_parser(
        "load",
        help="make the Kafka topic say what the file says",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    load.add_argument("file", metavar="FILE", type=Path, help="the registry, TOML")
    add_config(load)
    load.add_argument(
        "--keep", action="store_true", help="leave devices in the topic that FILE does not have"
    )
    load.add_argument(
        "--dry-run", action="store_true", help="only say what would be written; writes nothing"
    )
    load.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Load the file into the topic.

    Raises:
        ConfigError: The configuration or the file is wrong.
        UnavailableError: Kafka does not answer, or refuses.
    """
    loaded = load_from(arguments)
    registry = loaded.config.registry
    kafka_topic = registry.kafka_topic if registry is not None else None
    if kafka_topic is None:
        where = f"config file {quoted_path(arguments.config)}"
        raise ConfigError([f"{where}: registry.kafka_topic: {_NO_TOPIC}"])
    wanted = read_registry_file(arguments.file)
    properties = kafka_properties(loaded.config, os.environ)
    try_properties(properties)
    print_warnings(loaded.warnings)
    there = read_topic(properties, kafka_topic)
    difference = find_difference(there, wanted, keeps=arguments.keep)
    if arguments.dry_run:
        sys.stdout.writelines(f"{line}\n" for line in _list(difference))
    else:
        write_records(properties, kafka_topic, difference)
    sys.stdout.write(_summarise(difference, kafka_topic, is_dry_run=arguments.dry_run) + "\n")
    return ExitCode.OK


def _list(difference: Difference) -> list[str]:
    """Name devices that would be written; the first of each kind."""
    lines: list[str] = []
    for sign, names in (
        ("+", list(difference.added)),
        ("~", list(difference.changed)),
        ("-", difference.removed),
    ):
        lines += [f"{sign} {name}" for name in names[:LISTED_MAX]]
        if len(names) > LISTED_MAX:
            lines.append(f"{sign} and {len(names) - LISTED_MAX} more")
    return lines


def _summarise(difference: Difference, kafka_topic: str, *, is_dry_run: bool) -> str:
    verb = "would be" if is_dry_run else "were"
    text = (
        f"Kafka topic {quoted(kafka_topic)}: {len(difference.added)} devices {verb} added,"
        f" {len(difference.changed)} changed, {len(difference.removed)} removed;"
        f" {difference.unchanged} are as they were"
    )
    if difference.kept:
        text += f", {difference.kept} kept that the file does not have"
    return text
