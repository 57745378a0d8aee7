"""`run`: the daemon."""

import argparse
import os

from msgspec import structs

from bridge.cli.arguments import add_config, load_from
from bridge.cli.serving import open_log, serve_to_the_end
from bridge.runtime import fault_points
from bridge.runtime.daemon import serve
from bridge.runtime.memory import calm_allocator


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="the daemon: carry messages until SIGTERM",
        description="Carry telemetry from the MQTT broker to Kafka until SIGTERM or Ctrl-C.",
    )
    add_config(parser)
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run until a signal; 0 after a clean stop.

    Raises:
        ConfigError: The configuration cannot be used.
    """
    calm_allocator()
    loaded = load_from(arguments)
    armed = fault_points.arm(os.environ)
    log = open_log(loaded)
    for fault in armed:
        log.emit("fault_point_armed", **structs.asdict(fault))
    serve_to_the_end(
        serve(
            loaded.config,
            config_path=str(arguments.config),
            environment=os.environ,
            log=log,
            load=lambda: load_from(arguments),
        ),
        log,
    )
