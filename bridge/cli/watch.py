"""`watch`: silence judged from Kafka."""

import argparse
import os

from bridge.cli.arguments import add_config, load_from
from bridge.cli.serving import open_log, serve_to_the_end
from bridge.config.paths import quoted_path
from bridge.config.sections import BridgeConfig
from bridge.errors import ConfigError
from bridge.runtime.watch import watch

DESCRIPTION = """\
Tell which devices fell silent, judged from the telemetry in Kafka instead of by the bridge itself:
for several bridges that share their subscriptions, so that each hears only a part of the fleet.
Needs silence.source = "kafka" in the configuration of the bridges, which can be the same file. Any
number may run: they are one consumer group, and each device belongs to one of them. Nothing is
kept but in Kafka; at start, and when partitions change hands, silence.watch_back_s is read back.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "watch",
        help="tell from Kafka which devices fell silent, until SIGTERM",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit codes: 0 stopped cleanly, 64 usage, 70 our bug, 78 configuration",
    )
    add_config(parser)
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Watch until a signal; 0 after a clean stop.

    Raises:
        ConfigError: The configuration cannot be used.
    """
    loaded = load_from(arguments)
    config = loaded.config
    if problems := _problems(config):
        where = f"config file {quoted_path(arguments.config)}"
        raise ConfigError([f"{where}: {each}" for each in problems])
    log = open_log(loaded)
    serve_to_the_end(
        watch(config, config_path=str(arguments.config), environment=os.environ, log=log), log
    )


def _problems(config: BridgeConfig) -> list[str]:
    problems: list[str] = []
    if config.silence.source != "kafka":
        problems.append(
            'silence.source: "mqtt" lets each bridge judge silence itself, so watch would tell all'
            ' twice; write source = "kafka"'
        )
    if not config.silence.multiplier:
        problems.append("silence.multiplier: 0 turns silence off, so there is nothing to watch")
    if all(each.kind == "opaque" for each in config.route):
        problems.append('route: none is of kind "telemetry" or "batch", so nobody is expected')
    return problems
