import asyncio
import itertools
import sys
from collections.abc import AsyncIterator

import msgspec
import pytest

from bridge.errors import ConfigError
from bridge.runtime.http_endpoints import MADE_A_SECOND_MAX, MADE_AT_ONCE_MAX, Spared
from tests.runtime.ops_stand import Stand, read_to_end, running
from tests.support.eventually import eventually_async


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    async with running(Stand()) as stand:
        yield stand


@pytest.mark.parametrize("path", ["/health/ready", "/health/live"])
async def test_a_healthy_part_answers_200_with_its_checks(stand: Stand, path: str) -> None:
    status, headers, body = await stand.get(path)

    assert status == 200
    assert headers["content-type"] == "application/json"
    assert msgspec.json.decode(body) in ({"ready": True}, {"live": True})


async def test_a_bridge_that_is_not_ready_answers_503_and_says_why(stand: Stand) -> None:
    stand.ready = (False, {"ready": False, "checks": {"kafka": {"ok": False}}})

    status, _, body = await stand.get("/health/ready")

    assert status == 503
    assert msgspec.json.decode(body) == stand.ready[1]


async def test_a_stuck_bridge_answers_503(stand: Stand) -> None:
    stand.live = (False, {"live": False})

    assert (await stand.get("/health/live"))[0] == 503


async def test_metrics_come_in_the_text_format(stand: Stand) -> None:
    status, headers, body = await stand.get("/metrics")

    assert status == 200
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert body == b"up 1\n"


async def test_head_answers_without_a_body(stand: Stand) -> None:
    status, headers, body = await stand.get("/metrics", "HEAD")

    assert status == 200
    assert headers["content-length"] == "5"
    assert body == b""


def test_an_answer_that_costs_is_made_so_often_a_second_and_else_given_again() -> None:
    clock = [0.0]
    makes = itertools.count(1)
    spared = Spared(lambda: next(makes), monotonic_now=lambda: clock[0])

    at_once = [spared() for _ in range(MADE_AT_ONCE_MAX + 100)]
    clock[0] += 1 / MADE_A_SECOND_MAX
    next_one = [spared() for _ in range(100)]

    assert [*range(1, MADE_AT_ONCE_MAX + 1), *[MADE_AT_ONCE_MAX] * 100] == at_once
    assert {MADE_AT_ONCE_MAX + 1} == set(next_one)


@pytest.mark.parametrize(
    "path", ["/health", "/status/", "/metrics/", "/../metrics", "//", "/index.html"]
)
async def test_another_path_is_not_found(stand: Stand, path: str) -> None:
    assert (await stand.get(path))[0] == 404


@pytest.mark.parametrize("path", ["/status", "/"])
async def test_without_a_status_to_tell_its_path_and_its_page_are_not_found(path: str) -> None:
    async with running(Stand(has_status=False)) as stand:
        status, _, body = await stand.get(path, host="Host: localhost\r\n")

    assert (404, b"not found; there are /health/live, /health/ready and /metrics\n") == (
        status,
        body,
    )


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:9464", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:9464"],
)
async def test_status_is_told_to_who_asks_for_this_host(stand: Stand, host: str) -> None:
    status, headers, body = await stand.get("/status", host=f"Host: {host}\r\n")

    assert 200 == status
    assert "application/json" == headers["content-type"]
    assert stand.status == msgspec.json.decode(body)


@pytest.mark.parametrize(
    "host",
    [
        pytest.param("", id="none"),
        pytest.param("Host: \r\n", id="empty"),
        pytest.param("Host: evil.example\r\n", id="rebound name"),
        pytest.param("Host: localhost.evil.example\r\n", id="name that begins as ours"),
        pytest.param("Host: 127.0.0.1.evil.example:9464\r\n", id="address as a beginning"),
        pytest.param("Host: localhost@evil.example\r\n", id="user name"),
        pytest.param("Host: [::1]x\r\n", id="something behind the bracket"),
        pytest.param("Host: evil.example\r\nHost: localhost\r\n", id="two, ours last"),
        pytest.param("Host: localhost\r\nHost: evil.example\r\n", id="two, ours first"),
        pytest.param("Origin: http://localhost\r\n", id="origin alone"),
    ],
)
async def test_status_is_not_told_to_a_name_that_was_bound_to_this_host(
    stand: Stand, host: str
) -> None:
    status, _, body = await stand.get("/status", host=host)

    assert status in {400, 421}
    assert b"version" not in body


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="all of 127/8 is loopback there")
async def test_the_name_that_is_listened_on_is_ours_too() -> None:
    async with running(Stand(listen="127.0.0.2:0")) as stand:
        status, _, _ = await stand.get("/status", host="Host: 127.0.0.2:80\r\n")

    assert 200 == status


@pytest.mark.parametrize("path", ["/", "/status", "/status/devices"])
async def test_off_loopback_and_without_a_token_status_is_not_told_whatever_the_host(
    path: str,
) -> None:
    async with running(Stand(listen="0.0.0.0:0")) as stand:
        status, _, body = await stand.get(path, host="Host: localhost\r\n")
        alive, _, _ = await stand.get("/health/live")

    assert (403, 200) == (status, alive)
    assert b"off loopback this is told only with a token; set ops.token" in body


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", (200, {"sort": "rate", "count": 20})),
        ("?so%72t=drift&count=%37&count=9&other", (200, {"sort": "drift", "count": 7})),
        ("?sort=size", (400, "sort is one of rate, errors, drift, silence\n")),
        ("?count=+7", (400, "count is a whole number from 1 to 256\n")),
        ("?count=%D9%A3", (400, "count is a whole number from 1 to 256\n")),
        ("?count=257", (400, "count is a whole number from 1 to 256\n")),
        ("?count=", (400, "count is a whole number from 1 to 256\n")),
    ],
)
async def test_devices_are_told_as_the_query_asks(
    stand: Stand, query: str, expected: tuple[int, object]
) -> None:
    status, _, body = await stand.get(f"/status/devices{query}", host="Host: localhost\r\n")

    assert expected == (status, msgspec.json.decode(body) if status == 200 else body.decode())


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        pytest.param(b"GET /%6detrics HTTP/1.1\r\nHost: x\r\n\r\n", 200, id="encoded path"),
        pytest.param(b"GET /metrics HTTP/1.0\r\n\r\n", 200, id="HTTP/1.0"),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: 5\r\n\r\n",
            200,
            id="a body that waits to be asked for",
        ),
        pytest.param(
            b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\n\r\n",
            200,
            id="an upgrade, which is ignored",
        ),
        pytest.param(b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", 404, id="a tunnel"),
        pytest.param(b"GET /metrics HTTP/1.1\r\n\r\n", 400, id="no Host"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n", 400, id="NUL"),
        pytest.param(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03", 400, id="TLS"),
        pytest.param(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nX: \1\r\n\r\n", 400, id="bad, by HEAD"),
    ],
)
async def test_there_is_one_answer_and_the_connection_closes(
    stand: Stand, request_head: bytes, status: int
) -> None:
    answer = await stand.send(request_head)

    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert 1 == answer.count(b"\r\nConnection: close\r\n")
    assert 1 == answer.count(b"HTTP/1.1 ")
    assert "" == stand.log_stream.getvalue()


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_status_is_only_asked_for(stand: Stand, method: str) -> None:
    status, headers, _ = await stand.get("/status", method, host="Host: localhost\r\n")

    assert (405, "GET, HEAD") == (status, headers["allow"])


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
async def test_another_method_is_not_allowed(stand: Stand, method: str) -> None:
    status, headers, _ = await stand.get("/health/live", method)

    assert status == 405
    assert headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00 is no HTTP\r\n\r\n",
    ],
    ids=["answer", "not found", "not HTTP"],
)
async def test_no_answer_tells_a_version(stand: Stand, request_head: bytes) -> None:
    answer = await stand.send(request_head)

    assert b"Server: mqtt-kafka-bridge\r\n" in answer
    assert b"aiohttp" not in answer.lower()
    assert b"python" not in answer.lower()


async def test_what_cannot_be_parsed_is_refused_and_not_quoted(stand: Stand) -> None:
    answer = await stand.send(b"<script>alert</script>\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"script" not in answer
    assert stand.log_stream.getvalue() == ""


async def test_a_connection_carries_one_request(stand: Stand) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n"

    answer = await stand.send(request * 3)

    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    "beginning",
    [
        b"",
        b"G",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nx",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ids=["nothing", "one byte", "half a head", "half a body", "no chunk"],
)
async def test_a_client_that_stops_in_the_middle_is_disconnected(beginning: bytes) -> None:
    async with running(Stand(connection_max_s=0.05)) as stand:
        answer = await stand.send(beginning)

    assert b" 200 " not in answer


async def test_a_client_that_sends_byte_by_byte_gets_no_more_time() -> None:
    async with running(Stand(connection_max_s=0.05)) as stand:
        reader, writer = await stand.connect()
        ended = asyncio.create_task(read_to_end(reader))

        while not ended.done():
            writer.write(b"G")
            await asyncio.sleep(0)  # The loop turns; the server's deadline ends this.

        assert ended.result() == b"" or b" 400 " in ended.result()
        writer.close()


async def test_a_client_that_does_not_read_its_answer_is_disconnected() -> None:
    async with running(Stand(connection_max_s=0.05)) as stand:
        stand.exposition = b"x" * 50_000_000
        reader, writer = await stand.connect()
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readexactly(1)

        await eventually_async(lambda: stand.endpoints.connections == 0, what="no connection")

        assert len(await read_to_end(reader)) < 50_000_000
        writer.close()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /metrics HTTP/1.1\r\nX-Long: " + b"x" * 1_000_000,
        b"GET /" + b"x" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\n" + b"X-Many: x\r\n" * 100_000,
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 9_000 + b"\r\n\r\n",
    ],
    ids=["one header of 1 MB", "a path of 1 MB", "a hundred thousand headers", "9 kB"],
)
async def test_a_head_that_is_too_large_is_refused_and_closed(stand: Stand, head: bytes) -> None:
    answer = await stand.send(head)

    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert (await stand.get("/metrics"))[0] == 200


async def test_a_body_that_nobody_asked_for_is_not_taken(stand: Stand) -> None:
    head = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n"

    answer = await stand.send(head + b"x" * 1_000_000)

    assert answer == b"" or b" 405 " in answer


async def test_a_flood_of_idle_connections_does_not_lock_a_probe_out() -> None:
    async with running(Stand(connections_max=3)) as stand:
        idle = [await stand.connect() for _ in range(10)]

        assert (await stand.get("/health/live"))[0] == 200
        for reader, _ in idle[:8]:
            assert await read_to_end(reader) == b""
        for _, writer in idle:
            writer.close()


async def test_an_answer_that_cannot_be_made_is_a_500_and_an_event(stand: Stand) -> None:
    stand.exposition = b""

    status, _, body = await stand.get("/metrics")

    assert (status, body) == (500, b"internal error\n")
    event = msgspec.json.decode(stand.log_stream.getvalue())
    assert event["event"] == "ops_request_failed"
    assert event["path"] == "/metrics"
    assert event["error"] == "ValueError('nothing to tell')"


async def test_stopping_closes_connections_and_frees_the_port() -> None:
    stand = Stand()
    await stand.endpoints.start()
    address = stand.endpoints.address
    reader, writer = await stand.connect()
    await stand.endpoints.stop()

    assert await read_to_end(reader) == b""
    writer.close()
    async with running(Stand(listen=address)) as again:
        assert (await again.get("/metrics"))[0] == 200


async def test_an_ipv6_address_is_listened_on() -> None:
    async with running(Stand(listen="[::1]:0")) as stand:
        assert stand.endpoints.address.startswith("[::1]:")
        assert (await stand.get("/metrics"))[0] == 200


async def test_an_address_in_use_is_named_with_its_remedy(stand: Stand) -> None:
    address = stand.endpoints.address

    with pytest.raises(ConfigError) as raised:
        await Stand(listen=address).endpoints.start()

    assert str(raised.value) == (
        f'ops.listen "{address}": cannot listen: address already in use; stop the program that'
        " has the port, or choose another; 0 takes a free one"
    )


@pytest.mark.parametrize(
    ("listen", "expected"),
    [
        ("9464", 'ops.listen "9464" has no host and port; write "host:port"'),
        ("203.0.113.1:0", 'ops.listen "203.0.113.1:0": cannot listen: '),
        ("nowhere.invalid:0", 'ops.listen "nowhere.invalid:0": cannot listen: '),
    ],
)
async def test_an_address_that_cannot_be_listened_on_is_a_configuration_error(
    listen: str, expected: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        await Stand(listen=listen).endpoints.start()

    assert str(raised.value).startswith(expected)
