"""The backlog: a session that waits in Mosquitto, and a publisher fast enough to fill it."""

import asyncio
from collections.abc import Sequence
from typing import Final, TypeAlias, TypeVar

import mqtt5

from benchmarks.telemetry import Message
from benchmarks.terms import SESSION_EXPIRY_S, TOPIC_FILTER

Outgoing: TypeAlias = mqtt5.ConnectPacket | mqtt5.SubscribePacket | mqtt5.PublishPacket
Packet = TypeVar("Packet")

WINDOW: Final = 4_000
"""PUBLISHes that may await their PUBACK: keeps Mosquitto busy, stays far below 65,535 ids."""
_STEP: Final = 500
_PACKET_IDS: Final = 65_535
_ANSWER_S: Final = 30.0


async def fill(
    port: int,
    client_ids: Sequence[str],
    messages: Sequence[Message],
    *,
    topic_filter: str = TOPIC_FILTER,
) -> None:
    """Leave sessions of these clients behind, and in their queues all these messages.

    With a shared subscription they are dealt among the sessions, else each session has them all.

    Raises:
        RuntimeError: Mosquitto did not take every one of them.
        TimeoutError: Mosquitto fell silent.
    """
    for client_id in client_ids:
        async with asyncio.timeout(_ANSWER_S):
            subscriber = await _connect(port, client_id, session_expiry_s=SESSION_EXPIRY_S)
            subscriber.send(_subscribe(topic_filter))
            granted = await subscriber.receive(mqtt5.SubAckPacket)
            if granted.reason_codes != [mqtt5.SubAckReasonCode.GRANTED_QOS_AT_LEAST_ONCE]:
                raise RuntimeError(f"Mosquitto did not grant QoS 1: {granted}")
            subscriber.close()
    async with asyncio.timeout(_ANSWER_S):
        publisher = await _connect(port, "benchmark-publisher", session_expiry_s=0)
    await _publish(publisher, messages)
    publisher.close()


async def _connect(port: int, client_id: str, *, session_expiry_s: int) -> "_Connection":
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(_Connection, "127.0.0.1", port)
    connection.send(
        mqtt5.ConnectPacket(
            client_id, clean_start=False, session_expiry_interval=session_expiry_s, keep_alive=600
        )
    )
    answer = await connection.receive(mqtt5.ConnAckPacket)
    if answer.reason_code != mqtt5.ConnAckReasonCode.SUCCESS:
        raise RuntimeError(f"Mosquitto refused {client_id}: {answer}")
    return connection


async def _publish(publisher: "_Connection", messages: Sequence[Message]) -> None:
    sent = 0
    while publisher.acknowledged < len(messages):
        room = min(len(messages), publisher.acknowledged + WINDOW)
        for start in range(sent, room, _STEP):
            end = min(start + _STEP, room)
            publisher.send(*(_encode(number, messages[number]) for number in range(start, end)))
        sent = max(sent, room)
        async with asyncio.timeout(_ANSWER_S):
            await publisher.acknowledged_more()


def _encode(number: int, message: Message) -> mqtt5.PublishPacket:
    return mqtt5.PublishPacket(
        message.mqtt_topic,
        message.payload,
        qos=mqtt5.QoS.AT_LEAST_ONCE,
        packet_id=number % _PACKET_IDS + 1,
    )


def _subscribe(topic_filter: str) -> mqtt5.SubscribePacket:
    return mqtt5.SubscribePacket(
        1, [mqtt5.TopicFilter(topic_filter, max_qos=mqtt5.QoS.AT_LEAST_ONCE)]
    )


class _Connection(asyncio.Protocol):
    """A plain MQTT 5 connection: packets out, and PUBACKs counted."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self._transport: asyncio.Transport | None = None
        self._pending = b""
        self._answers: asyncio.Queue[object] = asyncio.Queue()
        self._news = asyncio.Event()
        self._failure: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits; after `close` nobody does."""
        self._fail(f"Mosquitto closed the connection: {exc}")

    def data_received(self, data: bytes) -> None:
        """Count PUBACKs, hand on the rest."""
        data = self._pending + data
        offset = 0
        while offset < len(data):
            try:
                packet, size = mqtt5.read(memoryview(data)[offset:])
            except IndexError:
                break
            offset += size
            if not isinstance(packet, mqtt5.PubAckPacket):
                self._answers.put_nowait(packet)
            elif packet.reason_code == mqtt5.PubAckReasonCode.SUCCESS:
                self.acknowledged += 1
            else:  # NO_MATCHING_SUBSCRIBERS too: then nothing was queued.
                self._fail(f"Mosquitto did not take a message: {packet.reason_code.name}")
        self._pending = data[offset:]
        self._news.set()

    def _fail(self, what: str) -> None:
        self._failure = self._failure or what
        self._answers.put_nowait(None)
        self._news.set()

    def send(self, *packets: Outgoing) -> None:
        """Write these packets at once."""
        assert self._transport is not None, "not connected"
        self._transport.write(b"".join(packet.write() for packet in packets))

    async def receive(self, kind: type[Packet]) -> Packet:
        """Wait for the next packet that is no PUBACK."""
        packet = await self._answers.get()
        if not isinstance(packet, kind):
            expected = f"Mosquitto answered {packet}, expected {kind.__name__}"
            raise RuntimeError(self._failure or expected)  # noqa: TRY004 - the peer's fault
        return packet

    async def acknowledged_more(self) -> None:
        """Wait until more PUBACKs came."""
        await self._news.wait()
        self._news.clear()
        if self._failure is not None:
            raise RuntimeError(self._failure)

    def close(self) -> None:
        """DISCONNECT, which keeps the session as long as its expiry says."""
        assert self._transport is not None, "not connected"
        self._transport.write(mqtt5.DisconnectPacket().write())
        self._transport.close()
