"""`run`: the daemon."""

import argparse
import asyncio
import os
import signal
import sys
import threading

from bridge.cli.arguments import add_config, load_from
from bridge.observe.log import configure, install_library_log
from bridge.runtime.daemon import serve

_STDERR = 2


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
    _fill_standard_descriptors()
    loaded = load_from(arguments)
    # A lost terminal is no reason to stop, and reloading is not there yet.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    log = configure(loaded.config.log, sys.stdout)
    install_library_log(log)
    sys.unraisablehook = lambda unraisable: log.emit(
        "library_reported", library="python", text=f"unraisable: {unraisable.exc_value!r}"
    )
    for warning in loaded.warnings:
        log.emit("configuration_warned", warning=warning)
    daemon = serve(
        loaded.config, config_path=str(arguments.config), environment=os.environ, log=log
    )
    try:
        code = asyncio.Runner().run(daemon)
    finally:
        log.close()
    if threading.active_count() > 1:
        # A resolver or a metadata request that hangs in its thread would hold Python's own exit
        # beyond the budget of the stop; by now nothing is left to be lost.
        os._exit(code)
    return code


def _fill_standard_descriptors() -> None:
    """Open /dev/null where 0, 1 or 2 is closed: a socket there would get the libraries' stderr."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)
