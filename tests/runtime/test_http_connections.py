"""How a connection of the ops port ends, on both event loops and over real sockets."""

import asyncio
import socket
import struct
from collections.abc import Iterator

import pytest

from bridge.runtime.event_loop import VARIABLE, choose_loop
from bridge.runtime.http_connections import RECEIVED_BYTES_MAX, Connections
from bridge.runtime.http_exchange import Answer
from tests.runtime.ops_stand import Stand, read_to_end, running
from tests.support.eventually import eventually_async

LARGE = b"x" * 5_000_000
ASK = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
RESET = struct.pack("ii", 1, 0)
"""To close is to reset."""


@pytest.fixture(params=["asyncio", "uvloop"])
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    """Run on this loop; what it is told that somebody let escape is an error."""
    told: list[object] = []
    with asyncio.Runner(loop_factory=choose_loop({VARIABLE: request.param})) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: told.append(context))
        yield runner
    assert [] == told


async def none_left(stand: Stand) -> None:
    await eventually_async(lambda: stand.endpoints.connections == 0, what="no connection")


async def body_of(reader: asyncio.StreamReader) -> bytes:
    """Read to the end, which must be one: a reset is an error."""
    return (await reader.read()).partition(b"\r\n\r\n")[2]


def test_a_client_that_has_closed_its_sending_side_is_answered_in_full(
    runner: asyncio.Runner,
) -> None:
    async def work() -> bytes:
        async with running(Stand()) as stand:
            stand.exposition = LARGE
            reader, writer = await stand.connect()
            writer.write(ASK)
            writer.write_eof()
            body = await body_of(reader)
            await none_left(stand)
            writer.close()
            return body

    assert LARGE == runner.run(work())


@pytest.mark.parametrize("beginning", [b"", b"GET /met"])
def test_a_client_that_closes_before_its_request_is_complete_is_let_go(
    runner: asyncio.Runner, beginning: bytes
) -> None:
    async def work() -> bytes:
        async with running(Stand()) as stand:
            reader, writer = await stand.connect()
            writer.write(beginning)
            writer.write_eof()
            answer = await reader.read()
            await none_left(stand)
            writer.close()
            return answer

    assert b"" == runner.run(work())


@pytest.mark.parametrize("body", [b"Content-Length: 9000", b"Transfer-Encoding: chunked"])
def test_what_a_client_sends_behind_its_request_takes_no_answer_from_it(
    runner: asyncio.Runner, body: bytes
) -> None:
    async def work() -> tuple[bytes, bytes]:
        async with running(Stand()) as stand:
            reader, writer = await stand.connect()
            writer.write(b"POST /metrics HTTP/1.1\r\nHost: x\r\n" + body + b"\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            for _ in range(3):
                writer.write(b"x" * 3_000 + b"\r\n")
                await writer.drain()
            text = await reader.read()
            assert 1 == stand.endpoints.connections, "it is the client's turn to close"
            writer.close()
            await none_left(stand)
            return head, text

    head, text = runner.run(work())

    assert head.startswith(b"HTTP/1.1 405 ")
    assert b"only GET and HEAD are allowed here\n" == text


def test_a_client_that_was_answered_and_goes_on_sending_reaches_the_bound(
    runner: asyncio.Runner,
) -> None:
    async def work() -> None:
        async with running(Stand()) as stand:
            reader, writer = await stand.connect()
            writer.write(ASK)
            await read_to_end(reader)
            writer.write(b"x" * RECEIVED_BYTES_MAX)
            await none_left(stand)
            writer.close()

    runner.run(work())


def test_a_client_that_was_answered_and_does_not_close_reaches_the_deadline(
    runner: asyncio.Runner,
) -> None:
    async def work() -> None:
        async with running(Stand(connection_max_s=0.05)) as stand:
            reader, writer = await stand.connect()
            writer.write(ASK)
            await read_to_end(reader)
            await none_left(stand)
            writer.close()

    runner.run(work())


def test_those_that_were_answered_give_way_as_others_do(runner: asyncio.Runner) -> None:
    async def work() -> int:
        async with running(Stand(connections_max=3)) as stand:
            kept = [await stand.connect() for _ in range(3)]
            for reader, writer in kept:
                writer.write(ASK)
                await read_to_end(reader)
            status, _, _ = await stand.get("/health/live")
            for _, writer in kept:
                writer.close()
            return status

    assert 200 == runner.run(work())


@pytest.mark.parametrize("request_bytes", [ASK, b"\0", b"GET"], ids=["whole", "none", "part"])
def test_a_client_that_resets_right_behind_its_request_leaves_nothing(
    runner: asyncio.Runner, request_bytes: bytes
) -> None:
    async def work() -> int:
        async with running(Stand()) as stand:
            stand.exposition = LARGE
            host, _, port = stand.endpoints.address.rpartition(":")
            for turns in range(8):  # Before it is accepted, before it is read, after the answer.
                with socket.create_connection((host, int(port))) as client:
                    client.sendall(request_bytes)
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            status, _, _ = await stand.get("/health/live")
            await none_left(stand)
            return status

    assert 200 == runner.run(work())


def test_a_client_that_resets_in_the_middle_of_its_answer_leaves_nothing(
    runner: asyncio.Runner,
) -> None:
    async def work() -> int:
        async with running(Stand()) as stand:
            stand.exposition = LARGE
            reader, writer = await stand.connect()
            writer.write(ASK)
            await reader.readexactly(1)
            writer.transport.abort()
            await none_left(stand)
            return (await stand.get("/health/live"))[0]

    assert 200 == runner.run(work())


def test_a_stop_leaves_time_to_read_an_answer_that_is_under_way(runner: asyncio.Runner) -> None:
    async def work() -> bytes:
        async with running(Stand()) as stand:
            stand.exposition = LARGE
            reader, writer = await stand.connect()
            writer.write(ASK)
            await reader.readuntil(b"\r\n\r\n")
            _, body = await asyncio.gather(stand.endpoints.stop(), reader.read())
            writer.close()
            return body

    assert LARGE == runner.run(work())


def test_a_stop_waits_for_nobody_who_does_not_read(runner: asyncio.Runner) -> None:
    async def work() -> bytes:
        stand = Stand()
        await stand.endpoints.start()
        stand.exposition = LARGE
        reader, writer = await stand.connect()
        writer.write(ASK)
        head = await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stand.endpoints.stop()
        await none_left(stand)
        writer.transport.abort()
        return head

    assert runner.run(work()).startswith(b"HTTP/1.1 200 ")


class _Accepted(asyncio.Transport):
    """A connection that was accepted as the port was closed."""

    is_aborted = False

    def abort(self) -> None:
        self.is_aborted = True


async def test_a_connection_that_was_accepted_just_before_the_stop_is_not_kept() -> None:
    connections = Connections(
        lambda _: Answer(200, b""), connections_max=2, connection_max_s=3_600.0
    )
    connection, transport = connections.make(), _Accepted()
    await connections.close()

    connection.connection_made(transport)

    assert transport.is_aborted
    assert 0 == len(connections)
    connection.connection_lost(None)
