"""An MQTT 5 broker that says what the test tells it to, and remembers what the bridge said.

Theory of operation. The broker decides nothing. Each Network Connection that the bridge makes is
handed to the test by `next_connection`; the test writes bytes, right or wrong, and waits for
packets. Everything that comes is captured in its order, so a test can say "no PUBACK before that
PINGREQ" without looking at a clock. `MqttSession` is the one part with behaviour of its own: the
queue of a persistent session, which sends again what was not acknowledged.
"""

import asyncio
import itertools
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar

import mqtt5
import msgspec

from tests.support.eventually import NeverHappenedError

Packet = TypeVar("Packet", bound=mqtt5.Packet)
Where: TypeAlias = Callable[[Any], object]

DEADLINE_S: Final = 30.0
"""Generous: a loaded machine is slow, and nothing here waits that long when all is well."""

_READ_BYTES: Final = 65_536
_DUP: Final = 0x08
_PUBLISH_QOS_1: Final = 0x32

PINGRESP: Final = b"\xd0\x00"


# ---------------------------------------------------------------------------------- bytes to say


def variable_byte_integer(number: int) -> bytes:
    """Encode a length as MQTT does [MQTT 1.5.5]."""
    encoded = bytearray()
    while True:
        number, byte = number >> 7, number & 0x7F
        encoded.append(byte | (0x80 if number else 0))
        if not number:
            return bytes(encoded)


def string(text: str | bytes) -> bytes:
    """Encode a UTF-8 String, well-formed or not [MQTT 1.5.4]."""
    encoded = text.encode() if isinstance(text, str) else text
    return len(encoded).to_bytes(2, "big") + encoded


def user_property(name: str | bytes, value: str | bytes) -> bytes:
    """Encode one User Property."""
    return b"\x26" + string(name) + string(value)


def publish(
    topic: str | bytes,
    payload: bytes = b"",
    *,
    packet_id: int | None,
    first: int = _PUBLISH_QOS_1,
    properties: bytes = b"",
    properties_bytes: int | None = None,
) -> bytes:
    """Encode a PUBLISH by hand; `properties_bytes` lies about the length of the properties."""
    if properties_bytes is None:
        properties_bytes = len(properties)
    head = string(topic)
    if packet_id is not None:
        head += packet_id.to_bytes(2, "big")
    head += variable_byte_integer(properties_bytes) + properties
    return bytes([first]) + variable_byte_integer(len(head) + len(payload)) + head + payload


def publish_qos0(topic: str, payload: bytes) -> bytes:
    """Encode a PUBLISH with QoS 0."""
    return publish(topic, payload, packet_id=None, first=0x30)


def duplicate(frame: bytes) -> bytes:
    """Return the same PUBLISH with DUP=1."""
    return bytes([frame[0] | _DUP]) + frame[1:]


def connack(
    reason_code: int = 0, *, session_present: bool = False, properties: bytes = b""
) -> bytes:
    """Encode CONNACK by hand; `properties` are their bytes without the length."""
    body = bytes([session_present, reason_code]) + variable_byte_integer(len(properties))
    return b"\x20" + variable_byte_integer(len(body) + len(properties)) + body + properties


def suback(packet_id: int, reason_codes: Sequence[int] = (1,)) -> bytes:
    """Encode SUBACK."""
    body = packet_id.to_bytes(2, "big") + b"\x00" + bytes(reason_codes)
    return b"\x90" + variable_byte_integer(len(body)) + body


def puback(packet_id: int) -> bytes:
    """Encode PUBACK Success."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


def disconnect(reason_code: int, *, properties: bytes = b"") -> bytes:
    """Encode DISCONNECT by hand."""
    body = bytes([reason_code]) + variable_byte_integer(len(properties)) + properties
    return b"\xe0" + variable_byte_integer(len(body)) + body


# ---------------------------------------------------------------------------------- the capture


class Captured(msgspec.Struct, frozen=True):
    """One packet that the bridge sent."""

    at_s: float
    """On the monotonic clock, when the bytes were read."""
    packet: mqtt5.Packet
    frame: bytes


class BrokerConnection:
    """The broker's end of one Network Connection."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.accepted_s = time.monotonic()
        self.captured: list[Captured] = []
        self.is_ended = False
        """The bridge closed the connection, or it was cut."""
        self.is_reset = False
        """It ended with a TCP reset: what the bridge wrote last may be lost."""
        self.closed_s: float | None = None
        """When this side closed it."""
        self.on_packet: Callable[[mqtt5.Packet], None] | None = None
        self.answers_pings = True
        self._reader = reader
        self._writer = writer
        self._changed = asyncio.Condition()
        self._is_read = asyncio.Event()
        self._is_read.set()

    async def read_until_end(self) -> None:
        """Capture what comes until the connection ends."""
        pending = b""
        try:
            while data := await self._reader.read(_READ_BYTES):
                await self._is_read.wait()
                pending = self._capture(pending + data)
                await self._tell()
        except OSError:
            self.is_reset = True
        self.is_ended = True
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def _capture(self, data: bytes) -> bytes:
        now = time.monotonic()
        offset = 0
        while offset < len(data):
            try:
                packet, size = mqtt5.read(memoryview(data)[offset:])
            except IndexError:
                break
            self.captured.append(Captured(now, packet, data[offset : offset + size]))
            if isinstance(packet, mqtt5.PingReqPacket) and self.answers_pings:
                self.say(PINGRESP)
            if self.on_packet is not None:
                self.on_packet(packet)
            offset += size
        return data[offset:]

    # ------------------------------------------------------------------ what came

    @property
    def packets(self) -> list[mqtt5.Packet]:
        """Return everything that came, in order."""
        return [each.packet for each in self.captured]

    def all_of(self, kind: type[Packet]) -> list[Packet]:
        """Return the packets of this type, in order."""
        return [each.packet for each in self.captured if isinstance(each.packet, kind)]

    @property
    def acknowledged(self) -> list[int]:
        """Return the Packet Identifiers of all PUBACKs, in order."""
        return [each.packet_id for each in self.all_of(mqtt5.PubAckPacket)]

    @property
    def statuses(self) -> list[bytes]:
        """Return the payloads that the bridge published, in order."""
        return [each.payload for each in self.all_of(mqtt5.PublishPacket)]

    async def wait_for(
        self, kind: type[Packet], *, count: int = 1, where: Where | None = None
    ) -> Packet:
        """Wait until so many packets of this type came; return the last of them.

        Raises:
            NeverHappenedError: the connection ended or the deadline passed first.
        """

        def found() -> list[Packet]:
            return [each for each in self.all_of(kind) if where is None or where(each)]

        await self._wait(lambda: len(found()) >= count, f"{count} {kind.__name__}")
        return found()[count - 1]

    async def wait_acknowledged(self, count: int) -> list[int]:
        """Wait until so many PUBACKs came; return their Packet Identifiers in order."""
        await self.wait_for(mqtt5.PubAckPacket, count=count)
        return self.acknowledged

    async def wait_ended(self) -> None:
        """Wait until the bridge closes the connection."""
        await self._wait(lambda: self.is_ended, "end of the connection", may_end=True)

    async def _wait(self, holds: Callable[[], bool], what: str, *, may_end: bool = False) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(DEADLINE_S), self._changed:
                await self._changed.wait_for(lambda: holds() or (self.is_ended and not may_end))
        if not holds():
            names = [type(each).__name__ for each in self.packets]
            end = "the connection ended" if self.is_ended else f"not within {DEADLINE_S} s"
            raise NeverHappenedError(
                f"connection {self.number}: {what}: {end};"
                f" {len(names)} packets came, the last: {names[-10:]}"
            )

    # ------------------------------------------------------------------ what is said

    def say(self, data: bytes) -> None:
        """Write these bytes; a connection that is gone swallows them."""
        if not self._writer.is_closing():
            self._writer.write(data)

    async def say_all(self, pieces: Iterable[bytes]) -> None:
        """Write piece by piece, waiting for room in the socket."""
        for piece in pieces:
            self.say(piece)
            with suppress(OSError):
                await self._writer.drain()

    async def say_in_segments(self, data: bytes, cuts: Iterable[int]) -> None:
        """Write `data` cut at these offsets, each piece in a TCP segment of its own."""
        offsets = [0, *cuts, len(data)]
        stream = self._writer.transport.get_extra_info("socket")
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for start, end in itertools.pairwise(offsets):
            self.say(data[start:end])
            # The write above went to the kernel at once; a turn of the loop lets a reader run.
            await asyncio.sleep(0)

    async def greet(self, answer: bytes | None = None) -> mqtt5.ConnectPacket:
        """Wait for CONNECT and answer it, with a plain CONNACK unless told otherwise."""
        connect = await self.wait_for(mqtt5.ConnectPacket)
        self.say(connack() if answer is None else answer)
        return connect

    async def accept(self, answer: bytes | None = None) -> None:
        """Answer CONNECT, SUBSCRIBE and `online` as a good broker does."""
        await self.greet(answer)
        subscribe = await self.wait_for(mqtt5.SubscribePacket)
        self.say(suback(subscribe.packet_id, [1] * len(subscribe.topic_filters)))
        online = await self.wait_for(mqtt5.PublishPacket)
        if online.packet_id is not None:
            self.say(puback(online.packet_id))

    def stop_reading(self) -> None:
        """Take nothing more from the socket."""
        self._is_read.clear()

    def read_on(self) -> None:
        """Take again what comes."""
        self._is_read.set()

    def close(self) -> None:
        """Close in an orderly way, without a word."""
        self.closed_s = time.monotonic()
        self._writer.close()

    def cut(self) -> None:
        """Cut the connection with a TCP reset."""
        self.closed_s = time.monotonic()
        stream = self._writer.transport.get_extra_info("socket")
        if stream is not None:
            with suppress(OSError):
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


class HostileBroker:
    """A listening port; the test answers each connection, first come first served."""

    def __init__(self) -> None:
        self.port = 0
        self.connections: list[BrokerConnection] = []
        self._handed_out = 0
        self._arrived = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._readers: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free loopback port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more and cut what is open."""
        if self._server is not None:
            self._server.close()
        for connection in self.connections:
            connection.read_on()
            connection.cut()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._readers.add(task)
        connection = BrokerConnection(len(self.connections) + 1, reader, writer)
        async with self._arrived:
            self.connections.append(connection)
            self._arrived.notify_all()
        await connection.read_until_end()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    async def next_connection(self) -> BrokerConnection:
        """Wait for the next connection that was not handed out yet."""
        try:
            async with asyncio.timeout(2 * DEADLINE_S), self._arrived:
                await self._arrived.wait_for(lambda: len(self.connections) > self._handed_out)
        except TimeoutError:
            raise NeverHappenedError(
                f"the bridge made {len(self.connections)} connections, one more was expected"
            ) from None
        connection = self.connections[self._handed_out]
        self._handed_out += 1
        return connection

    async def accept(self, answer: bytes | None = None) -> BrokerConnection:
        """Wait for the next connection and open the session on it."""
        connection = await self.next_connection()
        await connection.accept(answer)
        return connection


class MqttSession:
    """What a broker keeps for one client: it resends, in order, what was not acknowledged."""

    def __init__(self, frames: dict[int, bytes]) -> None:
        self.owed = deque(frames.items())
        """Packet Identifier and PUBLISH, oldest first."""
        self.acknowledged: list[int] = []
        self._is_sent: set[int] = set()

    async def serve_next(self, broker: HostileBroker) -> BrokerConnection:
        """Take the next connection, open the session on it and send everything that is owed."""
        connection = await broker.next_connection()
        connection.on_packet = self._take
        await connection.accept(connack(session_present=bool(self._is_sent)))
        frames = [
            duplicate(frame) if packet_id in self._is_sent else frame
            for packet_id, frame in self.owed
        ]
        self._is_sent.update(packet_id for packet_id, _ in self.owed)
        await connection.say_all(frames)
        return connection

    def _take(self, packet: mqtt5.Packet) -> None:
        if isinstance(packet, mqtt5.PubAckPacket):
            self.acknowledged.append(packet.packet_id)
            self.owed = deque(each for each in self.owed if each[0] != packet.packet_id)
