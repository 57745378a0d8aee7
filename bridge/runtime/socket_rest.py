"""Two ways to rest: the transport does not read, or the kernel keeps small packets back.

With TLS the first would lose something on uvloop, which drops what it has not decrypted when the
broker closes: that may be the DISCONNECT, and with it the reason. So there it is paused only where
the bounds ask for it, and rests the second way: the kernel reports data only from a size on, but
the end of the connection at once, and what came before it is read first.
"""

import asyncio
import socket
from contextlib import suppress
from typing import Final, Protocol

from bridge.mqtt.rhythm import FULL_BYTES
from bridge.runtime.event_loop import UVLOOP, name_of

RECEIVE_BUFFER_BYTES: Final = 131_072
"""SO_RCVBUF with TLS on uvloop. Linux doubles it, to the 256 KiB that uvloop reads at most at once;
since it also holds what the kernel needs for itself, no read fills uvloop's buffer. One that does
is followed by up to 31 more before anything else has its turn: in a backlog for seconds. The price
is that the window no longer grows with the distance: one round trip carries 130 to 260 kB.

tcp(7) has it set before connect(2), which is a rule for buffers that grow. Where net.core.rmem_max
is lower, it is that."""
_ANY: Final = 1
"""SO_RCVLOWAT as it is from the beginning: whatever comes is reported."""


class SocketRest(Protocol):
    """One way to rest."""

    gives_turns: bool
    """True where even a rest of no time lets the loop go round once."""

    def begin(self) -> None:
        """Report nothing that comes, or only what is large."""

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


class SocketOptions(Protocol):
    """The part of a transport's socket that is needed here; uvloop's is no `socket.socket`."""

    def setsockopt(self, level: int, name: int, value: int, /) -> None:
        """Set an option."""


class LowWaterMark:
    """The kernel keeps back what is below `FULL_BYTES` (SO_RCVLOWAT, socket(7)).

    It never does so for ever: it also reports when its memory or the window runs out, and it cuts
    the mark to half of its buffer. The buffer is small, so that large reads leave others their
    turn without a rest. Where a socket has no such options, or is closed already, nothing is done:
    it is read at once.
    """

    gives_turns = False

    def __init__(self, options: SocketOptions) -> None:
        self._options = options
        self._set(socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)

    def begin(self) -> None:
        """Raise the mark."""
        self._set(socket.SO_RCVLOWAT, FULL_BYTES)

    def end(self, *, is_read_on: bool) -> None:
        """Lower it even where reading is paused: else small packets are kept back afterwards."""
        del is_read_on
        self._set(socket.SO_RCVLOWAT, _ANY)

    def _set(self, name: int, value: int) -> None:
        # uvloop gives a closed socket the number -1, which Python refuses with a ValueError.
        with suppress(OSError, ValueError):
            self._options.setsockopt(socket.SOL_SOCKET, name, value)


def rest_of(transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> SocketRest:
    """Choose how this transport rests."""
    has_tls = transport.get_extra_info("ssl_object") is not None
    if has_tls and name_of(loop) == UVLOOP:
        return LowWaterMark(transport.get_extra_info("socket"))
    return PausedReading(transport)
