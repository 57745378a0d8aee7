"""A TCP proxy with levers: what a network does to the links of the bridge, at a test's word.

Theory of operation. Each proxy has a thread with an event loop of its own. Every connection is a
link: the client's side, and a twin to the server. Bytes of one direction keep their order; each
piece has an instant before which it does not leave (`delay_s`, and the limits in bytes a second),
and reading pauses while too much waits. Swallowed bytes are gone for good and the sockets stay
open, as behind a router that forgot the connection; a link with such a hole is reset when the proxy
is healed, since its stream can never be whole again.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

import msgspec

from tests.support.processes import free_port

HOST: Final = "127.0.0.1"
WAITING_BYTES_MAX: Final = 1_048_576
"""What one direction of a link may hold before its sender feels it."""
CHUNK_BYTES: Final = 16_384
"""So that a narrow link gives its bytes evenly, and not in one lump."""
_ORDER_S: Final = 10.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

Answer = TypeVar("Answer")


class Levers(msgspec.Struct):
    """What is done to all links; may be changed at any time, from any thread."""

    delay_s: float = 0.0
    """Each byte arrives so much later, in both directions."""
    bytes_per_s: float | None = None
    """Of each direction of each link."""
    bytes_per_s_to_server: float | None = None
    """Of each link, towards the server alone: writing is slow, and reading is not."""
    swallows_to_server: bool = False
    swallows_to_client: bool = False
    linger_s: float = 0.0
    """The end of one side is told to the other so much later."""

    def rate_per_s(self, *, is_to_server: bool) -> float | None:
        """Return the bytes a second of one direction; None where nothing limits it."""
        rates = [self.bytes_per_s, self.bytes_per_s_to_server if is_to_server else None]
        return min((rate for rate in rates if rate is not None), default=None)


class Filter(Protocol):
    """Sees every byte of one link and may change it; it must keep the stream whole."""

    def to_server(self, data: bytes) -> bytes:
        """Return what goes on to the server."""

    def to_client(self, data: bytes) -> bytes:
        """Return what goes on to the client."""


class TcpProxy:
    """One loopback port that leads to one server; `port` stays the same through `refuse`."""

    def __init__(
        self,
        upstream: tuple[str, int],
        *,
        levers: Levers | None = None,
        make_filter: Callable[[], Filter] | None = None,
    ) -> None:
        self.port = free_port()
        self.levers = levers or Levers()
        self.accepted = 0
        """Connections taken so far."""
        self.bytes_to_server = 0
        self.bytes_to_client = 0
        self._upstream = upstream
        self._make_filter = make_filter
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    @property
    def address(self) -> str:
        """Return `host:port`."""
        return f"{HOST}:{self.port}"

    @property
    def open_links(self) -> int:
        """Count the connections of clients that are open."""
        return len(self._links)

    def start(self) -> "TcpProxy":
        """Listen; returns itself."""
        self._thread.start()
        self.accept()
        return self

    def close(self) -> None:
        """Reset every link and end the thread."""
        if not self._thread.is_alive():
            return
        self.refuse()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ORDER_S)
        self._loop.close()

    # ------------------------------------------------------------------ levers

    def refuse(self) -> None:
        """Take no new connections: connecting is refused. Open links stay."""
        self._order(self._stop_listening())

    def accept(self) -> None:
        """Take connections again, on the same port."""
        self._order(self._listen())

    def cut(self) -> int:
        """Reset every link, both sides; return how many there were."""
        return self._order(self._cut(is_holed_only=False))

    def swallow(self) -> None:
        """Lose every byte and every end from now on, silently, in both directions."""
        self.levers.swallows_to_server = self.levers.swallows_to_client = True

    def heal(self) -> None:
        """Undo every lever; reset the links that lost bytes, and listen."""
        self.levers.delay_s = self.levers.linger_s = 0.0
        self.levers.bytes_per_s = self.levers.bytes_per_s_to_server = None
        self.levers.swallows_to_server = self.levers.swallows_to_client = False
        self._order(self._cut(is_holed_only=True))
        self.accept()

    # ------------------------------------------------------------------ on the proxy's own thread

    def _order(self, order: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(order, self._loop).result(_ORDER_S)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await self._loop.create_server(
                self._make_link, HOST, self.port, reuse_address=True
            )

    async def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def _cut(self, *, is_holed_only: bool) -> int:
        links = [each for each in self._links if each.has_hole or not is_holed_only]
        for link in links:
            link.reset()
        return len(links)

    def _make_link(self) -> "_Side":
        made = None if self._make_filter is None else self._make_filter()
        link = _Link(self, made)
        self.accepted += 1
        self._links.add(link)
        self._loop.create_task(self._connect(link))
        return link.client

    async def _connect(self, link: "_Link") -> None:
        try:
            await self._loop.create_connection(lambda: link.server, *self._upstream)
        except OSError:
            link.reset()

    def forget(self, link: "_Link") -> None:
        """Let a link go whose two sides are closed."""
        self._links.discard(link)


class _Side(asyncio.Protocol):
    """One of the two sockets of a link, and what waits to be written to it."""

    def __init__(self, link: "_Link", *, is_server: bool) -> None:
        self.link = link
        self.is_server = is_server
        self.transport: asyncio.Transport | None = None
        self.is_lost = False
        self.is_ending = False
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.waiting_bytes = 0
        self.free_at = 0.0
        """When what was sent last has left."""
        self.is_scheduled = False

    @property
    def other(self) -> "_Side":
        """Return the side across."""
        return self.link.client if self.is_server else self.link.server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Read only once there is somewhere to write."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self.link.is_reset:
            self.reset()
        elif not self.is_server:
            # Not at once: the transport of Python 3.11.2 begins to read after this call all the
            # same, and what came before there was somewhere to write would be lost.
            asyncio.get_running_loop().call_soon(self._wait_for_server)
        elif self.other.transport is not None:
            self.other.transport.resume_reading()

    def _wait_for_server(self) -> None:
        if self.transport is not None and self.other.transport is None:
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Carry them across."""
        self.link.carry(self, data)

    def pause_writing(self) -> None:
        """Let the sender feel that the receiver is slow."""
        if self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Let the sender go on."""
        if self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the other side, unless the network lost that too."""
        del exc
        self.is_lost = True
        self.link.on_lost(self)

    def push(self, data: bytes, now: float, levers: Levers) -> None:
        """Write at the instant that the levers allow, behind what came before."""
        bytes_per_s = levers.rate_per_s(is_to_server=self.is_server)
        if not (self.waiting or levers.delay_s or bytes_per_s):
            self._write(data)
            return
        for start in range(0, len(data), CHUNK_BYTES):
            chunk = data[start : start + CHUNK_BYTES]
            span_s = len(chunk) / bytes_per_s if bytes_per_s else 0.0
            self.free_at = max(self.free_at, now + levers.delay_s) + span_s
            self.waiting.append((self.free_at, chunk))
            self.waiting_bytes += len(chunk)
        if self.waiting_bytes > WAITING_BYTES_MAX:
            self.pause_writing()
        self._schedule()

    def end(self, after_s: float) -> None:
        """Close once everything is written, and so much later."""
        loop = asyncio.get_running_loop()
        loop.call_later(max(after_s, self.free_at - loop.time()), self._close)

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """Close so that the peer gets a reset."""
        if self.transport is None or self.is_lost:
            return
        opened = self.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.transport.abort()

    def _schedule(self) -> None:
        if self.waiting and not self.is_scheduled:
            self.is_scheduled = True
            asyncio.get_running_loop().call_at(self.waiting[0][0], self._release)

    def _release(self) -> None:
        self.is_scheduled = False
        now = asyncio.get_running_loop().time()
        while self.waiting and self.waiting[0][0] <= now:
            _, chunk = self.waiting.popleft()
            self.waiting_bytes -= len(chunk)
            self._write(chunk)
        if self.waiting_bytes <= WAITING_BYTES_MAX:
            self.resume_writing()
        self._schedule()

    def _write(self, data: bytes) -> None:
        if self.transport is not None and not self.is_lost:
            self.transport.write(data)


class _Link:
    """One connection of a client, and its twin."""

    def __init__(self, proxy: TcpProxy, stream_filter: Filter | None) -> None:
        self.proxy = proxy
        self.client = _Side(self, is_server=False)
        self.server = _Side(self, is_server=True)
        self.has_hole = False
        self.is_reset = False
        self._filter = stream_filter

    def carry(self, side: _Side, data: bytes) -> None:
        """Take what one side sent across, through filter and levers."""
        levers = self.proxy.levers
        if self._filter is not None:
            data = self._filter.to_client(data) if side.is_server else self._filter.to_server(data)
        if self._is_swallowed(side):
            self.has_hole = self.has_hole or bool(data)
            return
        if self.has_hole or not data:
            return
        if side.is_server:
            self.proxy.bytes_to_client += len(data)
        else:
            self.proxy.bytes_to_server += len(data)
        side.other.push(data, asyncio.get_running_loop().time(), levers)

    def _is_swallowed(self, side: _Side) -> bool:
        levers = self.proxy.levers
        return levers.swallows_to_client if side.is_server else levers.swallows_to_server

    def on_lost(self, side: _Side) -> None:
        """Pass the end of one side on, late or never, as the levers say."""
        if side.other.is_lost or side.other.transport is None:
            self.proxy.forget(self)
            side.other.reset()
            return
        if self._is_swallowed(side):
            self.has_hole = True
        elif not self.is_reset:
            side.other.end(self.proxy.levers.linger_s)

    def reset(self) -> None:
        """Reset both sides."""
        self.is_reset = True
        self.client.reset()
        self.server.reset()
