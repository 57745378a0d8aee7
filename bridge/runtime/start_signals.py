"""Signals that come while the process starts, before the event loop listens to them.

Python's default for each of them is to end the process without a word. So they are taken before
anything that takes long is imported; what is imported here is there already.
"""

import os
import signal
from typing import Final

from bridge.errors import ExitCode

_noted: Final[set[int]] = set()


def take() -> None:
    """End well on SIGTERM and SIGINT; note SIGHUP for the daemon, which asks once it is up.

    Nothing is held yet, so stopping is all there is to a clean end. A lost terminal, which sends
    SIGHUP as well, is no reason to stop.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(ExitCode.OK))
    signal.signal(signal.SIGHUP, lambda number, _: _noted.add(number))


def is_reload_asked() -> bool:
    """Tell whether SIGHUP came before its handler was set."""
    return signal.SIGHUP in _noted
