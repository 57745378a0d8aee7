"""Where the load of the shedding benchmark comes from: a real MQTT broker, or a strict one."""

import abc
import asyncio
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from tests.support.hostile_broker import HostileBroker
from tests.support.lean_publisher import LeanPublisher
from tests.support.mosquitto import MosquittoProcess
from tests.support.priorities import PRIORITIES, speak
from tests.support.strict_queue import Speaker, StrictQueue

RECEIVE_MAXIMUM: Final = 2_000
_ORDER_S: Final = 60.0

Answer = TypeVar("Answer")


class Source(abc.ABC):
    """An MQTT broker at `port`, and devices of each priority that publish to it."""

    port: int

    @abc.abstractmethod
    def __init__(self, directory: Path) -> None:
        """Listen."""

    @abc.abstractmethod
    def connect(self, devices: int) -> None:
        """Have the bridge, which is starting, and so many devices of each priority connected."""

    @abc.abstractmethod
    def speak(self, rates: Mapping[str, float], *, messages_each: int | None = None) -> None:
        """Publish at these rates by priority, until `silence` or up to so many messages each."""

    @abc.abstractmethod
    def silence(self) -> Mapping[str, int]:
        """Publish nothing more; return how many there were since `speak`, by priority."""

    @abc.abstractmethod
    def close(self) -> None:
        """End it."""


class MosquittoSource(Source):
    """A real Mosquitto, and a connection for the devices of each priority."""

    def __init__(self, directory: Path) -> None:
        self._mosquitto = MosquittoProcess(directory / "mosquitto")
        self._mosquitto.start()
        self.port = self._mosquitto.port
        self._publishers: dict[str, LeanPublisher] = {}
        self._devices = 0
        self._before: dict[str, int] = {}

    def connect(self, devices: int) -> None:
        """Connect the devices; the bridge connects by itself."""
        self._devices = devices
        for priority in PRIORITIES:
            self._publishers[priority] = LeanPublisher(self.port)
            self._publishers[priority].connect()

    def speak(self, rates: Mapping[str, float], *, messages_each: int | None = None) -> None:
        """Publish beside the caller."""
        for priority, publisher in self._publishers.items():
            sent = self._before[priority] = len(publisher.ledger.sent)
            publisher.start(
                speak(priority, self._devices, messages_each, first=sent),
                rate_per_s=rates[priority],
            )

    def silence(self) -> Mapping[str, int]:
        """Stop, and wait for Mosquitto's PUBACKs."""
        return {
            priority: len(publisher.stop(_ORDER_S).sent) - self._before[priority]
            for priority, publisher in self._publishers.items()
        }

    def close(self) -> None:
        """Disconnect everybody."""
        for publisher in self._publishers.values():
            publisher.close()
        self._mosquitto.kill()


class HostileSource(Source):
    """A broker in this process that never has more open than Receive Maximum allows."""

    def __init__(self, directory: Path) -> None:
        del directory
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="broker", daemon=True)
        self._thread.start()
        self._broker = HostileBroker()
        self._order(self._broker.start())
        self.port = self._broker.port
        self._queue: StrictQueue | None = None
        self._devices = 0
        self._said = dict.fromkeys(PRIORITIES, 0)
        self._speakers: dict[str, Speaker] = {}

    def connect(self, devices: int) -> None:
        """Wait for the bridge, and open the session."""
        self._devices = devices
        self._order(self._accept())

    async def _accept(self) -> None:
        self._queue = StrictQueue(await self._broker.accept(), RECEIVE_MAXIMUM)

    def speak(self, rates: Mapping[str, float], *, messages_each: int | None = None) -> None:
        """Publish beside the caller."""

        async def begin() -> None:
            assert self._queue is not None, "not connected"
            for priority in PRIORITIES:
                said = self._said[priority]
                messages = speak(priority, self._devices, messages_each, first=said)
                speaker = Speaker(self._queue, messages, rates[priority])
                self._speakers[priority] = speaker.start()

        self._order(begin())

    def silence(self) -> Mapping[str, int]:
        """Stop; what was published stands in the queue."""

        async def end() -> dict[str, int]:
            for speaker in self._speakers.values():
                speaker.stop()
            return {name: len(each.ledger.sent) for name, each in self._speakers.items()}

        counts = self._order(end())
        for name, count in counts.items():
            self._said[name] += count
        return counts

    def close(self) -> None:
        """Close the broker and end its thread."""
        self._order(self._broker.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_ORDER_S)
        self._loop.close()

    def _order(self, order: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(order, self._loop).result(_ORDER_S)
