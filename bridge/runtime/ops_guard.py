"""Who may read the status: asked for by a name of ours, and with the token where one is needed."""

import base64
import binascii
import hmac
import ipaddress
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from bridge.config import secrets
from bridge.config.addresses import host_and_port, is_loopback
from bridge.config.sections import OpsSection
from bridge.errors import ConfigError
from bridge.observe.log import EventLog
from bridge.runtime.http_exchange import Request

_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:]+))(?::[0-9]{1,5})?")
"""A Host field; the port is not looked at, because a tunnel has another one at its near end."""
_OWN_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_CHALLENGES: Final = ('Basic realm="mqtt-kafka-bridge", charset="UTF-8"', "Bearer")
"""Basic first: a browser asks the person in front of it, who gives the token as the password."""


class Refusal(msgspec.Struct, frozen=True):
    """Why a request is not answered."""

    status: int
    text: str
    challenges: Sequence[str] = ()


class Guard:
    """Judge requests for what tells more than a probe needs.

    Two dangers, two checks. A web page whose name was rebound to this address would read the
    answer with the browser of a person who has access: so the name that was asked for has to be
    one of ours. And off loopback anybody may ask: so there has to be a token, which a rebound page
    lacks. Where a token is configured it is wanted on loopback too: who sets one means it.
    """

    def __init__(self, ops: OpsSection, environment: Mapping[str, str], log: EventLog) -> None:
        """Look whether the token can be read.

        Raises:
            ConfigError: It cannot; says where it was looked for.
        """
        self._token = ops.token
        self._environment = environment
        self._log = log
        self._names = _OWN_NAMES | {each.lower() for each in ops.hosts}
        self._listen = ops.listen
        if ops.token is not None:
            secrets.read(ops.token, environment)

    def refusal(self, request: Request, listened_on: Sequence[str]) -> Refusal | None:
        """Say why this request is refused; None, it is not."""
        is_local = all(is_loopback(host) for host in listened_on)
        if not is_local and self._token is None:
            return Refusal(
                403,
                "off loopback this is told only with a token; set ops.token, or let ops.listen"
                " name only loopback",
            )
        names = _hosts_asked_for(request)
        if not all(self._is_name_ours(name, listened_on, is_local=is_local) for name in names):
            return Refusal(
                421,
                "this is not the host that was asked for; use localhost, or add it to ops.hosts",
            )
        return None if self._token is None else self._token_refusal(request)

    def _is_name_ours(
        self, name: str | None, listened_on: Sequence[str], *, is_local: bool
    ) -> bool:
        if name is None:
            return False
        listened = host_and_port(self._listen, port_min=0)[0].lower()
        if name in self._names or name in listened_on or name == listened:
            return True
        # Off loopback it has more addresses than it listens on, and no name is behind a number.
        return not is_local and (_is_address(name) or name == socket.gethostname().lower())

    def _token_refusal(self, request: Request) -> Refusal | None:
        assert self._token is not None, "asked only where there is one"
        given = request.values(b"authorization")
        if not given:
            return Refusal(
                401, "a token is needed: ops.token as Bearer, or as password of Basic", _CHALLENGES
            )
        try:
            wanted = secrets.read(self._token, self._environment)  # Anew: the file may be renewed.
        except ConfigError as error:
            self._log.emit("ops_token_unreadable", error=error.problems[0])
            return Refusal(503, "ops.token cannot be read; see the log")
        offered = _token_in(given[0]) if len(given) == 1 else None
        # Compared by digest, whatever their lengths: how long it takes says nothing of the token.
        if offered is not None and hmac.compare_digest(_digest(offered), _digest(wanted.encode())):
            return None
        self._log.emit("ops_token_refused", path=request.path, peer=request.peer)
        return Refusal(401, "this is not the token", _CHALLENGES)


def _digest(token: bytes) -> bytes:
    return hmac.digest(b"ops.token", token, "sha256")


def _token_in(authorization: bytes) -> bytes | None:
    """Return what `Bearer TOKEN`, or `Basic` with any user and the token as password, brings."""
    scheme, _, credentials = authorization.partition(b" ")
    credentials = credentials.strip(b" ")
    if scheme.lower() == b"bearer":
        return credentials
    if scheme.lower() != b"basic":
        return None
    try:
        pair = base64.b64decode(credentials, validate=True)
    except binascii.Error:
        return None
    _, colon, password = pair.partition(b":")
    return password if colon else None


def _hosts_asked_for(request: Request) -> list[str | None]:
    """Return the names in Host and in the target, without brackets and port; None is no name.

    Where the target names one, HTTP lets it count alone [RFC 9112, 3.2.2]. Here both have to be
    ours: no honest client names two, and whoever forges one of them gains nothing.
    """
    given = [each.decode("utf-8", "replace") for each in request.values(b"host")]
    fields = [given[0] if len(given) == 1 else ""]
    if request.authority is not None:
        fields.append(request.authority)
    matches = [_HOST.fullmatch(each) for each in fields]
    return [None if found is None else (found[1] or found[2]).lower() for found in matches]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
