"""The baseline: the ingestion guide's shape, as a careful person writes it in an afternoon.

aiomqtt with a persistent session, `async for`, json, checks, the server's fields, two headers,
`produce` with a delivery callback, `poll(0)`, a dead letter topic. Receive maximum, producer
configuration (`terms.py`) and event loop are the bridge's own, but for the linger, which is
librdkafka's own (`baseline_prompt.py` has the bridge's). What it does not do: aiomqtt sends each
PUBACK when the message enters its queue, so Kafka may never get what the MQTT broker has already
forgotten.
"""

import asyncio
import json
import logging
import os
import re
import signal
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Final

import aiomqtt
from confluent_kafka import KafkaError, Message, Producer
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from benchmarks.terms import (
    KEEP_ALIVE_S,
    RECEIVE_MAXIMUM,
    SESSION_EXPIRY_S,
    TOPIC_FILTER,
    Terms,
)
from bridge.runtime.event_loop import choose_loop

_LOGGER: Final = logging.getLogger("baseline")
_DEVICE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FUTURE_MAX_S: Final = 300
_AGE_MAX_S: Final = 604_800
_FLUSH_S: Final = 10
LINGER_MS: Final = 5
"""librdkafka's own."""


class Ingestion:
    """Takes messages from aiomqtt, checks and enriches them, and produces them to Kafka."""

    def __init__(self, terms: Terms, linger_ms: int) -> None:
        self._terms = terms
        self._producer = Producer({**terms.producer_properties(), "linger.ms": linger_ms})
        self._failed = 0

    async def run(self) -> None:
        """Ingest until cancelled."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = SESSION_EXPIRY_S
        properties.ReceiveMaximum = RECEIVE_MAXIMUM
        async with aiomqtt.Client(
            "127.0.0.1",
            self._terms.mqtt_port,
            identifier=self._terms.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=False,
            keepalive=KEEP_ALIVE_S,
            properties=properties,
        ) as client:
            await client.subscribe(TOPIC_FILTER, qos=1)
            async for message in client.messages:
                payload = message.payload
                assert isinstance(payload, bytes), "aiomqtt gives PUBLISH payloads as bytes"
                self.ingest(str(message.topic), payload)

    def ingest(self, mqtt_topic: str, payload: bytes) -> None:
        """Turn one message into a telemetry record, or into a dead letter."""
        received_at = datetime.now(UTC)
        device_id = mqtt_topic.split("/")[1]
        try:
            message = json.loads(payload)
            measured_at = validate(message, device_id, received_at)
        except (ValueError, RecursionError) as error:
            self._produce(
                self._terms.dead_letter_topic, device_id, payload, [("dlq.detail", str(error))]
            )
            return
        message["server_received_at"] = received_at.isoformat(timespec="microseconds")
        message["time_drift_seconds"] = (received_at - measured_at).total_seconds()
        message["device_id"] = device_id
        digest = blake2b(payload, digest_size=8).hexdigest()
        self._produce(
            self._terms.kafka_topic,
            device_id,
            json.dumps(message).encode(),
            [
                ("content-type", "application/json"),
                ("idempotency-key", f"{device_id}:{message['timestamp']}:{digest}"),
            ],
        )

    def _produce(
        self, kafka_topic: str, key: str, value: bytes, headers: list[tuple[str, str]]
    ) -> None:
        while True:
            try:
                self._producer.produce(
                    kafka_topic,
                    value=value,
                    key=key,
                    headers=headers,  # type: ignore[arg-type]  # list is invariant
                    on_delivery=self._on_delivery,
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                break
        self._producer.poll(0)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self._failed += 1
            _LOGGER.error("not delivered to %s: %s", message.topic(), error)

    def close(self) -> None:
        """Wait for what is still under way."""
        left = self._producer.flush(_FLUSH_S)
        _LOGGER.info("stopped, %d not delivered, %d failed", left, self._failed)


def validate(message: Any, device_id: str, received_at: datetime) -> datetime:  # noqa: ANN401
    """Check a message and return when it was measured.

    Raises:
        ValueError: What is wrong with it.
    """
    if not isinstance(message, dict):
        raise ValueError("message is not an object")  # noqa: TRY004 - every refusal is one kind
    for field in ("device_id", "timestamp", "metrics"):
        if field not in message:
            raise ValueError(f"{field} is missing")
    if not isinstance(message["device_id"], str) or not _DEVICE_ID.fullmatch(message["device_id"]):
        raise ValueError("device_id is not valid")
    if message["device_id"] != device_id:
        raise ValueError("device_id is not that of the topic")
    if not isinstance(message["timestamp"], str):
        raise ValueError("timestamp is not a string")  # noqa: TRY004
    measured_at = datetime.fromisoformat(message["timestamp"])
    if measured_at.tzinfo is None:
        measured_at = measured_at.replace(tzinfo=UTC)
    age_s = (received_at - measured_at).total_seconds()
    if not -_FUTURE_MAX_S <= age_s <= _AGE_MAX_S:
        raise ValueError("timestamp is too far from now")
    if not isinstance(message["metrics"], dict) or not message["metrics"]:
        raise ValueError("metrics is not an object with entries")
    return measured_at


async def main(linger_ms: int = LINGER_MS) -> None:
    """Run until SIGTERM."""
    logging.basicConfig(level=logging.INFO)
    ingestion = Ingestion(Terms.from_arguments(), linger_ms)
    task = asyncio.create_task(ingestion.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        ingestion.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=choose_loop(os.environ)) as runner:
        runner.run(main())
