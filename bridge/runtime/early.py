"""What came before it was known what Kafka has: kept as packets, judged piece by piece later."""

from collections import deque

from bridge.kafka.record import Instant
from bridge.kafka.shipment import Unsettled
from bridge.mqtt.events import Received


class Early:
    """PUBLISHes that wait to be judged, in the order in which they came.

    A packet may become a thousand records, so what waits and what is judged have the bounds of
    `mqtt.unsettled_*` each for itself: the packets at first, and then the records, not all of
    them at once. Reading pauses by the sum of both.
    """

    def __init__(self, unsettled: Unsettled) -> None:
        self.is_kept = True
        """Nothing is judged yet; set to False as soon as it can be."""
        self._unsettled = unsettled
        self._waiting: deque[tuple[Received, Instant]] = deque()
        self._packets = 0
        self._bytes = 0

    @property
    def is_waiting(self) -> bool:
        """True while what comes has to wait: behind others, or for what Kafka has."""
        return self.is_kept or bool(self._waiting)

    @property
    def is_due(self) -> bool:
        """True while something waits that may be judged."""
        return not self.is_kept and bool(self._waiting)

    @property
    def has_room(self) -> bool:
        """True while what was judged already leaves room for more."""
        return (
            self._unsettled.records - self._packets < self._unsettled.records_max
            and self._unsettled.bytes - self._bytes < self._unsettled.bytes_max
        )

    def put(self, received: Received, at: Instant) -> None:
        """Keep the PUBLISHes of one socket read."""
        self._waiting.append((received, at))
        self._count(1, received)

    def pop(self) -> tuple[Received, Instant]:
        """Hand out what has waited longest; `IndexError` where nothing waits."""
        received, at = self._waiting.popleft()
        self._count(-1, received)
        return received, at

    def forget(self) -> None:
        """Leave all that waits to the MQTT broker, which was not told that it is safe."""
        self._waiting.clear()
        self._unsettled.release(self._packets, self._bytes)
        self._packets = self._bytes = 0

    def _count(self, sign: int, received: Received) -> None:
        packets = sign * len(received.packets)
        size_bytes = sign * sum(len(each.payload) for each in received.packets)
        self._packets += packets
        self._bytes += size_bytes
        self._unsettled.take(packets, size_bytes)
