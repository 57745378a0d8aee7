"""How a socket is left alone for a moment: it is not read, or it says nothing until much is there.

With TLS uvloop must not pause: when the broker closes meanwhile, what it has not decrypted yet is
dropped: the broker's DISCONNECT, and with it the reason. So there the kernel is told to wait. It
reports data only from a size on, but the end of the connection at once, and then all is read.
"""

import asyncio
import socket
from contextlib import suppress
from typing import Final, Protocol

from bridge.mqtt.rhythm import FULL_BYTES
from bridge.runtime.event_loop import UVLOOP, name_of

_ANY: Final = 1
"""SO_RCVLOWAT as it is from the beginning: whatever comes is reported."""


class SocketRest(Protocol):
    """One way to rest."""

    gives_turns: bool
    """True where even a rest of no time lets the loop go round once."""

    def begin(self) -> None:
        """Report nothing that comes."""

    def end(self, *, is_read_on: bool) -> None:
        """Report what has come, unless nothing is to be read."""


class PausedReading:
    """The transport does not read."""

    gives_turns = True

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def begin(self) -> None:
        """Read nothing."""
        self._transport.pause_reading()

    def end(self, *, is_read_on: bool) -> None:
        """Read on."""
        if is_read_on:
            self._transport.resume_reading()


class LowWaterMark:
    """The kernel reports nothing below `FULL_BYTES`: with so much nothing would rest (socket(7)).

    Where a socket has no such mark, or is closed already, nothing is done: it is read at once.
    """

    gives_turns = False

    def __init__(self, options: "SocketOptions") -> None:
        self._options = options

    def begin(self) -> None:
        """Raise the mark."""
        self._set(FULL_BYTES)

    def end(self, *, is_read_on: bool) -> None:
        """Lower it, whoever reads next, and when: a raised one would keep small packets back."""
        del is_read_on
        self._set(_ANY)

    def _set(self, size_bytes: int) -> None:
        with suppress(OSError):
            self._options.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size_bytes)


class SocketOptions(Protocol):
    """The part of a transport's socket that is needed here; uvloop's is no `socket.socket`."""

    def setsockopt(self, level: int, name: int, value: int, /) -> None:
        """Set an option."""


def rest_of(transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> SocketRest:
    """Choose how this transport rests."""
    has_tls = transport.get_extra_info("ssl_object") is not None
    if has_tls and name_of(loop) == UVLOOP:
        return LowWaterMark(transport.get_extra_info("socket"))
    return PausedReading(transport)
