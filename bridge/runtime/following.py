"""One device is followed: each of its messages is an event, for a time that ends by itself.

Theory of operation. Nobody needs to be asked whether a device may be followed but who owns the
state directory, so a request is a file there (`follow_requests`). What is followed is told at the
end of a message, when all of it is known; a message that is a duplicate or left out ends when it is
judged. Events are written whatever `log.level` says, at most `EVENTS_PER_S` a second: a device that
floods floods no log.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from bridge.config.sections import Route
from bridge.kafka.record import Instant, Reading, Record
from bridge.kafka.shipment import Settleable
from bridge.mqtt.packets import Inbound
from bridge.observe.log import EventLog
from bridge.pipeline.flow import Outcome
from bridge.pipeline.identity import AddressBook
from bridge.pipeline.verdict import Dropped, Duplicate, Readings, Telemetry
from bridge.pipeline.wording import cut
from bridge.runtime.witnesses import End, Place, Witnesses, packet_id_of

FOLLOW_S: Final = 600.0
FOLLOW_MAX_S: Final = 86_400.0
EVENTS_PER_S: Final = 50
KEY_BYTES_MAX: Final = 256
"""As long as the key of a record is (bridge/pipeline/identity.py)."""


class Followed(msgspec.Struct):
    """Who is followed, until when, and what came of it."""

    device_id: str
    key: bytes
    ends_s: float
    messages: int = 0
    left_out: int = 0
    unsaid: int = 0
    """Left out since the last event."""
    second_s: float = 0.0
    said: int = 0
    """Events of this second."""


class Following:
    """Follow at most one device; the next request takes the place of the one before."""

    def __init__(
        self,
        witnesses: Witnesses,
        routes: Callable[[], Sequence[Route]],
        *,
        log: EventLog,
        monotonic_s: Callable[[], float],
    ) -> None:
        self._witnesses = witnesses
        self._routes = routes
        self._log = log
        self._monotonic_s = monotonic_s
        self._followed: Followed | None = None
        self._addresses = AddressBook(())

    @property
    def device_id(self) -> str | None:
        """Who is followed now."""
        return None if self._followed is None else self._followed.device_id

    def begin(self, device_id: str, *, for_s: float) -> None:
        """Follow a device from now on."""
        self.end("replaced")
        now_s = self._monotonic_s()
        self._followed = Followed(device_id, cut(device_id, KEY_BYTES_MAX), now_s + for_s)
        self._addresses = AddressBook(self._routes())
        self._witnesses.add(self)
        self._log.emit_always("follow_began", device_id=device_id, for_s=round(for_s, 3))

    def end(self, cause: str) -> None:
        """Follow nobody any more."""
        followed, self._followed = self._followed, None
        if followed is None:
            return
        self._witnesses.remove(self)
        self._addresses.clear()
        self._log.emit_always(
            "follow_ended",
            device_id=followed.device_id,
            cause=cause,
            messages=followed.messages,
            left_out=followed.left_out,
        )

    def tick(self) -> None:
        """End what is over; for a timer of about a second."""
        if self._followed is not None and self._monotonic_s() >= self._followed.ends_s:
            self.end("expired")

    # ------------------------------------------------------------------ what is seen

    def wants(self, record: Record) -> bool:
        """Tell whether a record is of the device, whoever sent it."""
        followed = self._followed
        return followed is not None and record.key == followed.key

    def judged(self, packets: Sequence[Inbound], outcomes: Sequence[Outcome], now: Instant) -> None:
        """Tell what ended when it was judged: duplicates, and what a policy leaves out."""
        followed = self._followed
        if followed is None:
            return
        for packet, outcome in zip(packets, outcomes, strict=True):
            if isinstance(outcome, Readings):
                for index, (each, verdict) in enumerate(
                    zip(outcome.outcomes, outcome.verdicts, strict=True)
                ):
                    own = verdict.message.get("device_id") if type(verdict) is Telemetry else None
                    if isinstance(each, Duplicate | Dropped) and self._is_of(packet, own):
                        self._tell_judged(followed, packet, each, now, reading_index=index)
            elif isinstance(outcome, Duplicate | Dropped) and self._is_of(packet, None):
                self._tell_judged(followed, packet, outcome, now)

    def _is_of(self, packet: Inbound, device_id: object) -> bool:
        followed = self._followed
        if isinstance(device_id, str):
            return followed is not None and device_id == followed.device_id
        return followed is not None and self._addresses[packet.topic].key == followed.key

    def _tell_judged(
        self,
        followed: Followed,
        packet: Inbound,
        outcome: Duplicate | Dropped,
        now: Instant,
        **where: object,
    ) -> None:
        if isinstance(outcome, Duplicate):
            known = "under_way" if outcome.is_under_way else "known"
            ended: dict[str, object] = {"verdict": "duplicate", "end": "known", "reason": known}
        else:
            ended = {"verdict": "dropped", "end": "left_out", "reason": str(outcome.reason)}
        self._say(
            followed,
            now.monotonic_s,
            mqtt_topic=packet.topic,
            packet_id=packet.packet_id,
            **ended,
            **where,
        )

    def ended(
        self,
        record: Record,
        receipt: Settleable | None,
        end: End,
        *,
        now_s: float | None,
        place: Place | None,
    ) -> None:
        """Tell where a message of the device ended."""
        followed = self._followed
        if followed is None:
            return
        fields: dict[str, Any] = {
            "mqtt_topic": record.origin.topic,
            "packet_id": packet_id_of(receipt),
            "verdict": _verdict(record),
            "end": str(end),
            "idempotency_key": dict(record.headers).get("idempotency-key"),
            "kafka_topic": record.kafka_topic,
        }
        if record.dead_letter is not None:
            fields |= {
                "reason": record.dead_letter.reason,
                "detail": record.dead_letter.detail,
                "dlq_id": record.dead_letter.dlq_id,
            }
        if place is not None:
            fields["partition"], fields["offset"] = place
        if isinstance(record.origin, Reading):
            fields["batch_id"] = record.origin.batch_id
            fields["reading_index"] = record.origin.index
        if now_s is not None:
            fields["latency_s"] = round(now_s - record.received.monotonic_s, 6)
        self._say(followed, self._monotonic_s(), **fields)

    def _say(self, followed: Followed, now_s: float, **fields: object) -> None:
        """Write one event, within the bound; leave out what is not known."""
        followed.messages += 1
        if now_s - followed.second_s >= 1.0:
            followed.second_s, followed.said = now_s, 0
        if followed.said >= EVENTS_PER_S:
            followed.left_out += 1
            followed.unsaid += 1
            return
        followed.said += 1
        if followed.unsaid:
            fields["suppressed"], followed.unsaid = followed.unsaid, 0
        known = {name: value for name, value in fields.items() if value is not None}
        self._log.emit_always("message_followed", device_id=followed.device_id, **known)


def _verdict(record: Record) -> str:
    if record.dead_letter is not None:
        return "copy" if record.dead_letter.is_copy else "rejected"
    return "flagged" if record.is_flagged else "accepted"
