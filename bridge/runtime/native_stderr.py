"""What native libraries write to standard error, as events of the log.

A panic of the MQTT codec and some complaints of librdkafka go straight to descriptor 2: past the
log's escaping and rate limit, and blocking the loop where nobody reads it. While the daemon runs,
descriptor 2 is a pipe that never blocks; what does not fit is dropped.

A process that dies of a signal (SIGABRT is what systemd's watchdog sends to a blocked loop) reads
no pipe any more: where each thread stood goes to the real standard error.
"""

import asyncio
import faulthandler
import os
from typing import Final

from bridge.observe.log import EventLog

_STDERR: Final = 2
_READ_BYTES: Final = 65_536


class NativeStderr:
    """Hold descriptor 2 from now on until `stop`."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._saved = os.dup(_STDERR)
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(write, False)
        os.dup2(write, _STDERR)
        os.close(write)
        self._loop.add_reader(self._read, self._tell)
        faulthandler.enable(self._saved)

    def _tell(self) -> None:
        try:
            text = os.read(self._read, _READ_BYTES)
        except BlockingIOError:
            return
        for line in text.splitlines():
            if line.strip():
                self._log.emit("library_reported", library="stderr", text=line)

    def stop(self) -> None:
        """Give descriptor 2 back, after what still lies in the pipe."""
        self._tell()
        self._loop.remove_reader(self._read)
        faulthandler.disable()
        os.dup2(self._saved, _STDERR)
        os.close(self._saved)
        os.close(self._read)
