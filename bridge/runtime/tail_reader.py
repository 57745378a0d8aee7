"""Asking for the tail until it is there: patient, in a thread, told to the log."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from bridge.config.sections import BridgeConfig
from bridge.fleet.dedup_window import DedupWindow, Kind
from bridge.fleet.duplicates import Duplicates
from bridge.observe.log import EventLog
from bridge.runtime import clock
from bridge.runtime.kafka_producer import Properties
from bridge.runtime.kafka_tail import (
    Chunk,
    KafkaTail,
    TailForbiddenError,
    TailUnavailableError,
    Window,
)

RETRY_S: Final = 1.0


class TailReader:
    """Reads the tail again and again until it could be read, or may not be read at all."""

    def __init__(self, tail: KafkaTail, window: Window, *, quiet_s: float, log: EventLog) -> None:
        self._tail = tail
        self._window = window
        self._quiet_s = quiet_s
        self._log = log
        self._was_away = False
        self._thread = ThreadPoolExecutor(1, "kafka-tail")

    async def read_window(self) -> list[Chunk]:
        """Read what the dedup window should hold; nothing where it is off, or reading forbidden."""
        window = self._window
        if not window.keys_max:
            return []
        return await self._persist(
            "window",
            lambda: self._tail.read_window(window, quiet_s=self._quiet_s, was_away=self._was_away),
        )

    async def read_since(self, unix_ms: int) -> list[Chunk]:
        """Read what is not older than a moment; nothing where reading is forbidden."""
        return await self._persist(
            "rebuild", lambda: self._tail.read_since(unix_ms, quiet_s=self._quiet_s)
        )

    async def _persist(self, purpose: str, read: Callable[[], list[Chunk]]) -> list[Chunk]:
        loop = asyncio.get_running_loop()
        started_s = clock.monotonic_s()
        while True:
            try:
                chunks = await loop.run_in_executor(self._thread, read)
            except TailForbiddenError as error:
                self._log.emit(
                    "deduplication_not_durable",
                    error=str(error),
                    remedy="grant READ on the Kafka topics that the bridge writes",
                )
                return []
            except TailUnavailableError as error:
                self._was_away = True
                self._log.emit(
                    "kafka_tail_unavailable",
                    purpose=purpose,
                    error=str(error),
                    retry_in_s=RETRY_S,
                )
                await asyncio.sleep(RETRY_S)
                continue
            self._log.emit(
                "kafka_tail_read",
                purpose=purpose,
                keys=sum(len(each.split()) for each in chunks),
                took_s=round(clock.monotonic_s() - started_s, 3),
            )
            return chunks

    def close(self) -> None:
        """Let the thread end by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def make_duplicates(config: BridgeConfig) -> Duplicates:
    """Make the dedup window that the configuration asks for, empty."""
    window = _window_of(config)
    if not window.keys_max:
        return Duplicates(None)
    return Duplicates(
        DedupWindow(ttl_s=window.ttl_s, keys_max=window.keys_max, keys_min=window.keys_min)
    )


def make_tail_reader(config: BridgeConfig, properties: Properties, log: EventLog) -> TailReader:
    """Make the reader of every topic that the bridge writes."""
    topics = {each.kafka_topic: Kind.TELEMETRY for each in config.route}
    topics[config.dead_letter.kafka_topic] = Kind.DEAD_LETTER
    return TailReader(
        KafkaTail(properties, topics), _window_of(config), quiet_s=config.kafka.quiet_s, log=log
    )


def _window_of(config: BridgeConfig) -> Window:
    return Window(
        ttl_s=config.dedup.ttl_s,
        keys_max=config.dedup.keys_max,
        # What the MQTT broker may send again, and as much once more for what was just settled.
        keys_min=2 * config.mqtt.unsettled_max,
    )
