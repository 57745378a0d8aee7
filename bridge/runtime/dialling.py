"""A TCP connection to a name that may have several addresses, on either kind of event loop."""

import asyncio
import socket
import ssl
from collections.abc import Callable

from bridge.runtime.event_loop import UVLOOP, name_of

_HEAD_START_S = 0.25
"""How long the next address waits for the one before it (RFC 8305, section 8)."""


async def dial(  # noqa: PLR0913 - all named
    protocol_factory: Callable[[], asyncio.Protocol],
    host: str,
    port: int,
    *,
    context: ssl.SSLContext | None,
    server_name: str | None,
    timeout_s: float,
) -> None:
    """Connect to whichever address answers; TLS where there is a context.

    Raises:
        TimeoutError: None did in time.
        OSError: None can be reached, or TLS failed.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s):
        if name_of(loop) == UVLOOP:
            # It tries one address after the other, and one that is silent would take all the time.
            connected = await _connect_in_turn(host, port, timeout_s)
            await loop.create_connection(
                protocol_factory, sock=connected, ssl=context, server_hostname=server_name
            )
            return
        await loop.create_connection(
            protocol_factory,
            host,
            port,
            ssl=context,
            server_hostname=server_name,
            happy_eyeballs_delay=_HEAD_START_S,
        )


async def _connect_in_turn(host: str, port: int, timeout_s: float) -> socket.socket:
    """Give each address the same part of the time."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    failures: list[OSError] = []
    for family, kind, protocol, _, address in found:
        connecting = socket.socket(family, kind, protocol)
        connecting.settimeout(0)
        try:
            async with asyncio.timeout(timeout_s / len(found)):
                await loop.sock_connect(connecting, address)
        except OSError as error:  # TimeoutError is one.
            connecting.close()
            failures.append(error)
        except BaseException:
            connecting.close()
            raise
        else:
            return connecting
    raise failures[-1]
