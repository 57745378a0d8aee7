"""What the session does beside telemetry: canaries, the count of drops, and their packet ids."""

from collections.abc import Sequence
from typing import Final

from bridge.mqtt import broker_drops, codec
from bridge.mqtt.ack_ledger import AckLedger, Receipt
from bridge.mqtt.canary import Canary
from bridge.mqtt.events import (
    BrokerDropsReported,
    BrokerDropsUnreadable,
    CanaryRefused,
    Event,
    Received,
)

SUBSCRIBE_DROPS_ID: Final = 3
UNANSWERED_MAX: Final = 3
"""So many connections running ended before the broker answered this one SUBSCRIBE: a broker that
cuts the connection instead of refusing would never let us stay."""
_FIRST_ERROR: Final = 0x80
_RECEIVE_MAXIMUM_DEFAULT: Final = 65_535


class Errands:
    """Send and sift what is not telemetry, on one Network Connection after the other.

    Invariant: never more of our own QoS 1 PUBLISHes await their PUBACK than the broker's Receive
    Maximum allows [MQTT-3.3.4-9], and none uses a Packet Identifier that is still owed.
    """

    def __init__(self, canary: Canary | None) -> None:
        self.canary = canary
        self._owed: set[int] = set()
        """Packet Identifiers of ours that await their PUBACK."""
        self._receive_maximum = _RECEIVE_MAXIMUM_DEFAULT
        self._is_drops_asked = False
        self._is_drops_answered = False
        self._drops_unanswered = 0

    # ------------------------------------------------------------------ connection

    def begin_connection(self) -> None:
        """Start anew: what was owed on the last connection is owed no more."""
        self.end_connection()
        self._owed = set()
        self._receive_maximum = _RECEIVE_MAXIMUM_DEFAULT
        self._is_drops_answered = False
        if self.canary is not None:
            self.canary.begin_connection()

    def end_connection(self) -> None:
        """Note that the connection is gone; the canaries wait for the next."""
        if self._is_drops_asked and not self._is_drops_answered:
            self._drops_unanswered += 1
        self._is_drops_asked = False

    def change_filters(self, topic_filters: Sequence[str]) -> None:
        """Prove these filters from their SUBACK on, and no others."""
        if self.canary is not None:
            self.canary.change_filters(topic_filters)

    def accepted(self, packet: codec.ConnAck) -> None:
        """Note how many of our PUBLISHes this broker takes at a time."""
        self._receive_maximum = packet.receive_max

    def subscribed(self, granted: dict[str, int], now: float) -> bytes:
        """Begin the canaries of what is granted; return the SUBSCRIBE for the count of drops."""
        if self.canary is not None:
            self.canary.granted(tuple(granted), now)
        if self._is_drops_asked or self._drops_unanswered >= UNANSWERED_MAX:
            return b""
        self._is_drops_asked = True
        return codec.encode_subscribe_best_effort(SUBSCRIBE_DROPS_ID, broker_drops.MQTT_TOPIC)

    # ------------------------------------------------------------------ our own PUBLISHes

    def take_packet_id(self, packet_id: int) -> bool:
        """Take a Packet Identifier for a QoS 1 PUBLISH; False while it, or any room, is owed."""
        if packet_id in self._owed or len(self._owed) >= self._receive_maximum:
            return False
        self._owed.add(packet_id)
        return True

    def acknowledged(self, packet: codec.PubAck, now: float) -> list[Event]:
        """Take a PUBACK; that of a canary may say that it was refused."""
        self._owed.discard(packet.packet_id)
        code = int(packet.reason_code)
        if self.canary is None or code < _FIRST_ERROR:
            return []
        topic_filter = self.canary.refused(packet.packet_id, now)
        if topic_filter is None:
            return []
        return [CanaryRefused(topic_filter, code, packet.reason_code.name.lower())]

    def publish_due(self, now: float) -> bytes:
        """Encode the canaries that are due, as many as there is room for."""
        if self.canary is None:
            return b""
        out = bytearray()
        while len(self._owed) < self._receive_maximum:
            due = self.canary.take_due(now, self._owed)
            if due is None:
                break
            probe, payload = due
            self._owed.add(probe.packet_id)
            out += codec.encode_publish(
                probe.mqtt_topic, payload, packet_id=probe.packet_id, retain=False
            )
        return bytes(out)

    # ------------------------------------------------------------------ what comes

    def is_drops_answer(self, packet: codec.SubAck) -> bool:
        """Tell whether this SUBACK is the one for the count of drops."""
        return self._is_drops_asked and packet.packet_id == SUBSCRIBE_DROPS_ID

    def drops_answered(self, packet: codec.SubAck) -> list[Event]:
        """Take the answer; a refusal only means that this one counter stays unknown."""
        self._is_drops_answered = True
        self._drops_unanswered = 0
        return [
            BrokerDropsUnreadable(code.name.lower())
            for code in packet.reason_codes
            if int(code) >= _FIRST_ERROR
        ]

    def sift(
        self, received: Received, ledger: AckLedger, events: list[Event], now: float
    ) -> tuple[Received, int]:
        """Take out what is ours; return the rest, and how many canaries were among it.

        The receipt of a canary settles at once, so its PUBACK leaves in its turn.
        """
        canary = self.canary
        if None not in received.receipts:
            if canary is None:
                return received, 0
            if not canary.may_be_among(received.packets):
                canary.note_busy(now)
                return received, 0
        ours: set[int] = set()
        canaries = 0
        for position, packet in enumerate(received.packets):
            receipt = received.receipts[position]
            if receipt is None and packet.topic == broker_drops.MQTT_TOPIC:
                ours.add(position)
                count = broker_drops.parse(packet.payload)
                events += [] if count is None else [BrokerDropsReported(count)]
            elif canary is not None and canary.take(packet, events, now):
                ours.add(position)
                canaries += 1
                if receipt is not None:
                    ledger.settle(receipt)
        if canary is not None and len(ours) < len(received.packets):
            canary.note_busy(now)
        return (_without(received, ours) if ours else received), canaries

    # ------------------------------------------------------------------ time

    def next_timer(self) -> float | None:
        """Tell when a canary is due to be sent or judged."""
        if self.canary is None:
            return None
        has_room = len(self._owed) < self._receive_maximum
        return self.canary.next_timer(self._owed, has_room=has_room)

    def judge(self, now: float, *, is_excused: bool) -> list[Event]:
        """Suspect what is late, unless the broker waits for us."""
        if self.canary is None:
            return []
        if is_excused:
            self.canary.note_busy(now)
        return [*self.canary.judge(now)]


def _without(received: Received, ours: set[int]) -> Received:
    kept = [each for each in range(len(received.packets)) if each not in ours]
    packets, receipts = received.packets, received.receipts
    theirs: list[Receipt | None] = [receipts[each] for each in kept]
    return Received([packets[each] for each in kept], theirs)
