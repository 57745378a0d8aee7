"""What the hostile tests stand on: bridges as processes, their events awaited beside the broker."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support.bridge_process import BridgeProcess, Event
from tests.support.devices import telemetry
from tests.support.hostile_broker import DEADLINE_S, HostileBroker, publish
from tests.support.in_process_kafka import InProcessKafka
from tests.support.kafka_client import ConsumedRecord

PATIENCE_S = 15.0
"""A patient back-off is drawn between half of the ceiling and the ceiling, 30 s."""
FIRST_DELAY_MAX_S = 0.75
"""The first delay is drawn up to three times the smallest."""
SERVER_KEEP_ALIVE_1_S = b"\x13\x00\x01"
"""The CONNACK property; with it the bridge pings each second."""


class HostileBridge(BridgeProcess):
    """A bridge whose waits leave the event loop to the hostile broker."""

    async def event(self, name: str, *, count: int = 1, **fields: object) -> Event:
        """Wait for a log event; return it."""
        return await asyncio.to_thread(
            lambda: self.wait_for_event(name, deadline_s=DEADLINE_S, count=count, **fields)
        )

    async def ready(self) -> None:
        """Wait until the bridge is ready."""
        await asyncio.to_thread(self.wait_ready)

    async def sample(self, name: str, **labels: str) -> float:
        """Read one metric."""
        return await asyncio.to_thread(self.metric, name, **labels)

    async def reaches(self, number: float, name: str, **labels: str) -> None:
        """Wait until a metric has at least this value."""
        seen = -1.0
        async with asyncio.timeout(DEADLINE_S):
            while seen < number:
                seen = await self.sample(name, **labels)

    def ask_to_stop(self) -> None:
        """SIGTERM, without waiting for what it leads to."""
        self.send_signal(signal.SIGTERM)

    async def stopped(self) -> int:
        """SIGTERM; return the exit code."""
        return await asyncio.to_thread(self.stop)


class Bench:
    """Brokers, bridges and topics of one test."""

    def __init__(self, directory: Path, kafka: InProcessKafka, name: Callable[[str], str]) -> None:
        self.kafka = kafka
        self.telemetry_topic = name("raw")
        self.dead_letter_topic = name("dlq")
        self.gap_topic = name("gaps")
        self._directory = directory
        self._bridges: list[HostileBridge] = []
        self._brokers: list[HostileBroker] = []

    async def broker(self) -> HostileBroker:
        """Start one more hostile broker."""
        broker = HostileBroker()
        self._brokers.append(broker)
        await broker.start()
        return broker

    def bridge(
        self,
        broker: HostileBroker,
        *,
        kafka: InProcessKafka | None = None,
        bootstrap: str | None = None,
        routes: Sequence[tuple[str, str]] = (),
        priorities: Sequence[str] = (),
        shutdown: dict[str, Any] | None = None,
        dedup: dict[str, Any] | None = None,
        spool: dict[str, Any] | None = None,
        linger_ms: int = 0,
        **mqtt: object,
    ) -> HostileBridge:
        """Start a bridge between this broker and Kafka; `routes` are filters and Kafka topics.

        `priorities` are those of the routes; `bootstrap` leads to Kafka in another way; with
        `linger_ms` what is produced in so long is one batch.
        """
        pairs = routes or [("devices/+/telemetry", self.telemetry_topic)]
        config: dict[str, Any] = {
            "mqtt": {"port": broker.port, **mqtt},
            "kafka": {
                "bootstrap_servers": bootstrap or (kafka or self.kafka).bootstrap,
                "properties": {
                    "reconnect.backoff.ms": 20,
                    "reconnect.backoff.max.ms": 100,
                    "linger.ms": linger_ms,
                },
            },
            "route": [
                {"filter": each, "kafka_topic": topic, "priority": priority}
                for (each, topic), priority in zip(
                    pairs, priorities or ["medium"] * len(pairs), strict=True
                )
            ],
            "dead_letter": {"kafka_topic": self.dead_letter_topic},
            "gaps": {"kafka_topic": self.gap_topic},
            "shutdown": shutdown or {},
            "dedup": dedup or {},
            "spool": spool or {},
        }
        bridge = HostileBridge(self._directory / f"bridge-{len(self._bridges)}", config)
        self._bridges.append(bridge)
        bridge.start()
        return bridge

    async def records(
        self, count: int, *, kafka_topic: str | None = None, kafka: InProcessKafka | None = None
    ) -> list[ConsumedRecord]:
        """Read a topic until it has so many records; more are returned too."""
        client = (kafka or self.kafka).client
        topic = kafka_topic or self.telemetry_topic
        return await asyncio.to_thread(client.consume_all, topic, until=count)

    async def close(self) -> None:
        """Kill every bridge, close every broker."""
        for bridge in self._bridges:
            bridge.kill()
        for broker in self._brokers:
            await broker.close()


def good(packet_id: int, device_id: str = "device-1", *, room: str = "devices") -> bytes:
    """Encode the PUBLISH of a good message; its sequence is its packet id."""
    message = telemetry(device_id, packet_id)
    return publish(f"{room}/{device_id}/telemetry", message.payload, packet_id=packet_id)


async def in_flight(bridge: HostileBridge, count: int) -> None:
    """Wait until exactly so many messages are unsettled."""
    await bridge.reaches(count, "bridge_messages_in_flight")
