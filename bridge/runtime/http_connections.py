"""The connections of the ops port: their places, their deadline, and how each one ends.

Theory of operation. One connection carries one request and has one deadline for everything: the
request line that comes byte by byte, the body nobody asked for, the answer nobody reads. So no
idle connection is ever kept, and no second timer is needed. When all places are taken the oldest
connection goes: honest clients are done in milliseconds, so a flood cannot lock a probe out.

An answer is written at once, and behind it the sending side is closed. The receiving side is not:
where bytes lie unread, closing a socket resets it, and a reset takes the answer away from a client
that has not read it yet. So what still comes is dropped until the client closes, which it does
since it was told to, or until the bound on bytes, the deadline, or another's need of the place.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final, cast

from msgspec import structs

from bridge.runtime import clock
from bridge.runtime.http_exchange import Answer, BadRequestError, Exchange, Request

RECEIVED_BYTES_MAX: Final = 16_384
"""All a client may send on a connection; a scrape's head is some 300 bytes."""
_FLUSH_MAX_S: Final = 1.0
"""At a stop, for answers that are under way."""
_BAD_REQUEST: Final = Answer(400, b"bad request\n")


class Connections:
    """Every open connection, oldest first, and never more than there are places."""

    def __init__(
        self,
        respond: Callable[[Request], Answer],
        *,
        connections_max: int,
        connection_max_s: float,
    ) -> None:
        self._respond = respond
        self._connections_max = connections_max
        self._connection_max_s = connection_max_s
        self._open: dict[Connection, None] = {}  # In the order in which they came.
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._open)

    def make(self) -> "Connection":
        """Return the protocol of a connection that was accepted."""
        return Connection(self, self._respond, self._connection_max_s)

    def admit(self, connection: "Connection") -> None:
        """Give a new connection its place, if need be that of the oldest."""
        if self._is_closed:  # It was accepted just before nothing was any more.
            connection.abort()
            return
        if len(self._open) >= self._connections_max:
            oldest = next(iter(self._open))
            self.forget(oldest)
            oldest.abort()
        self._open[connection] = None

    def forget(self, connection: "Connection") -> None:
        """Free the place of a connection that ended."""
        self._open.pop(connection, None)

    async def close(self) -> None:
        """End them all, and leave what is being answered a second to be read."""
        self._is_closed = True
        ended = [each.close() for each in list(self._open)]
        try:
            if ended:
                await asyncio.wait(ended, timeout=_FLUSH_MAX_S)
        finally:
            for each in list(self._open):
                each.abort()


class Connection(asyncio.Protocol):
    """One accepted connection: its deadline and its bound, whatever the client does."""

    def __init__(
        self,
        connections: Connections,
        respond: Callable[[Request], Answer],
        connection_max_s: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._connections = connections
        self._respond = respond
        self._exchange = Exchange(RECEIVED_BYTES_MAX)
        self._received_bytes = 0
        self._is_answered = False
        self._transport: asyncio.Transport | None = None
        self._ended: asyncio.Future[None] = loop.create_future()
        self._deadline = loop.call_later(connection_max_s, self.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass.
        self._connections.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place."""
        del exc  # Whichever way it ended, nobody is owed anything.
        self._deadline.cancel()
        self._connections.forget(self)
        self._ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Answer once the request is there, or once it is clear that it never will be."""
        self._received_bytes += len(data)
        if self._received_bytes > RECEIVED_BYTES_MAX:
            self.abort()
        elif not self._is_answered:
            answer = self._answer(data)
            if answer is not None:
                self._send(answer)

    def close(self) -> "asyncio.Future[None]":
        """End it once what was answered is flushed; return when that will be."""
        assert self._transport is not None, "only who has a place is told to close"
        self._transport.close()
        return self._ended

    def abort(self) -> None:
        """End it at once, without waiting for what the client does not read."""
        if self._transport is not None:
            self._transport.abort()

    def _answer(self, data: bytes) -> Answer | None:
        assert self._transport is not None, "data comes over a transport"
        try:
            request = self._exchange.receive(data)
        except BadRequestError:
            return _BAD_REQUEST
        if request is None:
            return None
        peer = self._transport.get_extra_info("peername")
        return self._respond(structs.replace(request, peer=str(peer[0]) if peer else ""))

    def _send(self, answer: Answer) -> None:
        assert self._transport is not None, "the same"
        self._is_answered = True
        self._transport.write(self._exchange.send(answer, clock.unix_s()))
        with contextlib.suppress(OSError):  # A reset came between the two: the loop ends it.
            self._transport.write_eof()
