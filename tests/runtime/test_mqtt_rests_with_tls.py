"""Rests with TLS, on real sockets and both event loops: what the kernel and uvloop make of them."""

import asyncio
import queue
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from ssl import PROTOCOL_TLS_SERVER, SSLContext, create_default_context
from types import SimpleNamespace
from typing import cast

import pytest

from bridge.mqtt.events import Disconnected, Event, Received
from bridge.mqtt.rhythm import FULL_BYTES
from bridge.mqtt.session import Session
from bridge.runtime.dialling import dial
from bridge.runtime.event_loop import ASYNCIO, UVLOOP, VARIABLE, choose_loop
from bridge.runtime.mqtt_transport import MqttLink, MqttProtocol
from tests.mqtt.given import connack, publish, settings, suback
from tests.support.certificates import Certificates, make_certificates

_SHUTTING_DOWN = 0x8B
_LONG_S = 30.0
_ENOUGH = 5_000


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), "--devices", "1")


class _Broker:
    """A TLS server for one connection: it sends what it is told to, and closes when it is told."""

    def __init__(self, certificates: Certificates) -> None:
        self._context = SSLContext(PROTOCOL_TLS_SERVER)
        ours = certificates.server
        self._context.load_cert_chain(ours.cert_file, ours.key_file)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._words: queue.Queue[bytes] = queue.Queue()
        self._listener.settimeout(_LONG_S)
        self._thread = threading.Thread(target=self._serve, name="broker", daemon=True)
        self._thread.start()

    def say(self, data: bytes) -> None:
        """Send it; nothing is the last word."""
        self._words.put(data)

    def end(self) -> None:
        self.say(b"")
        self._thread.join(_LONG_S)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        with (
            self._listener,
            suppress(OSError),  # The tests end the connection as they like.
            self._listener.accept()[0] as plain,
            self._context.wrap_socket(plain, server_side=True) as peer,
        ):
            peer.settimeout(_LONG_S)
            peer.recv(FULL_BYTES)  # CONNECT; left unread it would make a reset of the close.
            while words := self._words.get(timeout=_LONG_S):
                peer.sendall(words)


@pytest.fixture
def broker(certificates: Certificates) -> Iterator[_Broker]:
    started = _Broker(certificates)
    yield started
    started.end()


class _Client:
    """Our side: a connection to that broker, and what came of it."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.received = 0
        self.events: list[Event] = []
        self.turn = 0
        self.turns: list[int] = []
        """In which turn of the loop each large read came."""
        self.is_over = asyncio.Event()
        self.protocol: MqttProtocol | None = None
        self.transport: asyncio.Transport | None = None
        self.on_read: Callable[[], None] = lambda: None
        link = SimpleNamespace(
            session=Session(settings()),
            loop=self.loop,
            observer=SimpleNamespace(on_received=self._take, on_event=self.events.append),
            is_stopping=False,
            protocol=None,
            monotonic_s=self.loop.time,
        )
        client = self

        class Watched(MqttProtocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                client.transport = cast("asyncio.Transport", transport)
                super().connection_made(transport)

            def data_received(self, data: bytes) -> None:
                if len(data) >= FULL_BYTES:
                    client.turns.append(client.turn)
                super().data_received(data)
                client.on_read()

            def connection_lost(self, exc: Exception | None) -> None:
                super().connection_lost(exc)
                client.is_over.set()

        self._options: socket.socket | None = None
        self._link = link
        self._kind = Watched

    def _take(self, event: Received) -> None:
        self.received += len(event.packets)
        for receipt in event.receipts:
            if receipt is not None:
                receipt.settle()

    def _make(self) -> MqttProtocol:
        self.protocol = self._kind(cast("MqttLink", self._link), password=None)
        return self.protocol

    async def connect(self, broker: _Broker, ca_file: Path) -> None:
        context = create_default_context(cafile=ca_file)
        await dial(
            self._make,
            "127.0.0.1",
            broker.port,
            context=context,
            server_name="localhost",
            timeout_s=_LONG_S,
        )

    def options(self) -> socket.socket:
        """Return the transport's socket, also after it was closed."""
        if self._options is None:
            assert self.transport is not None
            self._options = cast("socket.socket", self.transport.get_extra_info("socket"))
        return self._options

    def low_water_mark(self) -> int:
        return self.options().getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)

    def count_turns(self) -> None:
        self.turn += 1
        if not self.is_over.is_set():
            self.loop.call_soon(self.count_turns)


def run(name: str, what: Callable[[], Coroutine[None, None, _Client]]) -> _Client:
    with asyncio.Runner(loop_factory=choose_loop({VARIABLE: name})) as runner:
        return runner.run(what())


@pytest.mark.parametrize("name", [ASYNCIO, UVLOOP])
def test_others_have_their_turn_while_a_backlog_is_read(
    name: str, broker: _Broker, certificates: Certificates
) -> None:
    packets = 4_000
    broker.say(connack() + suback(1) + publish(None, b"x" * 4_096) * packets)

    async def read_all() -> _Client:
        client = _Client()

        def leave() -> None:
            if client.received == packets and client.transport is not None:
                client.transport.abort()

        client.on_read = leave
        await client.connect(broker, certificates.ca_file)
        client.count_turns()
        await client.is_over.wait()
        return client

    client = run(name, read_all)

    assert packets == client.received
    assert len(client.turns) > 16, "the reads were small"
    assert len(client.turns) == len(set(client.turns)), "two large reads in one turn of the loop"


def test_the_last_words_that_come_in_a_rest_are_heard(
    broker: _Broker, certificates: Certificates
) -> None:
    broker.say(connack() + suback(1))

    async def listen_until_the_end() -> _Client:
        client = _Client()

        def answer() -> None:
            if client.low_water_mark() == FULL_BYTES:
                broker.say(publish(None) + bytes((0xE0, 1, _SHUTTING_DOWN)))
                broker.say(b"")
            elif client.received < _ENOUGH:
                broker.say(publish(None) * 5)
            elif client.transport is not None:
                client.transport.abort()

        client.on_read = answer
        await client.connect(broker, certificates.ca_file)
        await client.is_over.wait()
        return client

    client = run(UVLOOP, listen_until_the_end)

    assert [_SHUTTING_DOWN] == [
        each.reason_code for each in client.events if isinstance(each, Disconnected)
    ]


def test_a_bound_may_be_reached_when_the_socket_was_closed_in_a_rest(
    broker: _Broker, certificates: Certificates
) -> None:
    broker.say(connack() + suback(1))

    async def close_in_a_rest() -> _Client:
        client = _Client()
        is_tried = asyncio.Event()

        def reach_a_bound() -> None:
            assert client.protocol is not None
            if client.options().fileno() != -1:
                client.loop.call_soon(reach_a_bound)
                return
            assert not client.is_over.is_set(), "our protocol knows already"
            client.protocol.pause_reading()
            is_tried.set()

        def answer() -> None:
            assert client.transport is not None
            if client.low_water_mark() == FULL_BYTES:
                client.transport.abort()
                client.loop.call_soon(reach_a_bound)
            elif client.received < _ENOUGH:
                broker.say(publish(None) * 5)

        client.on_read = answer
        await client.connect(broker, certificates.ca_file)
        async with asyncio.timeout(_LONG_S):
            await is_tried.wait()
            await client.is_over.wait()
        return client

    run(UVLOOP, close_in_a_rest)
