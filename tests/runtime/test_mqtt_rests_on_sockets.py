"""Rests on real sockets, with TLS and without, on both loops: what kernel and loop make of them."""

import asyncio
import queue
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from ssl import PROTOCOL_TLS_SERVER, SSLContext, SSLError, TLSVersion, create_default_context
from types import SimpleNamespace
from typing import Any, cast

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
_REST_S = 0.005
_ENOUGH = 5_000
_LAST_WORDS = publish(None) + bytes((0xE0, 1, _SHUTTING_DOWN))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"), "--devices", "1")


class _Broker:
    """A server for one connection: it sends what it is told to, and closes when it is told.

    With certificates it has TLS. A hasty one does not wait for CONNECT: its first words come in one
    segment with the end of the handshake, which in TLS 1.2 is the server's.
    """

    def __init__(self, certificates: Certificates | None, *, is_hasty: bool = False) -> None:
        self._is_hasty = is_hasty
        self.ca_file = None if certificates is None else certificates.ca_file
        self._context: SSLContext | None = None
        if certificates is not None:
            ours = certificates.server
            self._context = SSLContext(PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(ours.cert_file, ours.key_file)
            if is_hasty:
                self._context.maximum_version = TLSVersion.TLSv1_2
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
            self._accept() as peer,
        ):
            peer.settimeout(_LONG_S)
            if not self._is_hasty:
                peer.recv(FULL_BYTES)  # CONNECT; left unread it would make a reset of the close.
            while words := self._words.get(timeout=_LONG_S):
                peer.sendall(words)
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
            if self._is_hasty:
                peer.recv(FULL_BYTES)

    def _accept(self) -> socket.socket:
        plain = self._listener.accept()[0]
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, int(self._is_hasty))
        if self._context is None:
            return plain
        with plain:  # wrap_socket takes the descriptor over.
            return self._context.wrap_socket(plain, server_side=True)


@pytest.fixture(params=["plain", "TLS"])
def broker(request: pytest.FixtureRequest, certificates: Certificates) -> Iterator[_Broker]:
    started = _Broker(certificates if request.param == "TLS" else None)
    yield started
    started.end()


class _Client:
    """Our side: a connection to that broker, and what came of it."""

    def __init__(self, *, rest_s: float = _REST_S) -> None:
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
            rest_s=rest_s,
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

    async def connect(self, broker: _Broker) -> None:
        has_tls = broker.ca_file is not None
        await dial(
            self._make,
            "127.0.0.1",
            broker.port,
            context=create_default_context(cafile=broker.ca_file) if has_tls else None,
            server_name="localhost" if has_tls else None,
            timeout_s=_LONG_S,
        )

    @property
    def is_reading(self) -> bool:
        return self.transport is not None and self.transport.is_reading()

    @property
    def reasons(self) -> list[int]:
        """With what reasons the broker ended the connection."""
        return [each.reason_code for each in self.events if isinstance(each, Disconnected)]

    def count_turns(self) -> None:
        self.turn += 1
        if not self.is_over.is_set():
            self.loop.call_soon(self.count_turns)


def run(name: str, what: Callable[[], Coroutine[None, None, _Client]]) -> _Client:
    with asyncio.Runner(loop_factory=choose_loop({VARIABLE: name})) as runner:
        return runner.run(what())


@pytest.mark.parametrize("name", [ASYNCIO, UVLOOP])
def test_others_have_their_turn_while_a_backlog_is_read(name: str, broker: _Broker) -> None:
    packets = 4_000
    broker.say(connack() + suback(1) + publish(None, b"x" * 4_096) * packets)

    async def read_all() -> _Client:
        client = _Client()

        def leave() -> None:
            if client.received == packets and client.transport is not None:
                client.transport.abort()

        client.on_read = leave
        await client.connect(broker)
        client.count_turns()
        await client.is_over.wait()
        return client

    client = run(name, read_all)

    assert packets == client.received
    assert len(client.turns) > 16, "the reads were small"
    assert len(client.turns) == len(set(client.turns)), "two large reads in one turn of the loop"


async def trickle(broker: _Broker, *, rest_s: float) -> _Client:
    """Read a few PUBLISHes at a time; the broker says its last words in the first rest."""
    client = _Client(rest_s=rest_s)

    def answer() -> None:
        if not client.is_reading:
            broker.say(_LAST_WORDS)
            broker.say(b"")
        elif client.received < _ENOUGH:
            broker.say(publish(None) * 5)
        elif client.transport is not None:
            client.transport.abort()

    client.on_read = answer
    broker.say(connack() + suback(1))
    await client.connect(broker)
    await client.is_over.wait()
    return client


@pytest.mark.parametrize("name", [ASYNCIO, UVLOOP])
def test_the_last_words_that_come_in_a_rest_are_heard(name: str, broker: _Broker) -> None:
    client = run(name, lambda: trickle(broker, rest_s=_REST_S))

    assert [_SHUTTING_DOWN] == client.reasons


@pytest.mark.parametrize("name", [ASYNCIO, UVLOOP])
def test_the_socket_is_read_at_once_where_no_rest_is_wanted(name: str, broker: _Broker) -> None:
    client = run(name, lambda: trickle(broker, rest_s=0.0))

    assert [] == client.reasons
    assert _ENOUGH == client.received


@pytest.mark.parametrize("name", [ASYNCIO, UVLOOP])
def test_the_last_words_that_come_while_a_bound_is_reached_are_heard(
    name: str, broker: _Broker
) -> None:
    broker.say(connack() + suback(1) + publish(None))

    async def listen_until_the_end() -> _Client:
        client = _Client()

        def reach_a_bound() -> None:
            if client.received == 1 and client.protocol is not None:
                client.protocol.pause_reading()
                has_paused.set()

        has_paused = asyncio.Event()
        client.on_read = reach_a_bound
        await client.connect(broker)
        await has_paused.wait()
        broker.say(_LAST_WORDS)
        await asyncio.to_thread(broker.end)
        assert client.protocol is not None
        client.protocol.resume_reading()
        await client.is_over.wait()
        return client

    client = run(name, listen_until_the_end)

    assert [_SHUTTING_DOWN] == client.reasons
    assert 2 == client.received


@pytest.mark.parametrize("name", [ASYNCIO, UVLOOP])
def test_what_comes_right_behind_the_handshake_is_not_lost(
    name: str, certificates: Certificates
) -> None:
    broker = _Broker(certificates, is_hasty=True)
    broker.say(connack() + suback(1) + _LAST_WORDS)
    broker.say(b"")

    async def listen_until_the_end() -> _Client:
        client = _Client()
        await client.connect(broker)
        await client.is_over.wait()
        return client

    client = run(name, listen_until_the_end)
    broker.end()

    assert [_SHUTTING_DOWN] == client.reasons
    assert 1 == client.received


@pytest.mark.parametrize("first_words", [b"SSH-2.0-OpenSSH_9.2\r\n", b""])
@pytest.mark.parametrize("name", [ASYNCIO, UVLOOP])
def test_a_peer_that_has_no_tls_is_refused_at_once(
    name: str, first_words: bytes, certificates: Certificates
) -> None:
    context = create_default_context(cafile=certificates.ca_file)
    served: asyncio.Queue[bytes] = asyncio.Queue()

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(first_words)
        with suppress(OSError):
            if first_words:
                await reader.read()
            writer.close()
            await writer.wait_closed()
        served.put_nowait(first_words)

    async def meet() -> list[Exception]:
        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        errors: list[Exception] = []
        async with server:
            for _ in range(20):  # When the first words come is up to the kernel.
                try:
                    await dial(
                        asyncio.Protocol,
                        "127.0.0.1",
                        port,
                        context=context,
                        server_name="localhost",
                        timeout_s=_LONG_S,
                    )
                except OSError as error:
                    errors.append(error)
            for _ in errors:
                await served.get()
        return errors

    with asyncio.Runner(loop_factory=choose_loop({VARIABLE: name})) as runner:
        errors = runner.run(meet())

    assert 20 == len(errors)
    assert not any(isinstance(each, TimeoutError) for each in errors)
    if first_words:
        assert {SSLError} == {type(each) for each in errors}


class _LosesAtOnce(asyncio.SelectorEventLoop):
    """A loop on which a connection is gone before its protocol is there."""

    async def start_tls(
        self, transport: Any, protocol: Any, sslcontext: Any, **named: Any
    ) -> asyncio.Transport | None:
        secured = await super().start_tls(transport, protocol, sslcontext, **named)
        assert secured is not None
        secured.abort()
        for _ in range(4):  # One turn for each layer that passes it on.
            await asyncio.sleep(0)
        assert protocol.is_lost
        return secured


def test_a_connection_that_is_lost_before_its_protocol_is_there_is_over(
    certificates: Certificates,
) -> None:
    broker = _Broker(certificates)

    async def connect_in_vain() -> _Client:
        client = _Client()
        await client.connect(broker)
        assert client.is_over.is_set()
        return client

    with asyncio.Runner(loop_factory=_LosesAtOnce) as runner:
        client = runner.run(connect_in_vain())
    broker.end()

    assert 0 == client.received
