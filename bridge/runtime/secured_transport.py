"""TLS over a TCP transport that can still be told not to read.

The transport of either event loop for TLS, told not to read, goes on reading the socket and only
stops decrypting. What it has by then is dropped when the peer closes: that may be the peer's last
words, and with them the reason. So here reading is paused one layer below: what waits, waits in the
kernel, and whatever was read is decrypted and handed over.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

_HEAD_BYTES: Final = 32


async def secure(
    connected: socket.socket,
    protocol_factory: Callable[[], asyncio.Protocol],
    context: ssl.SSLContext,
    server_name: str | None,
) -> None:
    """Do the handshake on a new connection, then give it to a protocol.

    Raises:
        OSError: TLS failed (ssl.SSLError is one), or the peer went away. The socket is closed.
    """
    loop = asyncio.get_running_loop()
    raw, before = await loop.create_connection(_Early, sock=connected)
    # The loop has had a turn: what came in it would be missing in the handshake, which would wait.
    if before.received:
        raw.abort()
        head = before.received[0][:_HEAD_BYTES]
        told = f"the peer spoke first, so it does not speak TLS: {head!r}"
        raise ssl.SSLError(ssl.SSL_ERROR_SSL, told)
    if raw.is_closing():
        raise ConnectionResetError("the peer closed the connection before TLS began")
    early = _Early()
    over_tls = await loop.start_tls(raw, early, context, server_hostname=server_name)
    assert over_tls is not None, "the loop is not closed"
    protocol = protocol_factory()
    over_tls.set_protocol(protocol)
    protocol.connection_made(SecuredTransport(over_tls, raw))
    for data in early.received:
        protocol.data_received(data)
    if early.is_lost:
        protocol.connection_lost(early.error)


class SecuredTransport(asyncio.Transport):
    """Writes through TLS; reading is paused below it."""

    def __init__(self, over_tls: asyncio.Transport, raw: asyncio.Transport) -> None:
        super().__init__()
        self._over_tls = over_tls
        self._raw = raw

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Tell of TLS and of the socket."""
        return self._over_tls.get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Tell whether it closes."""
        return self._over_tls.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send."""
        self._over_tls.write(data)

    def can_write_eof(self) -> bool:
        """Tell whether one direction can be closed: with TLS it cannot."""
        return self._over_tls.can_write_eof()

    def close(self) -> None:
        """Send what is in the buffer, and close."""
        self._over_tls.close()

    def abort(self) -> None:
        """Close at once."""
        self._over_tls.abort()

    def is_reading(self) -> bool:
        """Tell whether the socket is read."""
        return self._raw.is_reading()

    def pause_reading(self) -> None:
        """Leave in the kernel what comes from here on."""
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Read the socket again."""
        self._raw.resume_reading()


class _Early(asyncio.Protocol):
    """Keeps what comes before there is a protocol for it."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.is_lost = False
        self.error: Exception | None = None

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.received.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Keep that it is over."""
        self.is_lost, self.error = True, exc
