"""Health, metrics and status over HTTP, in the same loop, bounded against whoever connects.

Theory of operation. One connection carries one request and has one deadline for everything: the
request line that comes byte by byte, the body nobody asked for, the answer nobody reads. So no
idle connection is ever kept, and no second timer is needed. When all places are taken the oldest
connection goes: honest clients are done in milliseconds, so a flood cannot lock a probe out.

`/status`, `/status/devices` and the page at `/` tell more than a probe needs, so a `Guard` judges
who may read them. No answer allows another origin to read it (there is no CORS), and the page may
load nothing and speak to nobody but this port.
"""

import asyncio
import errno
import logging
import os
import re
from collections.abc import Callable
from typing import Any, Final, Generic, TypeAlias, TypeVar, cast

import msgspec
from aiohttp import web

from bridge.config.addresses import host_and_port
from bridge.errors import ConfigError
from bridge.observe.fleet_facts import Sort
from bridge.observe.log import EventLog, raised_at
from bridge.observe.metrics import CONTENT_TYPE as METRICS_CONTENT_TYPE
from bridge.observe.page import Page, load_page
from bridge.runtime import clock
from bridge.runtime.ops_guard import Guard

CONNECTIONS_MAX = 64
CONNECTION_MAX_S = 10.0
"""Prometheus gives up after 10 s by default, systemd and Kubernetes probes long before."""
HEAD_BYTES_MAX = 16_384
"""All a client may send on a connection; a scrape's head is some 300 bytes."""
LINE_BYTES_MAX = 8_190

MADE_A_SECOND_MAX: Final = 40
"""Answers of 4 ms each: at most a sixth of the loop."""
MADE_AT_ONCE_MAX: Final = 8
"""After a quiet moment: 32 ms of the loop, where a page and a scrape come together."""
DEVICES_SHOWN = 20
DEVICES_SHOWN_MAX = 256
_IS_COUNT = re.compile(r"[0-9]{1,4}").fullmatch

_PATHS = ("/health/live", "/health/ready", "/metrics")
_METHODS = ("GET", "HEAD")
_STOP_S = 1.0
_HEADERS = {
    "Server": "mqtt-kafka-bridge",  # Without it aiohttp tells its version and Python's.
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}
_REMEDIES = {
    errno.EADDRINUSE: "stop the program that has the port, or choose another; 0 takes a free one",
    errno.EADDRNOTAVAIL: "choose an address of this host, such as 127.0.0.1",
    errno.EACCES: "choose a port above 1023",
}

Probe: TypeAlias = Callable[[], tuple[bool, dict[str, Any]]]


T = TypeVar("T")


class Spared(Generic[T]):
    """An answer that costs the loop milliseconds, made so often a second and no more.

    Whoever reaches the port may ask in masses: who asks more often is given the last answer, which
    is a fortieth of a second old at most.
    """

    def __init__(
        self, make: Callable[[], T], *, monotonic_now: Callable[[], float] = clock.monotonic_s
    ) -> None:
        self._make = make
        self._monotonic_now = monotonic_now
        self._left = float(MADE_AT_ONCE_MAX)
        self._counted_s = monotonic_now()
        self._last: T | None = None

    def __call__(self) -> T:
        """Give the answer of now, or the last one."""
        now = self._monotonic_now()
        due = (now - self._counted_s) * MADE_A_SECOND_MAX
        self._left, self._counted_s = min(MADE_AT_ONCE_MAX, self._left + due), now
        if self._last is None or self._left >= 1:
            self._left -= 1
            self._last = self._make()
        return self._last


class OpsEndpoints:
    """Answer health, metrics and, where it is given, status; ask for the facts at each request."""

    def __init__(  # noqa: PLR0913 - every argument is named, and the bounds have defaults
        self,
        *,
        listen: str,
        readiness: Probe,
        liveness: Probe,
        metrics: Callable[[], bytes],
        log: EventLog,
        guard: Guard,
        status: Callable[[], dict[str, Any]] | None = None,
        devices: Callable[[Sort, int], dict[str, Any]] | None = None,
        connections_max: int = CONNECTIONS_MAX,
        connection_max_s: float = CONNECTION_MAX_S,
    ) -> None:
        self._listen = listen
        self._readiness = readiness
        self._liveness = liveness
        self._metrics = Spared(metrics)
        self._status = None if status is None else Spared(status)
        self._devices = devices
        self._page: Page | None = None if status is None else load_page()
        self._guard = guard
        self._log = log
        self._connections_max = connections_max
        self._connection_max_s = connection_max_s
        self._connections: dict[_Connection, None] = {}  # In the order in which they came.
        self._server: web.Server | None = None
        self._listener: asyncio.Server | None = None

    @property
    def address(self) -> str:
        """Where it listens, with the real port where 0 was asked for."""
        assert self._listener is not None, "ops endpoints are not started"
        host, port = self._listener.sockets[0].getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: The address cannot be listened on; names it and the remedy.
        """
        try:
            host, port = host_and_port(self._listen, port_min=0)
        except ValueError as error:
            raise ConfigError([f'ops.listen "{self._listen}" {error}']) from error
        self._server = web.Server(self._answer, access_log=None)
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._open_connection, host, port
            )
        except OSError as error:
            raise ConfigError([self._explain(error)]) from error
        except UnicodeError as error:
            problem = f'ops.listen "{self._listen}" has a host that is no name'
            raise ConfigError([problem]) from error

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._server is not None:
            await self._server.shutdown(_STOP_S)
            self._server = None
        for connection in list(self._connections):
            connection.abort()

    def forget(self, connection: "_Connection") -> None:
        """Free the place of a connection that ended."""
        self._connections.pop(connection, None)

    def admit(self, connection: "_Connection") -> None:
        """Give a new connection its place, if need be that of the oldest."""
        if len(self._connections) >= self._connections_max:
            oldest = next(iter(self._connections))
            self.forget(oldest)
            oldest.abort()
        self._connections[connection] = None

    def _open_connection(self) -> "_Connection":
        assert self._server is not None, "ops endpoints are not started"
        return _Connection(self, self._server, self._connection_max_s)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            response = self._respond(request)
        except Exception as error:  # noqa: BLE001 - our bug, reported; the bridge forwards on
            self._log.emit(
                "ops_request_failed", path=request.path, error=repr(error), where=raised_at(error)
            )
            response = _text(500, "internal error")
        response.force_close()
        return response

    def _respond(  # noqa: PLR0911 - one for each path
        self, request: web.BaseRequest
    ) -> web.Response:
        paths = (
            *_PATHS,
            *(("/status", "/") if self._status is not None else ()),
            *(("/status/devices",) if self._devices is not None else ()),
        )
        if request.path not in paths:
            return _text(404, f"not found; there are {', '.join(paths[:-1])} and {paths[-1]}")
        if request.method not in _METHODS:
            response = _text(405, "only GET and HEAD are allowed here")
            response.headers["Allow"] = ", ".join(_METHODS)
            return response
        match request.path:
            case "/health/live":
                return _health(*self._liveness())
            case "/health/ready":
                return _health(*self._readiness())
            case "/metrics":
                return _response(200, self._metrics(), METRICS_CONTENT_TYPE)
        refused = self._refuse(request)
        if refused is not None:
            return refused
        if request.path == "/":
            assert self._page is not None, "without a status there is no such path"
            response = _response(200, self._page.body, "text/html; charset=utf-8")
            response.headers["Content-Security-Policy"] = self._page.policy
            return response
        if request.path == "/status":
            assert self._status is not None, "the same"
            return _json(200, self._status())
        assert self._devices is not None, "the same"
        return _respond_with_devices(request, self._devices)

    def _refuse(self, request: web.BaseRequest) -> web.Response | None:
        assert self._listener is not None, "ops endpoints are not started"
        hosts = [each.getsockname()[0] for each in self._listener.sockets]
        refusal = self._guard.refusal(request, hosts)
        if refusal is None:
            return None
        response = _text(refusal.status, refusal.text)
        for challenge in refusal.challenges:
            response.headers.add("WWW-Authenticate", challenge)
        return response

    def _explain(self, error: OSError) -> str:
        number = error.errno or 0
        reason = os.strerror(number).lower() if number in errno.errorcode else str(error)
        remedy = _REMEDIES.get(number, "choose another address")
        return f'ops.listen "{self._listen}": cannot listen: {reason}; {remedy}'


class _Connection(web.RequestHandler):
    """One accepted connection: its deadline and its bound, whatever the client does."""

    __slots__ = ("_aborted_transport", "_deadline", "_endpoints", "_received_bytes")

    def __init__(
        self,
        endpoints: OpsEndpoints,
        server: web.Server,
        connection_max_s: float,
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type]  # None turns it off; the type forgets it.
            logger=logging.getLogger(__name__),
            max_line_size=LINE_BYTES_MAX,
            max_field_size=LINE_BYTES_MAX,
            lingering_time=0.0,
            tcp_keepalive=False,
            auto_decompress=False,
        )
        self._endpoints = endpoints
        self._received_bytes = 0
        self._aborted_transport: asyncio.Transport | None = None
        self._deadline = loop.call_later(connection_max_s, self.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place."""
        self._aborted_transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass.
        self._endpoints.admit(self)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Free the place."""
        self._deadline.cancel()
        self._endpoints.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Let the parser have it, up to the bound."""
        self._received_bytes += len(data)
        if self._received_bytes <= HEAD_BYTES_MAX:
            super().data_received(data)
        else:
            self.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that cannot be parsed, and quote nothing of it."""
        del request, exc, message
        response = _text(status, "bad request")
        response.force_close()
        return response

    def abort(self) -> None:
        """Close at once, without waiting for what the client does not read."""
        if self._aborted_transport is not None:
            self._aborted_transport.abort()


def _respond_with_devices(
    request: web.BaseRequest, devices: Callable[[Sort, int], dict[str, Any]]
) -> web.Response:
    asked, sorts = request.query.get("sort", Sort.RATE), [str(each) for each in Sort]
    count = request.query.get("count", str(DEVICES_SHOWN))
    if asked not in sorts:
        return _text(400, f"sort is one of {', '.join(sorts)}")
    if not _IS_COUNT(count) or not 1 <= int(count) <= DEVICES_SHOWN_MAX:
        return _text(400, f"count is a whole number from 1 to {DEVICES_SHOWN_MAX}")
    return _json(200, devices(Sort(asked), int(count)))


def _health(is_ok: bool, body: dict[str, Any]) -> web.Response:  # noqa: FBT001 - as probes return
    return _json(200 if is_ok else 503, body)


def _json(status: int, tree: dict[str, Any]) -> web.Response:
    return _response(status, msgspec.json.encode(tree), "application/json")


def _text(status: int, text: str) -> web.Response:
    return _response(status, f"{text}\n".encode(), "text/plain; charset=utf-8")


def _response(status: int, body: bytes, content_type: str) -> web.Response:
    return web.Response(
        status=status, body=body, headers={**_HEADERS, "Content-Type": content_type}
    )
