"""What the runtime counts on the way of a batch: plain integers, and nothing that allocates.

A plain increment costs 0.05 us, `Counter.inc()` of prometheus_client 0.35, with labels 1.3; so the
names and the text format wait until somebody asks (`metrics.py`).
"""

import enum
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

import msgspec

from bridge.pipeline.trace_context import TraceTally
from bridge.pipeline.verdict import Reason

LATENCY_BOUNDS_S = (
    *(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
    *(0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)


class Status(enum.StrEnum):
    """What became of a message: `status` of `ingestion_messages_total`."""

    ACCEPTED = "accepted"
    FLAGGED = "flagged"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    DROPPED = "dropped"
    FAILED = "failed"
    """A dead letter that the device is not to blame for: `kafka_refused`, `internal_error`."""


class Outcome(enum.StrEnum):
    """Where a QoS 1 message ended: the terms of the conservation equation."""

    PRODUCED = "produced"
    DEAD_LETTERED = "dead_lettered"
    DUPLICATE = "duplicate"
    DROPPED = "dropped"
    """Left out by a policy that the operator chose; nothing is dropped without one."""


class ReloadOutcome(enum.StrEnum):
    """How reading the configuration anew ended."""

    TAKEN = "taken"
    REFUSED = "refused"


class ConnectionReason(enum.StrEnum):
    """Why a Network Connection was made: the first, or how the one before it ended."""

    FIRST = "first"
    NETWORK = "network"
    KEEP_ALIVE = "keep_alive"
    CONNECT_TIMEOUT = "connect_timeout"
    SESSION_TAKEN_OVER = "session_taken_over"
    PEER_ERROR = "peer_error"
    """The MQTT broker broke the protocol and we left."""
    BROKER_DISCONNECT = "broker_disconnect"
    RENEWED = "renewed"
    """New credentials or certificates were to be used."""
    REFUSED = "refused"
    """CONNACK or SUBACK said no."""


class GapCause(enum.StrEnum):
    """Why messages may have been lost before they reached the bridge."""

    SESSION_LOST = "session_lost"
    """The broker has no session where one should be, and nothing says why."""
    SESSION_EXPIRED = "session_expired"
    """We were away for longer than the session expiry that the broker granted."""
    BROKER_RESTARTED = "broker_restarted"
    """The session is gone, and the broker's port was closed meanwhile."""
    BROKER_DROPPED = "broker_dropped"
    """The broker's own count of dropped messages grew; it counts for all clients."""
    READING_FORBIDDEN = "reading_forbidden"
    """The subscription is granted, but the canary did not come back."""


class AlertType(enum.StrEnum):
    """What is told of devices: the `type` of an alert record."""

    DEVICE_SILENCE = "device_silence"
    DEVICE_RECOVERED = "device_recovered"
    DEVICE_OFFLINE = "device_offline"
    DEVICE_ONLINE = "device_online"
    FLEET_SILENCE = "fleet_silence"
    FLEET_RECOVERED = "fleet_recovered"


class CanaryOutcome(enum.StrEnum):
    """What became of a canary."""

    RETURNED = "returned"
    MISSED = "missed"
    REFUSED = "refused"
    """The broker did not let us publish it."""


class SpanOutcome(enum.StrEnum):
    """What became of the span of a sampled message."""

    EXPORTED = "exported"
    FAILED = "failed"
    """The collector did not take it."""
    LEFT_OUT = "left_out"
    """There were too many."""


class ProtocolErrorKind(enum.StrEnum):
    """How the MQTT broker broke the protocol: the reason code of our DISCONNECT."""

    MALFORMED_PACKET = "malformed_packet"
    PROTOCOL_ERROR = "protocol_error"
    RECEIVE_MAXIMUM_EXCEEDED = "receive_maximum_exceeded"
    PACKET_TOO_LARGE = "packet_too_large"
    QOS_NOT_SUPPORTED = "qos_not_supported"
    OTHER = "other"


_KIND_BY_REASON_CODE = {
    0x81: ProtocolErrorKind.MALFORMED_PACKET,
    0x82: ProtocolErrorKind.PROTOCOL_ERROR,
    0x93: ProtocolErrorKind.RECEIVE_MAXIMUM_EXCEEDED,
    0x95: ProtocolErrorKind.PACKET_TOO_LARGE,
    0x9B: ProtocolErrorKind.QOS_NOT_SUPPORTED,
}


def protocol_error_kind(reason_code: int) -> ProtocolErrorKind:
    """Name the kind of a violation by the reason code of our DISCONNECT."""
    return _KIND_BY_REASON_CODE.get(reason_code, ProtocolErrorKind.OTHER)


def _zeros(labels: Iterable[str]) -> dict[str, int]:
    return dict.fromkeys(map(str, labels), 0)


SHED: Final = "shed"
"""Beside the reasons: dropped because Kafka was slow."""


class Counters(msgspec.Struct, kw_only=True, eq=False):
    """Everything that only ever grows; one addition a batch.

    The dictionaries hold their closed set from the start: a KeyError is a label that nobody
    declared, and a rate is right from the first event on, not from the second.
    """

    received: int = 0
    """QoS 1 PUBLISHes: with the next one the left side of the conservation equation."""
    spooled_at_start: int = 0
    """What an earlier process had acknowledged and left in the spool, in the same unit."""
    received_qos0: int = 0
    settled: dict[str, int] = msgspec.field(default_factory=lambda: _zeros(Outcome))
    messages: dict[str, int] = msgspec.field(default_factory=lambda: _zeros(Status))
    """All messages by what became of them."""
    messages_by_type: dict[str, dict[str, int]] = {}
    """The part of them whose device type is known, by the registry's label: no more than 52."""
    dead_letters: dict[str, int] = msgspec.field(default_factory=lambda: _zeros(Reason))
    dropped: dict[str, int] = msgspec.field(default_factory=lambda: _zeros(Reason) | {SHED: 0})
    """Messages that a policy of the operator leaves out; of a batch each reading that is shed, and
    one where the whole is over its limit."""
    shed: dict[str, int] = msgspec.field(default_factory=lambda: {"low": 0, "medium": 0})
    """Records that went over the disk, or nowhere, because Kafka was slow: by priority."""
    readings: dict[str, int] = msgspec.field(default_factory=lambda: _zeros(Outcome))
    """Where the readings of batches ended; a batch is one message of the equation."""
    flagged_copies: dict[str, int] = msgspec.field(default_factory=lambda: _zeros(Reason))
    """Copies in the dead letter topic, of messages that are telemetry all the same."""
    spans: dict[str, int] = msgspec.field(default_factory=lambda: _zeros(SpanOutcome))
    traces: TraceTally = msgspec.field(default_factory=TraceTally)
    """Messages whose Trace Context was malformed."""
    records_produced_again: int = 0
    records_reordered: int = 0
    records_maybe_doubled: int = 0
    """At most so many are in Kafka twice: librdkafka numbered them anew."""
    producer_rebuilds: int = 0
    pubacks_sent: int = 0
    spool_rows_written: int = 0
    spool_rows_drained: int = 0
    """Rows that Kafka confirmed, or had already."""
    spool_failures: int = 0
    """Transactions and reads that the disk refused."""
    mqtt_connections: dict[str, int] = msgspec.field(
        default_factory=lambda: _zeros(ConnectionReason)
    )
    gaps: dict[str, int] = msgspec.field(default_factory=lambda: _zeros(GapCause))
    gap_records_dropped: int = 0
    alerts: dict[str, int] = msgspec.field(default_factory=lambda: _zeros(AlertType))
    alert_records_dropped: int = 0
    """Alerts that waited for Kafka and went because there were too many."""
    clocks_told_wrong: int = 0
    """Times that a device's clock was found wrong."""
    reloads: dict[str, int] = msgspec.field(default_factory=lambda: _zeros(ReloadOutcome))
    canaries: dict[str, int] = msgspec.field(default_factory=lambda: _zeros(CanaryOutcome))
    canaries_received: int = 0
    """QoS 1 PUBLISHes too, but our own: no part of the conservation equation."""
    broker_dropped: int = 0
    protocol_errors: dict[str, int] = msgspec.field(
        default_factory=lambda: _zeros(ProtocolErrorKind)
    )

    def note_type(self, device_type: str, status: Status, count: int = 1) -> None:
        """Count messages, which `messages` counts too, with the type of their device."""
        by_status = self.messages_by_type.get(device_type)
        if by_status is None:
            by_status = self.messages_by_type[device_type] = _zeros(Status)
        by_status[status] += count

    def residue(self, in_flight: int, spooled: int = 0) -> int:
        """Return what conservation leaves over; other than 0 is our bug."""
        came = self.received + self.spooled_at_start
        return came - sum(self.settled.values()) - spooled - in_flight


class LatencyHistogram:
    """From PUBLISH read to delivery report or spool commit; one bisection a socket read."""

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS_S) + 1)
        self.sum_s = 0.0

    def observe_many(self, received_monotonic_s: float, now_s: float, count: int) -> None:
        """Note `count` messages that were read at the same instant and are confirmed now."""
        latency_s = now_s - received_monotonic_s
        self.counts[bisect_left(LATENCY_BOUNDS_S, latency_s)] += count
        self.sum_s += latency_s * count
