"""One request and its answer, in bytes."""

import itertools

import pytest
from hypothesis import given, strategies as st

from bridge.runtime.http_exchange import (
    BLANKS_MAX,
    LINE_BYTES_MAX,
    LINES_MAX,
    Answer,
    BadRequestError,
    Exchange,
    Request,
)

BYTES_MAX = 16_384
UNIX_S = 784_111_777.0
HOST = "Host: localhost\r\n"
SHORT = "a:b\r\n"
ANSWER = Answer(200, b"up 1\n", "text/x", (("X-One", "1"), ("X-One", "2")))

REQUEST = b"GET /status HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"
SEEDS = (
    REQUEST,
    b"HEAD /metrics HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"GET http://localhost/status?a=%41#b HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03",
)
PIECES = (
    *(b"\r\n", b"\n", b"\r", b"\x00", b"\x01", b"\x7f", b":", b" ", b"\t", b"\r\n ", b"%", b"\xff"),
    *(b"HEAD", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: a\r\n"),
    *(b"a" * LINE_BYTES_MAX, b"a: b\r\n" * LINES_MAX, b"9" * 5_000),
)


def exchange_of(*pieces: bytes) -> tuple[Exchange, Request | None]:
    """Give it the pieces; return the request that it made of them."""
    exchange = Exchange(BYTES_MAX)
    for piece in pieces:
        request = exchange.receive(piece)
        if request is not None:
            return exchange, request
    return exchange, None


def asked(head: str) -> Request:
    _, request = exchange_of(head.encode("latin-1"))
    assert request is not None
    return request


def test_a_request_is_taken_apart() -> None:
    head = f"GET /st%61tus?sort=a&sort=b&count=%37&none=#part HTTP/1.1\r\n{HOST}X-ONE: \xff\r\n\r\n"

    request = asked(head)

    assert ("GET", "/status", None) == (request.method, request.path, request.authority)
    assert ["a", "7", "", "?"] == [
        request.parameter(name, "?") for name in ("sort", "count", "none", "other")
    ]
    assert ([b"localhost"], [b"\xff"], []) == (
        request.values(b"host"),
        request.values(b"x-one"),
        request.values(b"x-two"),
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("GET /", ("/", "", None)),
        ("GET //status", ("//status", "", None)),
        ("GET /a%2Fb%00?c%2Fd", ("/a/b\0", "c%2Fd", None)),
        ("GET /%ff", ("/\N{REPLACEMENT CHARACTER}", "", None)),
        ("GET http://localhost/status?a", ("/status", "a", "localhost")),
        ("GET HTTP://U:P@[::1]:80/x", ("/x", "", "U:P@[::1]:80")),
        ("GET https://localhost", ("/", "", "localhost")),
        ("GET http://localhost?a", ("/", "a", "localhost")),
        ("OPTIONS *", ("*", "", None)),
        ("CONNECT localhost:80", ("localhost:80", "", None)),
    ],
)
def test_every_form_of_a_request_target_has_its_path(
    line: str, expected: tuple[str, str, str | None]
) -> None:
    request = asked(f"{line} HTTP/1.1\r\n{HOST}\r\n")

    assert expected == (request.path, request.query, request.authority)


@pytest.mark.parametrize(
    "head",
    [
        pytest.param(f"GET * HTTP/1.1\r\n{HOST}\r\n", id="asterisk of another method"),
        pytest.param(f"GET status HTTP/1.1\r\n{HOST}\r\n", id="no slash"),
        pytest.param(f"GET ftp://localhost/ HTTP/1.1\r\n{HOST}\r\n", id="another scheme"),
        pytest.param(f"GET http:///status HTTP/1.1\r\n{HOST}\r\n", id="no authority"),
        pytest.param(f"GET /st\xe4tus HTTP/1.1\r\n{HOST}\r\n", id="not ASCII"),
        pytest.param("GET / HTTP/1.1\r\n\r\n", id="no Host in HTTP/1.1"),
        pytest.param(f"GET / HTTP/1.1\r\n{HOST}{HOST}\r\n", id="two Hosts"),
        pytest.param("GET /\r\n\r\n", id="HTTP/0.9"),
        pytest.param(f"GET / HTTP/2.0\r\n{HOST}\r\n", id="HTTP/2.0 by name"),
        pytest.param("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2 with prior knowledge"),
        pytest.param("\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03", id="TLS"),
        pytest.param(f"GET / HTTP/1.1\r\n{HOST}X: a\0b\r\n\r\n", id="NUL"),
        pytest.param(f"GET / HTTP/1.1\r\n{HOST}X: a\x01b\r\n\r\n", id="control character"),
        pytest.param(f"GET / HTTP/1.1\r\n{HOST}X: a\x7f\r\n\r\n", id="DEL"),
        pytest.param(f"GET / HTTP/1.1\r\n{HOST}X: a\rb\r\n\r\n", id="lone carriage return"),
        pytest.param(f"HEAD / HTTP/1.1\r\n{HOST}X: a\x01b\r\n\r\n", id="control, HEAD"),
        pytest.param(f"GET / HTTP/1.1\r\n{HOST}X : a\r\n\r\n", id="space before the colon"),
        pytest.param(f"GET / HTTP/1.1\r\n{HOST}X\r\n\r\n", id="no colon"),
        pytest.param(
            f"POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            id="two kinds of length",
        ),
        pytest.param(
            f"POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
            id="two lengths",
        ),
        pytest.param(
            f"POST / HTTP/1.1\r\n{HOST}Content-Length: {'9' * 5_000}\r\n\r\n",
            id="a length that int refuses",
        ),
        pytest.param(
            f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip, chunked\r\n\r\n",
            id="another coding",
        ),
        pytest.param(f"GET /{'x' * LINE_BYTES_MAX} HTTP/1.1\r\n{HOST}\r\n", id="long target"),
        pytest.param(
            f"GET / HTTP/1.1\r\n{HOST}X: {'x' * LINE_BYTES_MAX}\r\n\r\n", id="long header"
        ),
        pytest.param(f"GET / HTTP/1.1\r\n{HOST}{SHORT * LINES_MAX}\r\n", id="many headers"),
        pytest.param("G" * (BYTES_MAX + 1), id="no end"),
    ],
)
def test_what_is_no_request_is_refused_and_can_be_answered(head: str) -> None:
    exchange = Exchange(BYTES_MAX)

    with pytest.raises(BadRequestError):
        exchange.receive(head.encode("latin-1"))

    answer = exchange.send(Answer(400, b"bad request\n"), UNIX_S)
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize("blank", [b" ", b"\t"])
def test_a_run_of_blanks_is_refused_before_anything_looks_for_its_end(blank: bytes) -> None:
    begin = b"GET / HTTP/1.1\r\nX:"
    exchange, request = exchange_of(begin + blank * (BLANKS_MAX - begin.count(b" ")))
    assert request is None

    with pytest.raises(BadRequestError):
        exchange.receive(blank)


def test_a_header_of_many_words_is_taken() -> None:
    words = " ".join(["word"] * (BLANKS_MAX - 3))

    assert [words.encode()] == asked(f"GET / HTTP/1.1\r\n{HOST}X: {words}\r\n\r\n").values(b"x")


def test_a_long_head_within_the_bounds_is_taken() -> None:
    headers = SHORT * (LINES_MAX - 3)

    request = asked(f"GET /?{'x' * 8_000} HTTP/1.1\r\n{HOST}{headers}\r\n")

    assert LINES_MAX - 2 == len(request.headers)


@given(cuts=st.lists(st.integers(0, len(REQUEST)), max_size=8))
def test_a_request_is_the_same_however_its_bytes_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(REQUEST)]
    pieces = [REQUEST[start:end] for start, end in itertools.pairwise(edges)]

    _, request = exchange_of(b"\r\n", b"", *pieces)

    assert asked(REQUEST.decode()) == request


@given(data=st.data())
def test_whatever_comes_it_is_a_request_or_refused_or_awaited_and_can_be_answered(
    data: st.DataObject,
) -> None:
    raw = data.draw(st.sampled_from(SEEDS) | st.binary(max_size=300))
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, min(len(raw), start + 8)))
        raw = raw[:start] + data.draw(st.sampled_from(PIECES) | st.binary()) + raw[end:]
    cut = data.draw(st.integers(0, len(raw)))
    exchange = Exchange(BYTES_MAX)

    try:
        if exchange.receive(raw[:cut]) is None:
            exchange.receive(raw[cut:])
    except BadRequestError:
        pass

    head, _, body = exchange.send(Answer(404, b"no\n"), UNIX_S).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert body in {b"", b"no\n"}


def test_an_answer_has_its_headers_and_those_of_every_answer() -> None:
    exchange, _ = exchange_of(REQUEST)

    answer = exchange.send(ANSWER, UNIX_S)

    assert (
        b"HTTP/1.1 200 OK\r\n"
        b"Server: mqtt-kafka-bridge\r\n"
        b"Cache-Control: no-store\r\n"
        b"X-Content-Type-Options: nosniff\r\n"
        b"Cross-Origin-Resource-Policy: same-origin\r\n"
        b"Referrer-Policy: no-referrer\r\n"
        b"Connection: close\r\n"
        b"X-One: 1\r\n"
        b"X-One: 2\r\n"
        b"Content-Type: text/x\r\n"
        b"Content-Length: 5\r\n"
        b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
        b"\r\n"
        b"up 1\n"
    ) == answer


@pytest.mark.parametrize("body", [b"", b"up 1\n"])
def test_to_head_the_head_is_that_of_get_and_there_is_no_body(body: bytes) -> None:
    told = Answer(200, body)
    get, _ = exchange_of(REQUEST)
    head, _ = exchange_of(REQUEST.replace(b"GET", b"HEAD"))

    assert get.send(told, UNIX_S).removesuffix(body) == head.send(told, UNIX_S)
