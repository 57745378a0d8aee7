"""Where log lines go; neither a closed nor a full standard output may stop the bridge."""

import contextlib
import errno
import fcntl
import os
import select
import time
from collections import deque
from typing import IO, Protocol

BACKLOG_BYTES_MAX = 262_144
"""Lines that wait for a slow reader: four pipes full; beyond it lines are counted as lost."""

_FIRST_OWN_DESCRIPTOR = 3
_PASSES = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors that the operator can mend while the reader is still there: the lines wait."""


class Lines(Protocol):
    """Takes complete lines and never raises."""

    lines_lost: int

    def write(self, line: bytes) -> None:
        """Write one line, its line end included."""

    def flush(self, *, timeout_s: float = 0.0) -> bool:
        """Write what waits; True when nothing waits any more."""

    def close(self) -> None:
        """Let go of the descriptor."""


class DescriptorLines:
    """Write lines to a pipe, file, socket or terminal without ever waiting for its reader.

    Before each piece `poll` is asked, and a piece is at most PIPE_BUF bytes: so much a writable
    pipe or socket takes at once. O_NONBLOCK would do the same, but it belongs to the open file,
    which we share with our parent and with whoever else writes there. What does not fit waits, in
    order and never torn, up to `backlog_bytes_max`; newer lines are then counted and left out. (A
    regular file on a hung network file system is the one thing that can still hold the caller.)

    The descriptor is our own duplicate: were it closed under us, the next socket would get its
    number, and the log would be written into an MQTT connection.
    """

    def __init__(
        self, descriptor: int | None, *, backlog_bytes_max: int = BACKLOG_BYTES_MAX
    ) -> None:
        self.lines_lost = 0
        self._descriptor = _duplicate(descriptor)
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._backlog_bytes_max = backlog_bytes_max
        self._poll = select.poll()
        if self._descriptor is not None:
            self._poll.register(self._descriptor, select.POLLOUT)

    def write(self, line: bytes) -> None:
        """Write one line, or keep it for later, or count it as lost."""
        if self._descriptor is None or self._backlog_bytes + len(line) > self._backlog_bytes_max:
            self.lines_lost += 1
        else:
            self._backlog.append(line)
            self._backlog_bytes += len(line)
        self.flush()

    def flush(self, *, timeout_s: float = 0.0) -> bool:
        """Write what waits, as far as the reader takes it within the time given."""
        deadline = time.monotonic() + timeout_s if timeout_s else 0.0
        try:
            while self._backlog:
                left_ms = max(0.0, deadline - time.monotonic()) * 1_000 if timeout_s else 0
                if not self._poll.poll(left_ms):
                    return False
                self._write_piece()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _PASSES:
                self._drop_backlog()
            return False
        return True

    def close(self) -> None:
        """Let go of the descriptor; later lines are counted as lost."""
        self._drop_backlog()
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None

    def _write_piece(self) -> None:
        assert self._descriptor is not None, "lines wait for a descriptor that was closed"
        line = self._backlog[0]
        written = os.write(self._descriptor, line[: select.PIPE_BUF])
        self._backlog_bytes -= written
        if written == len(line):
            self._backlog.popleft()
        else:
            self._backlog[0] = line[written:]

    def _drop_backlog(self) -> None:
        self.lines_lost += len(self._backlog)
        self._backlog.clear()
        self._backlog_bytes = 0


class StreamLines:
    """Write lines to a text stream that has no descriptor, a `StringIO` for instance."""

    def __init__(self, stream: IO[str]) -> None:
        self.lines_lost = 0
        self._stream = stream

    def write(self, line: bytes) -> None:
        """Write one line, or count it as lost."""
        try:
            self._stream.write(line.decode())
        except (OSError, ValueError):  # ValueError: the stream is closed.
            self.lines_lost += 1

    def flush(self, *, timeout_s: float = 0.0) -> bool:  # noqa: ARG002 - nothing ever waits here
        """Do nothing: lines are written at once."""
        return True

    def close(self) -> None:
        """Do nothing: the stream belongs to the caller."""


def open_lines(stream: IO[str] | None) -> Lines:
    """Choose by what the stream is; None (standard output was closed at start) loses all lines."""
    if stream is None:
        return DescriptorLines(None)
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return StreamLines(stream)
    with contextlib.suppress(OSError, ValueError):
        stream.flush()  # What was printed before stays before.
    return DescriptorLines(descriptor)


def _duplicate(descriptor: int | None) -> int | None:
    if descriptor is None:
        return None
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_OWN_DESCRIPTOR)
    except OSError:
        return None
