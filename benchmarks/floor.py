"""The floor: the steps that nothing in Python can leave out, and not one more.

mqtt5 reads PUBLISHes from an `asyncio.Protocol`, PUBACKs are joined per socket read, msgspec
decodes and encodes, librdkafka gets the record with the same two headers, its delivery reports are
counted. No validation, no enrichment, no metrics, and PUBACKs do not wait for Kafka: a line to
measure by, not a program to run.
"""

import asyncio
import os
import struct
from functools import partial
from hashlib import blake2b
from typing import Final, cast

import mqtt5
from confluent_kafka import KafkaError, Message, Producer
from msgspec import json

from benchmarks.terms import (
    KEEP_ALIVE_S,
    RECEIVE_MAXIMUM,
    SESSION_EXPIRY_S,
    TOPIC_FILTER,
    UNSETTLED_MAX,
    Terms,
)
from bridge.runtime.event_loop import choose_loop

_POLL_S: Final = 0.001
_DECODE: Final = json.Decoder().decode
_ENCODE: Final = json.Encoder().encode


class Floor(asyncio.Protocol):
    """One connection: what is read is produced, and acknowledged at once."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._producer = Producer(terms.producer_properties())
        self._produce = partial(self._producer.produce, terms.kafka_topic)
        self._owed = 0
        self._pending = b""
        self._is_paused = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send CONNECT and SUBSCRIBE."""
        # uvloop's transports do not derive from asyncio's.
        self._transport = transport = cast("asyncio.Transport", transport)
        connect = mqtt5.ConnectPacket(
            self._terms.client_id,
            clean_start=False,
            session_expiry_interval=SESSION_EXPIRY_S,
            receive_max=RECEIVE_MAXIMUM,
            keep_alive=KEEP_ALIVE_S,
        )
        topic_filter = mqtt5.TopicFilter(TOPIC_FILTER, max_qos=mqtt5.QoS.AT_LEAST_ONCE)
        transport.write(connect.write() + mqtt5.SubscribePacket(1, [topic_filter]).write())

    def data_received(self, data: bytes) -> None:
        """Produce every PUBLISH in it and acknowledge them together."""
        assert self._transport is not None
        data = self._pending + data
        view = memoryview(data)
        offset, end = 0, len(data)
        pubacks: list[int] = []
        produce, read, on_delivery = self._produce, mqtt5.read, self._on_delivery
        while offset < end:
            try:
                packet, size = read(view[offset:])
            except IndexError:
                break
            offset += size
            if type(packet) is not mqtt5.PublishPacket or packet.packet_id is None:
                continue
            payload = packet.payload
            message = _DECODE(payload)
            device_id = packet.topic.split("/")[1]
            digest = blake2b(payload, digest_size=8).hexdigest()
            produce(
                value=_ENCODE(message),
                key=device_id,
                on_delivery=on_delivery,
                headers=[
                    ("content-type", b"application/json"),
                    ("idempotency-key", f"{device_id}:{message['timestamp']}:{digest}"),
                ],
            )
            pubacks.append(0x40020000 | packet.packet_id)
        self._pending = data[offset:]
        if pubacks:
            self._owed += len(pubacks)
            self._transport.write(struct.pack(f">{len(pubacks)}I", *pubacks))
        self._producer.poll(0)
        if self._owed > UNSETTLED_MAX and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _on_delivery(self, error: KafkaError | None, _: Message) -> None:
        assert error is None, error
        self._owed -= 1

    async def serve(self) -> None:
        """Ask for delivery reports while something is owed, and read on below the bound."""
        assert self._transport is not None
        while True:
            await asyncio.sleep(_POLL_S if self._owed else 20 * _POLL_S)
            self._producer.poll(0)
            if self._is_paused and self._owed <= UNSETTLED_MAX // 2:
                self._is_paused = False
                self._transport.resume_reading()


async def main() -> None:
    """Run until killed."""
    terms = Terms.from_arguments()
    loop = asyncio.get_running_loop()
    _, floor = await loop.create_connection(lambda: Floor(terms), "127.0.0.1", terms.mqtt_port)
    await floor.serve()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=choose_loop(os.environ)) as runner:
        runner.run(main())
