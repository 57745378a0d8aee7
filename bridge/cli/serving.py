"""What the commands that serve until a signal share: their log, and their way out."""

import asyncio
import os
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

from bridge.config.loading import LoadedConfig
from bridge.errors import ConfigError
from bridge.observe.log import EventLog, configure, install_library_log
from bridge.runtime.event_loop import choose_loop


def open_log(loaded: LoadedConfig) -> EventLog:
    """Open the log, and tell in it what the configuration is warned of."""
    log = configure(loaded.config.log, sys.__stdout__)
    install_library_log(log)
    sys.unraisablehook = lambda unraisable: log.emit(
        "library_reported", library="python", text=f"unraisable: {unraisable.exc_value!r}"
    )
    for warning in loaded.warnings:
        log.emit("configuration_warned", warning=warning)
    return log


def serve_to_the_end(serving: Coroutine[Any, Any, int], log: EventLog) -> NoReturn:
    """Run until it returns its exit code, and end the process with that.

    Raises:
        ConfigError: The event loop that the environment asks for cannot be had.
    """
    try:
        loop_factory = choose_loop(os.environ)
    except ConfigError:
        serving.close()
        log.close()
        raise
    try:
        code = asyncio.Runner(loop_factory=loop_factory).run(serving)
    finally:
        log.close()
    # Nothing is left to be lost or told. Python's own way out would wait for a resolver or a
    # metadata request that hangs in its thread, and gives signals their deadly default back first.
    os._exit(code)
