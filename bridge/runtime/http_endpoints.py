"""Health, metrics and status over HTTP, in the same loop, bounded against whoever connects.

How a connection lives and ends is told in `http_connections`, what a request may look like in
`http_exchange`; here is what is answered to it.

`/status`, `/status/devices` and the page at `/` tell more than a probe needs, so a `Guard` judges
who may read them. No answer allows another origin to read it (there is no CORS), and the page may
load nothing and speak to nobody but this port.
"""

import asyncio
import errno
import os
import re
from collections.abc import Callable
from typing import Any, Final, Generic, TypeAlias, TypeVar

import msgspec

from bridge.config.addresses import host_and_port
from bridge.errors import ConfigError
from bridge.observe.fleet_facts import Sort
from bridge.observe.log import EventLog, raised_at
from bridge.observe.metrics import CONTENT_TYPE as METRICS_CONTENT_TYPE
from bridge.observe.page import Page, load_page
from bridge.runtime import clock
from bridge.runtime.http_connections import Connections
from bridge.runtime.http_exchange import TEXT, Answer, Request
from bridge.runtime.ops_guard import Guard

CONNECTIONS_MAX = 64
CONNECTION_MAX_S = 10.0
"""Prometheus gives up after 10 s by default, systemd and Kubernetes probes long before."""

MADE_A_SECOND_MAX: Final = 40
"""Answers of 4 ms each: at most a sixth of the loop."""
MADE_AT_ONCE_MAX: Final = 8
"""After a quiet moment: 32 ms of the loop, where a page and a scrape come together."""
DEVICES_SHOWN = 20
DEVICES_SHOWN_MAX = 256
_IS_COUNT = re.compile(r"[0-9]{1,4}").fullmatch

_PATHS = ("/health/live", "/health/ready", "/metrics")
_METHODS = ("GET", "HEAD")
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
        self._connections = Connections(
            self._answer, connections_max=connections_max, connection_max_s=connection_max_s
        )
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
        try:
            self._listener = await asyncio.get_running_loop().create_server(
                self._connections.make, host, port
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
        await self._connections.close()

    def _answer(self, request: Request) -> Answer:
        try:
            return self._respond(request)
        except Exception as error:  # noqa: BLE001 - our bug, reported; the bridge forwards on
            self._log.emit(
                "ops_request_failed", path=request.path, error=repr(error), where=raised_at(error)
            )
            return _text(500, "internal error")

    def _respond(self, request: Request) -> Answer:  # noqa: PLR0911 - one for each path
        paths = (
            *_PATHS,
            *(("/status", "/") if self._status is not None else ()),
            *(("/status/devices",) if self._devices is not None else ()),
        )
        if request.path not in paths:
            return _text(404, f"not found; there are {', '.join(paths[:-1])} and {paths[-1]}")
        if request.method not in _METHODS:
            return _text(405, "only GET and HEAD are allowed here", ("Allow", ", ".join(_METHODS)))
        match request.path:
            case "/health/live":
                return _health(*self._liveness())
            case "/health/ready":
                return _health(*self._readiness())
            case "/metrics":
                return Answer(200, self._metrics(), METRICS_CONTENT_TYPE)
        refused = self._refuse(request)
        if refused is not None:
            return refused
        if request.path == "/":
            assert self._page is not None, "without a status there is no such path"
            policy = ("Content-Security-Policy", self._page.policy)
            return Answer(200, self._page.body, "text/html; charset=utf-8", (policy,))
        if request.path == "/status":
            assert self._status is not None, "the same"
            return _json(200, self._status())
        assert self._devices is not None, "the same"
        return _respond_with_devices(request, self._devices)

    def _refuse(self, request: Request) -> Answer | None:
        assert self._listener is not None, "ops endpoints are not started"
        hosts = [each.getsockname()[0] for each in self._listener.sockets]
        refusal = self._guard.refusal(request, hosts)
        if refusal is None:
            return None
        challenges = [("WWW-Authenticate", each) for each in refusal.challenges]
        return _text(refusal.status, refusal.text, *challenges)

    def _explain(self, error: OSError) -> str:
        number = error.errno or 0
        reason = os.strerror(number).lower() if number in errno.errorcode else str(error)
        remedy = _REMEDIES.get(number, "choose another address")
        return f'ops.listen "{self._listen}": cannot listen: {reason}; {remedy}'


def _respond_with_devices(
    request: Request, devices: Callable[[Sort, int], dict[str, Any]]
) -> Answer:
    asked, sorts = request.parameter("sort", Sort.RATE), [str(each) for each in Sort]
    count = request.parameter("count", str(DEVICES_SHOWN))
    if asked not in sorts:
        return _text(400, f"sort is one of {', '.join(sorts)}")
    if not _IS_COUNT(count) or not 1 <= int(count) <= DEVICES_SHOWN_MAX:
        return _text(400, f"count is a whole number from 1 to {DEVICES_SHOWN_MAX}")
    return _json(200, devices(Sort(asked), int(count)))


def _health(is_ok: bool, body: dict[str, Any]) -> Answer:  # noqa: FBT001 - as probes return
    return _json(200 if is_ok else 503, body)


def _json(status: int, tree: dict[str, Any]) -> Answer:
    return Answer(status, msgspec.json.encode(tree), "application/json")


def _text(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    return Answer(status, f"{text}\n".encode(), TEXT, headers)
