"""`run`: the daemon."""

import argparse
import os

from msgspec import structs

from bridge.cli.arguments import add_config, load_from
from bridge.cli.follow import add_span, device_id
from bridge.cli.serving import open_log, serve_to_the_end
from bridge.config.paths import quoted_path
from bridge.config.sections import BridgeConfig
from bridge.errors import ConfigError
from bridge.runtime import fault_points
from bridge.runtime.daemon import serve
from bridge.runtime.follow_requests import Request, ask
from bridge.runtime.memory import calm_allocator
from bridge.runtime.state_directory import state_directory


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "run",
        help="the daemon: carry messages until SIGTERM",
        description="Carry telemetry from the MQTT broker to Kafka until SIGTERM or Ctrl-C.",
    )
    add_config(parser)
    parser.add_argument(
        "--device",
        metavar="ID",
        type=device_id,
        help="follow this device from the start: each of its messages is an event in the log",
    )
    add_span(parser, "--device-for")
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run until a signal; 0 after a clean stop.

    Raises:
        ConfigError: The configuration cannot be used.
    """
    calm_allocator()
    loaded = load_from(arguments)
    if arguments.device is not None:
        _follow(arguments, loaded.config)
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


def _follow(arguments: argparse.Namespace, config: BridgeConfig) -> None:
    """Leave the request that the bridge reads first, as `follow` leaves it later."""
    directory = state_directory(config.mqtt.client_id, os.environ)
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        ask(directory, Request(arguments.device, arguments.for_s))
    except OSError as error:
        where = f"state directory {quoted_path(directory)}"
        reason = (error.strerror or str(error)).lower()
        raise ConfigError([f"{where}: cannot leave a request to follow: {reason}"]) from None
