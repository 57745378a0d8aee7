"""Events in the native protocol of the systemd journal: each field can be asked for by its name.

One event is one datagram: `NAME=value` lines, or, for a value with a line end in it, the name, a
line end, the length in 64 bits and the value. `journalctl BRIDGE_DEVICE_ID=dev-7` finds what was
said of a device; MESSAGE is the event as one readable line.
"""

import array
import contextlib
import errno
import fcntl
import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from bridge.observe.catalogue.entry import Level
from bridge.observe.lines import BACKLOG_BYTES_MAX

SOCKET: Final = Path("/run/systemd/journal/socket")
IDENTIFIER: Final = "mqtt-kafka-bridge"
_PREFIX: Final = "BRIDGE_"
_NAME_CHARACTERS_MAX: Final = 64
"""The journal refuses longer names."""
_PRIORITIES: Final = {Level.DEBUG: "7", Level.INFO: "6", Level.WARNING: "4", Level.ERROR: "3"}
"""Those of syslog, debug to err."""
_TOO_LARGE: Final = frozenset({errno.EMSGSIZE, errno.ENOBUFS})
"""Larger than the socket's buffer: such an entry goes as a sealed file."""

Entry: TypeAlias = Iterable[tuple[str, str]]


def entry_of(cleaned: Mapping[str, Any], message: str) -> list[tuple[str, str]]:
    """Name the fields of an event as the journal does; a list becomes one field for each item."""
    entry = [
        ("MESSAGE", message),
        ("PRIORITY", _PRIORITIES[Level(cleaned["level"])]),
        ("SYSLOG_IDENTIFIER", IDENTIFIER),
    ]
    for name, value in cleaned.items():
        if name == "level":
            continue
        field = (_PREFIX + name.upper())[:_NAME_CHARACTERS_MAX]
        items = value if isinstance(value, list) else [value]
        entry += [(field, _text(item)) for item in items]
    return entry


def encode(entry: Entry) -> bytes:
    """Write one datagram."""
    parts: list[bytes] = []
    for name, text in entry:
        value = text.encode("utf-8", "backslashreplace")
        if b"\n" in value:
            parts += [name.encode(), b"\n", len(value).to_bytes(8, "little"), value, b"\n"]
        else:
            parts += [name.encode(), b"=", value, b"\n"]
    return b"".join(parts)


def is_journal(stream: IO[str] | None, environment: Mapping[str, str]) -> bool:
    """Tell whether what is written to the stream goes to the journal: `$JOURNAL_STREAM` names it.

    The variable alone says nothing: it is inherited, and the stream may lead elsewhere by now.
    """
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    if stream is None or not device.isdecimal() or not inode.isdecimal():
        return False
    try:
        facts = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return (facts.st_dev, facts.st_ino) == (int(device), int(inode))


class JournalLines:
    """Send entries to the journal without ever waiting for it.

    What the journal does not take (it is slow, or starts anew) waits in order up to
    `backlog_bytes_max`; newer entries are then counted and left out. Only an entry that nobody
    could ever take is dropped alone.
    """

    def __init__(self, path: Path = SOCKET, *, backlog_bytes_max: int = BACKLOG_BYTES_MAX) -> None:
        self.lines_lost = 0
        self._path = path
        self._backlog: deque[bytes] = deque()
        self._backlog_bytes = 0
        self._backlog_bytes_max = backlog_bytes_max
        self._socket: socket.socket | None = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(0)

    def write(self, line: bytes) -> None:
        """Send one entry, or keep it for later, or count it as lost."""
        # An empty backlog takes one entry of any size: it goes as a file.
        is_full = self._backlog and self._backlog_bytes + len(line) > self._backlog_bytes_max
        if self._socket is None or is_full:
            self.lines_lost += 1
        else:
            self._backlog.append(line)
            self._backlog_bytes += len(line)
        self.flush()

    def flush(self, *, timeout_s: float = 0.0) -> bool:
        """Send what waits, as far as the journal takes it within the time given."""
        deadline = time.monotonic() + timeout_s
        while self._backlog and self._socket is not None:
            error = self._send(self._socket, self._backlog[0])
            if error is None:
                self._drop_first()
            elif error == errno.EAGAIN and self._await_room(self._socket, deadline):
                continue
            elif error == errno.EPERM:  # No file for it either: nobody will ever take it.
                self._drop_first()
                self.lines_lost += 1
            else:
                return False
        return not self._backlog

    def close(self) -> None:
        """Let go of the socket; later entries are counted as lost."""
        self.lines_lost += len(self._backlog)
        self._backlog.clear()
        self._backlog_bytes = 0
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, to: socket.socket, datagram: bytes) -> int | None:
        """Send as a datagram, or as a file where it is too large; return the error's number."""
        try:
            to.sendto(datagram, bytes(self._path))
        except OSError as error:
            if error.errno not in _TOO_LARGE:
                return error.errno
        else:
            return None
        try:
            _send_as_file(to, datagram, bytes(self._path))
        except OSError as error:
            return errno.EPERM if error.errno in _TOO_LARGE else error.errno
        return None

    def _await_room(self, to: socket.socket, deadline: float) -> bool:
        """Wait until the journal has read; False when the time is over, or none was given."""
        left_ms = (deadline - time.monotonic()) * 1_000
        if left_ms <= 0:
            return False
        with contextlib.suppress(OSError):
            to.connect(bytes(self._path))  # Only then does poll look at the reader's queue.
            poll = select.poll()
            poll.register(to, select.POLLOUT)
            return bool(poll.poll(left_ms))
        return False

    def _drop_first(self) -> None:
        self._backlog_bytes -= len(self._backlog.popleft())


def _send_as_file(to: socket.socket, content: bytes, address: bytes) -> None:
    """Hand over a sealed file in memory: the journal reads what can no longer change."""
    file = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(file, left) :]
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
        # Not socket.send_fds: that of Python 3.11 forgets the address.
        files = array.array("i", [file])
        to.sendmsg([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)], 0, address)
    finally:
        os.close(file)


def _text(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case None:
            return ""
    return str(value)
