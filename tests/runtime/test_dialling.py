"""Names with several addresses, some of which are of no use, on either kind of event loop."""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import pytest

from bridge.runtime.dialling import dial
from bridge.runtime.event_loop import VARIABLE, choose_loop

_NAME = "broker"
_UNSUPPORTED = socket.AF_APPLETALK
"""A family that this kernel has no sockets of; as IPv6 is where it is turned off."""


class _Protocol(asyncio.Protocol):
    def __init__(self) -> None:
        self.peer: object = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.peer = transport.get_extra_info("peername")
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost.set()


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=choose_loop({VARIABLE: request.param})) as runner:
        yield runner


@pytest.fixture
def port() -> Iterator[int]:
    """Listen at 127.0.0.1, and nowhere else."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def _dial(
    runner: asyncio.Runner,
    monkeypatch: pytest.MonkeyPatch,
    addresses: Sequence[tuple[int, str]],
    port: int,
) -> _Protocol:
    """Dial a name that has these addresses."""
    protocol = _Protocol()

    resolve_rightly = runner.get_loop().getaddrinfo

    async def resolve(host: str, port: int, **words: int) -> Sequence[object]:
        if host != _NAME:  # uvloop resolves addresses once more.
            return await resolve_rightly(host, port, **words)
        return [(family, socket.SOCK_STREAM, 0, "", (host, port)) for family, host in addresses]

    async def connect() -> None:
        await dial(lambda: protocol, _NAME, port, context=None, server_name=None, timeout_s=5.0)
        await protocol.lost.wait()

    monkeypatch.setattr(runner.get_loop(), "getaddrinfo", resolve)
    runner.run(connect())
    return protocol


@pytest.mark.parametrize(
    "useless", [(socket.AF_INET, "127.0.0.2"), (_UNSUPPORTED, "127.0.0.1")], ids=str
)
def test_an_address_that_is_of_no_use_does_not_hide_the_next(
    runner: asyncio.Runner,
    monkeypatch: pytest.MonkeyPatch,
    port: int,
    useless: tuple[int, str],
) -> None:
    connected = _dial(runner, monkeypatch, [useless, (socket.AF_INET, "127.0.0.1")], port)

    assert ("127.0.0.1", port) == connected.peer


def test_a_silent_address_does_not_hold_up_the_next(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    with ExitStack() as cleanup:
        silent = cleanup.enter_context(socket.create_server(("127.0.0.3", port), backlog=0))
        for _ in range(4):  # Nobody accepts: what is beyond the backlog gets no answer.
            waiting = cleanup.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(silent.getsockname())

        addresses = [(socket.AF_INET, "127.0.0.3"), (socket.AF_INET, "127.0.0.1")]
        connected = _dial(runner, monkeypatch, addresses, port)

    assert ("127.0.0.1", port) == connected.peer


def test_where_nobody_listens_each_address_says_why(
    runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    addresses = [(socket.AF_INET, "127.0.0.2"), (_UNSUPPORTED, "127.0.0.1")]

    with pytest.raises(OSError, match=r"\[Errno 111\].*\[Errno 97\]"):
        _dial(runner, monkeypatch, addresses, port)
