"""What came before it was known what Kafka has: kept as packets, judged piece by piece later."""

from collections import deque
from typing import Final

from bridge.kafka.record import Instant
from bridge.kafka.shipment import OBJECTS_BYTES, Unsettled
from bridge.mqtt.events import Received
from bridge.mqtt.packets import Inbound, PoisonPublish

PROPERTY_BYTES: Final = 200
"""What a User Property takes besides its characters: two strings, a tuple, a place in a list."""


class Early:
    """PUBLISHes that wait to be judged, in the order in which they came.

    They have the bounds of `mqtt.unsettled_*` for themselves: nothing of them was handed to Kafka
    or to the disk, so they are no load there. A packet may become a thousand records; so they are
    judged only as far as those leave room under the same bounds.
    """

    def __init__(self, unsettled: Unsettled) -> None:
        self.is_kept = True
        """Nothing is judged yet; set to False as soon as it can be."""
        self.held = Unsettled(unsettled.records_max, unsettled.bytes_max)
        """Packets, and what they take in memory."""
        self._waiting: deque[tuple[Received, Instant]] = deque()

    @property
    def is_waiting(self) -> bool:
        """True while what comes has to wait: behind others, or for what Kafka has."""
        return self.is_kept or bool(self._waiting)

    @property
    def is_due(self) -> bool:
        """True while something waits that may be judged."""
        return not self.is_kept and bool(self._waiting)

    @property
    def oldest_received_s(self) -> float | None:
        """Tell when, on the monotonic clock, the oldest that waits was received."""
        return self._waiting[0][1].monotonic_s if self._waiting else None

    def put(self, received: Received, at: Instant) -> None:
        """Keep the PUBLISHes of one socket read."""
        self._waiting.append((received, at))
        self.held.take(len(received.packets), _memory_bytes(received))

    def pop(self) -> tuple[Received, Instant]:
        """Hand out what has waited longest; `IndexError` where nothing waits."""
        received, at = self._waiting.popleft()
        self.held.release(len(received.packets), _memory_bytes(received))
        return received, at

    def forget(self) -> None:
        """Leave all that waits to the MQTT broker, which was not told that it is safe."""
        self._waiting.clear()
        self.held.release(self.held.records, self.held.bytes)


def _memory_bytes(received: Received) -> int:
    return sum(map(_memory_bytes_of, received.packets))


def _memory_bytes_of(packet: Inbound) -> int:
    size_bytes = len(packet.payload) + OBJECTS_BYTES
    if not isinstance(packet, PoisonPublish) and packet.user_properties:
        size_bytes += sum(
            len(name) + len(value) + PROPERTY_BYTES for name, value in packet.user_properties
        )
    return size_bytes
