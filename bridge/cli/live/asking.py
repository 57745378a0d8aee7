"""Asks one running bridge for what `top` shows."""

import errno
import os
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import aiohttp
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from bridge.cli.live.answers import Answer, Answered, Away, Buckets, Devices, Refused, Status
from bridge.errors import ConfigError
from bridge.observe.text import printable

ANSWER_MAX_S = 5.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024
"""A bridge says some 10 kB; whoever says more is none."""
DEVICES_ASKED = 20
TEXT_MAX = 200
_LATENCY = "ingestion_latency_seconds"
_OK, _UNAUTHORIZED, _NOT_FOUND = 200, 401, 404
TOKEN_VARIABLE = "BRIDGE_TOKEN"  # noqa: S105 - the name of the variable, not a token
_TOKEN_REMEDY = (
    f"give the token of ops.token: --token-file FILE, or the environment variable {TOKEN_VARIABLE}"
)

_STATUS = msgspec.json.Decoder(Status)
_DEVICES = msgspec.json.Decoder(Devices)


class _RefusedError(Exception):
    """An answer that is none; ends the asking of this moment."""


def checked_url(text: str) -> str:
    """Return the root of a bridge's endpoints without the slash at its end.

    Raises:
        ValueError: It is no such address; says what is wrong, and quotes no password.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"is no URL: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user or password; the bridge asks for a token: --token-file FILE")
    if parts.scheme not in {"http", "https"} or not host:
        raise ValueError('is no URL of a bridge; write "http://127.0.0.1:9464"')
    if parts.query or parts.fragment:
        raise ValueError('goes on after the address; write "http://127.0.0.1:9464"')
    return text.rstrip("/")


class Asker:
    """Asks again and again; the token is read anew each time, so that a renewed file is used."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        *,
        sort: str,
        token: Callable[[], str | None],
    ) -> None:
        self._session = session
        self._url = url
        self._sort = sort
        self._token = token

    async def ask(self) -> Answer:  # noqa: PLR0911 - one for each way it may end
        """Ask for the status, the devices that stand out, and the latencies."""
        try:
            token = self._token()
        except ConfigError as error:
            return Refused(printable(str(error), TEXT_MAX))  # It may be on its way to be renewed.
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            return Answered(
                status=_STATUS.decode(await self._get("/status", headers)),
                devices=tuple(_DEVICES.decode(await self._devices(headers)).devices),
                latency=_latency(await self._get("/metrics", headers)),
            )
        except (TimeoutError, aiohttp.ServerTimeoutError):
            return Away(f"no answer within {ANSWER_MAX_S:.0f} s")
        except aiohttp.ClientConnectorError as error:
            return Away(printable(_reason(error), TEXT_MAX))
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            return Away(printable(f"the connection was lost: {error}", TEXT_MAX))
        except aiohttp.ClientError as error:
            return Refused(printable(f"this is no bridge: {error}", TEXT_MAX))
        except _RefusedError as error:
            return Refused(str(error))
        except (ValueError, RecursionError) as error:  # msgspec's errors are among the former.
            return Refused(printable(f"this is no bridge that top can read: {error}", TEXT_MAX))

    async def _devices(self, headers: Mapping[str, str]) -> bytes:
        return await self._get(f"/status/devices?sort={self._sort}&count={DEVICES_ASKED}", headers)

    async def _get(self, path: str, headers: Mapping[str, str]) -> bytes:
        # A redirect could carry the token to somebody else.
        async with self._session.get(
            f"{self._url}{path}",
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=ANSWER_MAX_S),
            allow_redirects=False,
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(65_536):
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise _RefusedError(f"this is no bridge: it says more than {ANSWER_BYTES_MAX}")
        if response.status != _OK:
            raise _RefusedError(_explain(path, response.status, bytes(body)))
        return bytes(body)


def _explain(path: str, status: int, body: bytes) -> str:
    if status == _UNAUTHORIZED:
        return f"401: {_TOKEN_REMEDY}"
    said = body[: 4 * TEXT_MAX].decode(errors="replace").strip()
    path = path.partition("?")[0]
    remedy = "; is this the address of ops.listen?" if status == _NOT_FOUND else ""
    return f"{status} for {path}: {printable(said, TEXT_MAX)}{remedy}"


def _reason(error: aiohttp.ClientConnectorError) -> str:
    """Say it in the system's words; a certificate that is refused has words of its own."""
    cause = getattr(error, "os_error", error)
    number = getattr(cause, "errno", None)
    if isinstance(number, int) and number in errno.errorcode:
        return os.strerror(number).lower()
    return str(cause)


def _latency(metrics: bytes) -> Buckets:
    """Read the one histogram, and leave the rest of the page unparsed."""
    text = "\n".join(
        line for line in metrics.decode().split("\n") if line.startswith(f"{_LATENCY}_bucket")
    )
    return tuple(
        sorted(
            (float(sample.labels["le"]), sample.value)
            for family in text_string_to_metric_families(text + "\n")
            for sample in family.samples
            if "le" in sample.labels
        )
    )
