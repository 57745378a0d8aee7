"""A broker's queue for one client: first in, first out, and never more open than it may be.

What stands in the queue has its place there from the instant at which a device published it. The
queue runs on the event loop of its connection, and is fed by timers there.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Iterator
from typing import Final

import mqtt5

from tests.support.devices import DeviceMessage, Ledger
from tests.support.hostile_broker import BrokerConnection, publish

_PACKET_IDS: Final = 65_535
_TICK_S: Final = 0.005


class StrictQueue:
    """Sends while fewer than `receive_maximum` are unacknowledged [MQTT-3.3.4-9].

    A PUBACK out of the order of the PUBLISHes is kept in `violations` [MQTT-4.6.0-2].
    """

    def __init__(self, connection: BrokerConnection, receive_maximum: int) -> None:
        """Begin empty, on a connection that is accepted."""
        self.violations: list[str] = []
        self.open_most = 0
        """The most that ever was unacknowledged."""
        self.acknowledged = 0
        self._connection = connection
        self._receive_maximum = receive_maximum
        self._waiting: deque[DeviceMessage] = deque()
        self._open: deque[int] = deque()
        self._packet_id = 0
        connection.on_packet = self._take

    @property
    def owed(self) -> int:
        """Count what waits or is unacknowledged."""
        return len(self._waiting) + len(self._open)

    @property
    def waiting(self) -> int:
        """Count what the client has no room for."""
        return len(self._waiting)

    def offer(self, messages: list[DeviceMessage]) -> None:
        """Take what devices published, and send what the client has room for."""
        self._waiting += messages
        self._send()

    def _send(self) -> None:
        frames: list[bytes] = []
        while self._waiting and len(self._open) < self._receive_maximum:
            message = self._waiting.popleft()
            self._packet_id = self._packet_id % _PACKET_IDS + 1
            self._open.append(self._packet_id)
            frames.append(publish(message.topic, message.payload, packet_id=self._packet_id))
        self.open_most = max(self.open_most, len(self._open))
        if frames:
            self._connection.say(b"".join(frames))

    def _take(self, packet: mqtt5.Packet) -> None:
        if not isinstance(packet, mqtt5.PubAckPacket):
            return
        expected = self._open.popleft() if self._open else None
        if packet.packet_id != expected:
            self.violations.append(f"PUBACK {packet.packet_id}, the oldest open is {expected}")
        self.acknowledged += 1
        self._send()


class Speaker:
    """Devices that publish into a queue at a rate of their own, from `start` to `stop`."""

    def __init__(
        self, queue: StrictQueue, messages: Iterator[DeviceMessage], rate_per_s: float
    ) -> None:
        self.ledger = Ledger()
        """All that was published; the broker took it, so all of it is owed."""
        self._queue = queue
        self._messages = messages
        self._rate_per_s = rate_per_s
        self._loop = asyncio.get_running_loop()
        self._since_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> "Speaker":
        """Begin; returns itself."""
        self._since_s = self._loop.time()
        self._tick()
        return self

    def stop(self) -> None:
        """Publish nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        due = int((self._loop.time() - self._since_s) * self._rate_per_s)
        fresh = list(itertools.islice(self._messages, due - len(self.ledger.sent)))
        self.ledger.sent += fresh
        self.ledger.acknowledged += fresh
        self._queue.offer(fresh)
        self._timer = self._loop.call_later(_TICK_S, self._tick)
