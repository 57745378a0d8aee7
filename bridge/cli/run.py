"""`run`: the daemon."""

import argparse
import asyncio
import os
import signal
import sys

from msgspec import structs

from bridge.cli.arguments import add_config, load_from
from bridge.observe.log import configure, install_library_log
from bridge.runtime import fault_points
from bridge.runtime.daemon import serve


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
    loaded = load_from(arguments)
    armed = fault_points.arm(os.environ)
    # A lost terminal is no reason to stop; once it is up, the daemon answers.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log = configure(loaded.config.log, sys.__stdout__)
    install_library_log(log)
    sys.unraisablehook = lambda unraisable: log.emit(
        "library_reported", library="python", text=f"unraisable: {unraisable.exc_value!r}"
    )
    for warning in loaded.warnings:
        log.emit("configuration_warned", warning=warning)
    for fault in armed:
        log.emit("fault_point_armed", **structs.asdict(fault))
    daemon = serve(
        loaded.config, config_path=str(arguments.config), environment=os.environ, log=log
    )
    try:
        code = asyncio.Runner().run(daemon)
    finally:
        log.close()
    # Nothing is left to be lost or told. Python's own way out would wait for a resolver or a
    # metadata request that hangs in its thread, and gives signals their deadly default back first.
    os._exit(code)
