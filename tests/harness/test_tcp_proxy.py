"""The proxy does to a connection what its levers say, and nothing else."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.eventually import eventually
from tests.support.tcp_proxy import TcpProxy

TIMEOUT_S = 10.0


class Echo:
    """A server that sends back whatever comes, and counts the connections that are open."""

    def __init__(self) -> None:
        self.open = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.open += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65_536):
                    connection.sendall(data)
            except OSError:
                pass
        self.open -= 1

    def close(self) -> None:
        with contextlib.suppress(OSError):  # Closed already.
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[TcpProxy]:
    made = TcpProxy(("127.0.0.1", echo.port)).start()
    yield made
    made.close()


@pytest.fixture
def client(proxy: TcpProxy) -> Iterator[socket.socket]:
    with connect(proxy) as connected:
        yield connected


def connect(proxy: TcpProxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=TIMEOUT_S)


def receive(client: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count and (data := client.recv(count - len(received))):
        received += data
    return received


def test_untouched_every_byte_comes_back_in_order(client: socket.socket, proxy: TcpProxy) -> None:
    sent = bytes(range(256)) * 40_000
    threading.Thread(target=client.sendall, args=(sent,)).start()

    assert sent == receive(client, len(sent))
    assert (len(sent), len(sent)) == (proxy.bytes_to_server, proxy.bytes_to_client)


def test_a_cut_resets_both_sides_and_lets_the_next_connection_pass(
    client: socket.socket, proxy: TcpProxy, echo: Echo
) -> None:
    client.sendall(b"before")
    receive(client, 6)

    assert 1 == proxy.cut()

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    eventually(lambda: (echo.open, proxy.open_links), lambda seen: seen == (0, 0), what="all gone")
    with connect(proxy) as again:
        again.sendall(b"after")
        assert b"after" == receive(again, 5)


def test_latency_holds_each_byte_back_and_keeps_the_order(
    client: socket.socket, proxy: TcpProxy
) -> None:
    proxy.levers.delay_s = 0.2
    began_s = time.monotonic()

    for number in range(10):
        client.sendall(b"%d" % number)

    assert b"0123456789" == receive(client, 10)
    assert time.monotonic() - began_s >= 0.4, "there and back"


def test_a_limit_holds_the_rate_down_and_loses_nothing(
    client: socket.socket, proxy: TcpProxy
) -> None:
    proxy.levers.bytes_per_s = 400_000.0
    sent = bytes(200_000)
    began_s = time.monotonic()

    threading.Thread(target=client.sendall, args=(sent,)).start()

    assert sent == receive(client, len(sent))
    assert time.monotonic() - began_s >= 0.5


def test_a_limit_towards_the_server_holds_nothing_back_that_comes_from_it(
    client: socket.socket, proxy: TcpProxy
) -> None:
    # The echo comes back at its own pace, so what is held down is the way there, once.
    proxy.levers.bytes_per_s_to_server = 400_000.0
    proxy.levers.bytes_per_s = 4_000_000.0
    assert 400_000.0 == proxy.levers.rate_per_s(is_to_server=True)
    assert 4_000_000.0 == proxy.levers.rate_per_s(is_to_server=False)
    sent = bytes(range(256)) * 800
    began_s = time.monotonic()

    threading.Thread(target=client.sendall, args=(sent,)).start()

    assert sent == receive(client, len(sent))
    assert time.monotonic() - began_s >= 0.5


def test_what_healing_finds_slow_goes_on_and_all_that_follows_is_fast(
    client: socket.socket, proxy: TcpProxy
) -> None:
    proxy.levers.bytes_per_s_to_server = 400_000.0
    client.sendall(b"slow")
    assert b"slow" == receive(client, 4)

    proxy.heal()

    assert proxy.levers.rate_per_s(is_to_server=True) is None
    sent = bytes(200_000)
    threading.Thread(target=client.sendall, args=(sent,)).start()
    assert sent == receive(client, len(sent))


def test_a_swallowed_link_stays_open_and_silent_and_is_reset_once_healed(
    client: socket.socket, proxy: TcpProxy, echo: Echo
) -> None:
    client.sendall(b"before")
    receive(client, 6)

    proxy.swallow()
    client.sendall(b"lost")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)
    assert 1 == echo.open
    proxy.heal()

    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_the_end_of_a_client_behind_a_swallowed_link_is_not_told(
    client: socket.socket, proxy: TcpProxy, echo: Echo
) -> None:
    client.sendall(b"before")
    receive(client, 6)

    proxy.swallow()
    client.close()
    with connect(proxy) as other:
        other.sendall(b"lost as well")
        eventually(lambda: echo.open, lambda count: count == 2, what="both are open")
    proxy.heal()

    eventually(lambda: echo.open, lambda count: count == 0, what="both are told")


def test_a_link_that_swallowed_nothing_goes_on_after_the_healing(
    client: socket.socket, proxy: TcpProxy
) -> None:
    client.sendall(b"before")
    receive(client, 6)

    proxy.swallow()
    proxy.heal()
    client.sendall(b"after")

    assert b"after" == receive(client, 5)


def test_a_slow_close_tells_the_server_late(
    client: socket.socket, proxy: TcpProxy, echo: Echo
) -> None:
    client.sendall(b"before")
    receive(client, 6)
    proxy.levers.linger_s = 0.5
    began_s = time.monotonic()

    client.close()
    eventually(lambda: echo.open, lambda count: count == 0, what="the server knows")

    assert time.monotonic() - began_s >= 0.5


def test_refusing_keeps_what_is_open_and_accepting_takes_the_same_port_again(
    client: socket.socket, proxy: TcpProxy
) -> None:
    client.sendall(b"before")
    receive(client, 6)
    proxy.refuse()

    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    client.sendall(b"open")
    assert b"open" == receive(client, 4)
    proxy.accept()

    with connect(proxy) as again:
        again.sendall(b"again")
        assert b"again" == receive(again, 5)


def test_a_server_that_is_not_there_is_a_reset(proxy: TcpProxy, echo: Echo) -> None:
    echo.close()

    # The reset may be there before connect has looked.
    with pytest.raises(ConnectionResetError), connect(proxy) as client:
        client.recv(1)
