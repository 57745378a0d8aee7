"""A TCP connection to a name that may have several addresses, on either kind of event loop."""

import asyncio
import socket
import ssl
from collections.abc import Callable

from aiohappyeyeballs import start_connection

from bridge.runtime.event_loop import UVLOOP, name_of
from bridge.runtime.secured_transport import secure

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
    """Connect to whichever address answers first; TLS where there is a context.

    The race of the addresses is a library's: uvloop has none, and would give one that is silent all
    the time there is.

    Raises:
        TimeoutError: None did in time.
        OSError: None can be reached, or TLS failed.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s):
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        try:
            connected = await start_connection(addresses, happy_eyeballs_delay=_HEAD_START_S)
        except RuntimeError as error:  # So uvloop tells some of what asyncio calls an OSError.
            raise OSError(str(error)) from error
        try:
            if context is None:
                await loop.create_connection(protocol_factory, sock=connected)
            else:
                await secure(connected, protocol_factory, context, server_name)
        finally:
            if name_of(loop) == UVLOOP:
                # The descriptor is libuv's now. Where a connection ends at once uvloop leaves this
                # object with its number, which would be closed again when it belongs to another.
                connected.detach()
