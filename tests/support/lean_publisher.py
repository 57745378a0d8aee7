"""A publisher for rates that paho does not reach: one socket, one thread, packets by mqtt5.

It keeps the same ledger as `DevicePublisher` and resends in the order of the PUBLISHes after a
reconnect, with DUP=1 where the MQTT broker kept the session [MQTT-4.4.0-1].
"""

import contextlib
import secrets
import select
import socket
import ssl
from typing import Final

import mqtt5

from tests.support.devices import DeviceMessage, Publisher

_SESSION_EXPIRY_S: Final = 86_400
_PACKET_IDS: Final = 65_535
_READ_BYTES: Final = 65_536
_CONNECT_TIMEOUT_S: Final = 10.0
_RECONNECT_EVERY_S: Final = 0.1
_WAITING_BYTES_MAX: Final = 262_144
"""A broker that does not read fills the socket first, and this next; then nothing more is sent."""


class LeanPublisher(Publisher):
    """Some 20,000 messages a second; QoS 1 only."""

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        client_id: str | None = None,
        window: int = 1_000,
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(window)
        self._credentials = (username, None if password is None else password.encode())
        self._address = (host, port)
        self._client_id = client_id or f"lean-{secrets.token_hex(6)}"
        self._tls = tls
        self._socket: socket.socket | None = None
        self._asked_window = window
        self._packet_id = 0
        self._unread = b""
        self._unsent = bytearray()

    def connect(self) -> None:
        """Open the connection, wait for its CONNACK, and resend what is open.

        Raises:
            ConnectionRefusedError: the MQTT broker said no.
        """
        opened = socket.create_connection(self._address, timeout=_CONNECT_TIMEOUT_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._tls is not None:
            opened = self._tls.wrap_socket(opened, server_hostname=self._address[0])
        self._socket = opened
        self._unread, self._unsent = b"", bytearray()
        username, password = self._credentials
        asked = mqtt5.ConnectPacket(
            self._client_id,
            username=username,
            password=password,
            clean_start=False,
            session_expiry_interval=_SESSION_EXPIRY_S,
        )
        opened.sendall(asked.write())
        answer = self._await_connack(opened)
        if answer.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
            raise ConnectionRefusedError(answer.reason_code.name)
        self._window = min(self._asked_window, answer.receive_max)
        opened.setblocking(False)  # noqa: FBT003  the signature of the standard library
        self._is_accepted = True
        for packet_id, message in self._in_flight.items():
            self._write(packet_id, message, is_duplicate=answer.session_present)

    def _await_connack(self, opened: socket.socket) -> mqtt5.ConnAckPacket:
        while True:
            data = opened.recv(_READ_BYTES)
            if not data:
                raise ConnectionResetError("closed before its CONNACK")
            self._unread += data
            with contextlib.suppress(IndexError):
                packet, size = mqtt5.read(memoryview(self._unread))
                self._unread = self._unread[size:]
                assert isinstance(packet, mqtt5.ConnAckPacket), f"{packet} instead of a CONNACK"
                return packet

    def disconnect(self) -> None:
        """DISCONNECT; the session is kept."""
        opened, self._socket = self._socket, None
        if opened is not None:
            with contextlib.suppress(OSError):
                opened.sendall(mqtt5.DisconnectPacket().write())
            opened.close()

    def _send(self, message: DeviceMessage) -> None:
        assert message.qos == 1, "QoS 1 only"
        self._packet_id = self._packet_id % _PACKET_IDS + 1
        while self._packet_id in self._in_flight:  # Still open from 65,535 messages ago.
            self._packet_id = self._packet_id % _PACKET_IDS + 1
        self.ledger.sent.append(message)
        self._in_flight[self._packet_id] = message
        self._write(self._packet_id, message, is_duplicate=False)

    def _write(self, packet_id: int, message: DeviceMessage, *, is_duplicate: bool) -> None:
        packet = mqtt5.PublishPacket(
            message.topic,
            message.payload,
            qos=mqtt5.QoS.AT_LEAST_ONCE,
            retain=message.retain,
            packet_id=packet_id,
            duplicate=is_duplicate,
            content_type=message.content_type,
            user_properties=list(message.user_properties),
        )
        self._unsent += packet.write()

    def _turn(self, timeout_s: float) -> None:
        try:
            if self._socket is None:
                self._socket_lost()
                self.connect()
            self._exchange(timeout_s)
        except OSError:  # A refused connection as well: the broker may be starting.
            self._socket_lost()
            self._give_up.wait(_RECONNECT_EVERY_S)

    def _socket_lost(self) -> None:
        self._is_accepted = False
        opened, self._socket = self._socket, None
        if opened is not None:
            opened.close()

    def _exchange(self, timeout_s: float) -> None:
        while True:
            opened = self._socket
            assert opened is not None, "not connected"
            self._flush(opened)
            writable = [opened] if self._unsent else []
            readable, _, _ = select.select([opened], writable, [], timeout_s)
            if readable:
                self._read(opened)
            if len(self._unsent) < _WAITING_BYTES_MAX or self._give_up.is_set():
                return

    def _flush(self, opened: socket.socket) -> None:
        while self._unsent:
            try:
                sent = opened.send(self._unsent[:_READ_BYTES])
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            del self._unsent[:sent]

    def _read(self, opened: socket.socket) -> None:
        while True:
            try:
                data = opened.recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            if not data:
                raise ConnectionResetError("closed by the MQTT broker")
            self._take(self._unread + data)
            if self._tls is None or not isinstance(opened, ssl.SSLSocket) or not opened.pending():
                return

    def _take(self, data: bytes) -> None:
        view, offset = memoryview(data), 0
        while offset < len(data):
            try:
                packet, size = mqtt5.read(view[offset:])
            except IndexError:
                break
            offset += size
            if isinstance(packet, mqtt5.PubAckPacket):
                self._answered(packet.packet_id, int(packet.reason_code))
        self._unread = data[offset:]
