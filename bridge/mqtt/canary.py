"""A message of our own through each Topic Filter: the proof that reading is really allowed.

Theory of operation. A broker may grant a subscription and then deliver nothing, because its access
rules forbid reading. So now and then a canary is published to each filter, its + being a device id
of our own, and must come back through the subscription. Each filter goes round:

    RESTING --due--> OUT --back--> RESTING          (every `PERIOD_S`, and after each SUBACK)
                      |
                      +--late--> SUSPECTED --due--> OUT ...   (every `AGAIN_S`, until one is back)

Late is only what nothing excuses: while other messages come, or what came is not yet acknowledged,
or nothing is read, the canary may wait in the broker's queue, first in, first out. But where a
canary that was sent later is back already, the queue is no excuse.

A canary is known by a keyed digest, so one that an earlier process left in the session is still
recognised; it is swallowed too, but proves nothing, since brokers judge at the time of publishing.
"""

import hmac
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from bridge.mqtt.events import CanaryMissed, CanaryReturned, Event
from bridge.mqtt.packets import Inbound

PERIOD_S: Final = 60.0
AGAIN_S: Final = 3.0
"""While reading is suspected to be forbidden: it may be mended at any moment."""
PATIENCE_S: Final = 10.0
"""An idle broker returns a canary within milliseconds; a busy one is excused."""
FIRST_PACKET_ID: Final = 16
KEY_BYTES: Final = 16

_HEAD: Final = b'{"canary":"'
_TAIL: Final = b'"}'
_PAYLOAD_BYTES_MAX: Final = 128


class Probe(msgspec.Struct, kw_only=True, eq=False):
    """The canary of one Topic Filter."""

    topic_filter: str
    mqtt_topic: str
    packet_id: int
    due_at: float | None = None
    """When the next one is to be sent; None while the filter is not granted."""
    sent_at: float | None = None
    """When the one that is out was sent; None while none is."""
    overtaken_at: float | None = None
    """When a later canary came back before the one that is out."""
    sequence: int = 0
    returned_sequence: int = 0
    is_suspected: bool = False


class Canary:
    """All probes of a session; it decides what is due, what is ours, and what is late."""

    def __init__(
        self, topic_filters: Sequence[str], *, device_id: str, key: bytes, run: str
    ) -> None:
        self._key = key
        self._run = run
        """Tells the canaries of this process from those of an earlier one."""
        self._sequence = 0
        self._connected_sequence = 0
        """Canaries up to this one were sent on an older connection."""
        self._busy_at = 0.0
        """When a canary was last excused."""
        self._device_id = device_id
        self._next_packet_id = FIRST_PACKET_ID
        self._probes: list[Probe] = []
        self._by_topic: dict[str, Probe] = {}
        self.change_filters(topic_filters)

    def change_filters(self, topic_filters: Sequence[str]) -> None:
        """Have a probe for each of these; a canary of one that went is still recognised."""
        known = {each.topic_filter: each for each in self._probes}
        self._probes = [known.get(each) or self._new_probe(each) for each in topic_filters]
        self._by_topic |= {each.mqtt_topic: each for each in self._probes}

    def _new_probe(self, topic_filter: str) -> Probe:
        levels = topic_filter.split("/")
        packet_id, self._next_packet_id = self._next_packet_id, self._next_packet_id + 1
        return Probe(
            topic_filter=topic_filter,
            mqtt_topic="/".join(self._device_id if level == "+" else level for level in levels),
            packet_id=packet_id,
        )

    # ------------------------------------------------------------------ connection

    def begin_connection(self) -> None:
        """Forget what is out: it says nothing about the connection that begins."""
        self._connected_sequence = self._sequence
        for probe in self._probes:
            probe.sent_at = probe.due_at = None

    def granted(self, topic_filters: Sequence[str], now: float) -> None:
        """Prove these filters from now on."""
        for probe in self._probes:
            if probe.topic_filter in topic_filters and probe.due_at is None:
                probe.due_at = now

    def note_busy(self, now: float) -> None:
        """Excuse what is out: messages come, or the broker waits for us."""
        self._busy_at = now

    # ------------------------------------------------------------------ out

    def take_due(self, now: float, owed: set[int]) -> tuple[Probe, bytes] | None:
        """Choose the next canary to publish, and note it as sent; `owed` ids are in use."""
        for probe in self._probes:
            due_at = probe.due_at
            if due_at is None or due_at > now or not _may_go(probe, owed):
                continue
            self._sequence += 1
            probe.sequence = self._sequence
            probe.sent_at = now
            probe.overtaken_at = None
            probe.due_at = now + PERIOD_S
            return probe, self._payload(probe.mqtt_topic, f"{self._run}.{probe.sequence}")
        return None

    def refused(self, packet_id: int, now: float) -> str | None:
        """Note that the broker did not take a canary; return the filter it was for."""
        for probe in self._probes:
            if probe.packet_id == packet_id:
                probe.sent_at = None
                probe.due_at = now + PERIOD_S
                return probe.topic_filter
        return None

    def _payload(self, mqtt_topic: str, nonce: str) -> bytes:
        return _HEAD + f"{nonce}.{self._digest(mqtt_topic, nonce)}".encode() + _TAIL

    def _digest(self, mqtt_topic: str, nonce: str) -> str:
        text = f"{mqtt_topic}\0{nonce}".encode()
        return blake2b(text, key=self._key, digest_size=16).hexdigest()

    # ------------------------------------------------------------------ back

    def may_be_among(self, packets: Sequence[Inbound]) -> bool:
        """Tell whether any of them has a topic of ours: 40 ns a packet, `take` 250."""
        return not self._by_topic.keys().isdisjoint([packet.topic for packet in packets])

    def take(self, packet: Inbound, events: list[Event], now: float) -> bool:
        """Tell whether this is a canary of ours; one that proves something is reported."""
        probe = self._by_topic.get(packet.topic)
        nonce = None if probe is None else self._recognise(packet.topic, packet.payload)
        if probe is None or nonce is None:
            return False
        run, _, number = nonce.rpartition(".")
        sequence = int(number)
        # Not from before this connection, and not here already.
        is_proof = run == self._run and sequence > self._connected_sequence
        if is_proof and sequence > probe.returned_sequence:
            events.append(self._returned(probe, sequence, now))
        return True

    def _recognise(self, mqtt_topic: str, payload: bytes) -> str | None:
        """Return the nonce of a canary of ours; None for anybody else's message."""
        if len(payload) > _PAYLOAD_BYTES_MAX or not payload.startswith(_HEAD):
            return None
        token = payload[len(_HEAD) : -len(_TAIL)]
        if not token.isascii() or not payload.endswith(_TAIL):
            return None
        nonce, _, digest = token.decode().rpartition(".")
        is_ours = hmac.compare_digest(digest, self._digest(mqtt_topic, nonce))
        return nonce if is_ours else None

    def _returned(self, probe: Probe, sequence: int, now: float) -> CanaryReturned:
        probe.returned_sequence = sequence
        for other in self._probes:
            if other.sent_at is not None and other.sequence < sequence:
                other.overtaken_at = other.overtaken_at or now
        after_s = None
        if sequence == probe.sequence and probe.sent_at is not None:
            after_s = now - probe.sent_at
            probe.sent_at = None
        is_recovered, probe.is_suspected = probe.is_suspected, False
        if is_recovered and probe.due_at is not None:
            probe.due_at = now + PERIOD_S
        return CanaryReturned(probe.topic_filter, after_s, is_recovered)

    # ------------------------------------------------------------------ time

    def next_timer(self, owed: set[int], *, has_room: bool) -> float | None:
        """Tell when something is due: a canary to send, or to be judged late."""
        due = [self._late_at(each) for each in self._probes if each.sent_at is not None]
        if has_room:
            due += [
                each.due_at
                for each in self._probes
                if each.due_at is not None and _may_go(each, owed)
            ]
        return min(due, default=None)

    def judge(self, now: float) -> list[CanaryMissed]:
        """Suspect the filters whose canary is late without an excuse."""
        missed: list[CanaryMissed] = []
        for probe in self._probes:
            if probe.sent_at is None or now < self._late_at(probe):
                continue
            missed.append(
                CanaryMissed(
                    probe.topic_filter, now - probe.sent_at, is_first=not probe.is_suspected
                )
            )
            probe.is_suspected = True
            probe.sent_at = None
            probe.due_at = now + AGAIN_S
        return missed

    def _late_at(self, probe: Probe) -> float:
        assert probe.sent_at is not None, "only what is out can be late"
        excused_at = self._busy_at if probe.overtaken_at is None else probe.overtaken_at
        return max(probe.sent_at, excused_at) + PATIENCE_S


def _may_go(probe: Probe, owed: set[int]) -> bool:
    return probe.sent_at is None and probe.packet_id not in owed
