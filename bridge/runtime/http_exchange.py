"""One HTTP request and its answer, as bytes in and bytes out: no sockets, no clock.

h11 parses and writes. What is stricter here is what a server of one request can do without: it
takes no version but HTTP/1.0 and HTTP/1.1, no control character, no length that is told in two
ways, and no head of more lines, or of longer ones, than any client of this port has.
"""

import re
from collections.abc import Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, unquote

import h11
import msgspec

LINE_BYTES_MAX: Final = 8_190
LINES_MAX: Final = 130
"""A request line, 128 headers, an empty line. h11 takes 1.3 us for each: 16 KiB of short ones would
hold the loop for 6 ms. Counted are all that come before the request is there, or together with it.
"""
BLANKS_MAX: Final = 512
"""Spaces and tabs, counted in the same way: h11 tries each run of them again from each of its ends,
so that 500 before a byte it refuses take 1.2 ms, and 16,000 would take a second."""

TEXT: Final = "text/plain; charset=utf-8"
_HEADERS: Final = (
    ("Server", "mqtt-kafka-bridge"),  # No version of anything.
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Connection", "close"),
)
_VERSIONS: Final = frozenset({b"1.0", b"1.1"})
_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_ASTERISK_FORM: Final = ("OPTIONS", "*")
_ABSOLUTE_FORM: Final = re.compile(r"https?://([^/?#]+)(.*)", re.IGNORECASE)


class BadRequestError(Exception):
    """What came is no request; nothing of it may be quoted."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for; nothing here is trusted yet."""

    method: str
    path: str
    """Percent-decoded; what is not UTF-8 in it is replaced."""
    query: str = ""
    authority: str | None = None
    """Whom the request target names, where it names one (absolute-form)."""
    headers: Sequence[tuple[bytes, bytes]] = ()
    """Names in lower case; values as they came."""
    peer: str = ""
    """The address it came from."""

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a header, by its name in lower case."""
        return [value for each, value in self.headers if each == name]

    def parameter(self, name: str, default: str) -> str:
        """Return the first value of a parameter of the query."""
        pairs = parse_qsl(self.query, keep_blank_values=True)
        return next((value for each, value in pairs if each == name), default)


class Answer(msgspec.Struct, frozen=True):
    """What the client is told, beside the headers that all answers have."""

    status: int
    body: bytes
    content_type: str = TEXT
    headers: Sequence[tuple[str, str]] = ()


class Exchange:
    """Take the bytes of one request, then write its one answer.

    Whatever comes behind the head, a body or another request, is never looked at: an answer here
    depends on none, and each says that the connection closes.
    """

    def __init__(self, head_bytes_max: int) -> None:
        self._connection = h11.Connection(h11.SERVER, max_incomplete_event_size=head_bytes_max)
        self._has_begun = False
        self._lines = self._blanks = 0
        self._is_head_asked_for = False

    def receive(self, data: bytes) -> Request | None:
        """Take what came; return the request once its head is complete.

        Raises:
            BadRequestError: It will never be one.
        """
        if not self._has_begun:
            data = data.lstrip(b"\r\n")  # Empty lines before a request are ignored [RFC 9112, 2.2].
            self._has_begun = bool(data)
        if not data:
            return None  # To h11 it would mean that the client has closed.
        self._lines += data.count(b"\n")
        self._blanks += data.count(b" ") + data.count(b"\t")
        if self._lines > LINES_MAX or self._blanks > BLANKS_MAX:
            raise BadRequestError
        self._connection.receive_data(data)
        try:
            event = self._connection.next_event()
        except h11.RemoteProtocolError as error:
            raise BadRequestError from error
        if not isinstance(event, h11.Request):
            return None
        self._is_head_asked_for = event.method == b"HEAD"  # Also where it is refused below.
        _judge(event)
        return _read(event)

    def send(self, answer: Answer, unix_s: float) -> bytes:
        """Write the answer; to HEAD without its body, but with the length of it.

        To CONNECT it has to be an error: there is no tunnel.
        """
        head = h11.Response(
            status_code=answer.status,
            reason=HTTPStatus(answer.status).phrase,
            headers=[
                *_HEADERS,
                *answer.headers,
                ("Content-Type", answer.content_type),
                ("Content-Length", str(len(answer.body))),
                ("Date", formatdate(unix_s, usegmt=True)),
            ],
        )
        written = [self._connection.send(head)]
        if answer.body and not self._is_head_asked_for:
            written.append(self._connection.send(h11.Data(answer.body)))
        written.append(self._connection.send(h11.EndOfMessage()))
        return b"".join(written)


def _judge(request: h11.Request) -> None:
    """Refuse what h11 lets pass."""
    names = {name for name, _ in request.headers}
    if (
        request.http_version not in _VERSIONS
        or len(request.target) > LINE_BYTES_MAX
        or any(len(name) + len(value) > LINE_BYTES_MAX for name, value in request.headers)
        or any(_CONTROL.search(value) for _, value in request.headers)
        or names >= {b"content-length", b"transfer-encoding"}  # Who reads it otherwise smuggles.
    ):
        raise BadRequestError


def _read(request: h11.Request) -> Request:
    """Take the request target apart [RFC 9112, 3.2]."""
    method, target = request.method.decode("ascii"), request.target.decode("ascii")
    authority = None
    if found := _ABSOLUTE_FORM.fullmatch(target):
        authority, target = found[1], found[2]
    elif not target.startswith("/") and method != "CONNECT" and (method, target) != _ASTERISK_FORM:
        raise BadRequestError
    path, _, query = target.partition("#")[0].partition("?")
    return Request(
        method=method,
        path=unquote(path) or "/",
        query=query,
        authority=authority,
        headers=tuple(request.headers),
    )
