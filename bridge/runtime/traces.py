"""Spans of sampled messages, from the read of the PUBLISH to the settlement, over OTLP.

Theory of operation. A span is made of what is known once a message has ended, so nothing is begun,
kept or looked up on its way. Whether a message is sampled is decided by its own trace context where
it has one (its sampled flag, as the sampler "parent-based" of OpenTelemetry does), else by the
ratio, over a trace id that is a keyed hash of the record: the same each time it is asked for, and
nothing that a device can aim at. A sampled message leaves its few words in a queue; once a second a
thread makes spans of them and sends them. The queue is bounded, so devices that set the flag on all
they say cost no more than `QUEUE_MAX` spans a second, and a collector that is away costs spans and
nothing else. No PUBACK knows of any of it.
"""

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, TypeAlias

import msgspec
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from bridge import __version__
from bridge.kafka.record import Instant, Reading, Record
from bridge.kafka.shipment import Joint, Settleable, Share
from bridge.mqtt.packets import Inbound, PoisonPublish
from bridge.observe.counters import Counters, SpanOutcome
from bridge.observe.text import printable
from bridge.pipeline.enrich import read_properties
from bridge.pipeline.flow import Outcome
from bridge.pipeline.trace_context import TRACEPARENT, TRACESTATE, TraceTally
from bridge.pipeline.verdict import Dropped, Duplicate
from bridge.runtime.witnesses import End, Place, packet_id_of

QUEUE_MAX: Final = 1_000
EVERY_S: Final = 1.0
EXPORT_MAX_S: Final = 5.0
LAST_EXPORT_MAX_S: Final = 1.0
"""What a stop waits for the last spans."""
TEXT_MAX: Final = 256
_JOINTS_MAX: Final = 4_096
_SAMPLED: Final = 1
_RATIO_BITS: Final = 64

Attribute: TypeAlias = str | int | float | bool


class Parent(msgspec.Struct, frozen=True, gc=False):
    """The trace that a message belongs to."""

    trace_id: int
    span_id: int = 0
    """0: the message began the trace."""
    state: str = ""


class Sampler:
    """Decides which messages are sampled, the same each time it is asked about one."""

    def __init__(self, ratio: float, *, salt: bytes) -> None:
        self._bound = round(ratio * (1 << _RATIO_BITS))
        self._salt = salt

    def parent_of(self, record: Record) -> Parent | None:
        """Return the trace of a record that is sampled."""
        for name, value in record.headers:
            if name == TRACEPARENT:
                return _read_parent(value.decode(), dict(record.headers).get(TRACESTATE, b""))
        named = record.dedup_key or record.origin.payload
        if isinstance(record.origin, Reading):  # All of a batch, or none of it.
            named = f"{record.origin.topic} {record.origin.batch_id}".encode("utf-8", "replace")
        digest = blake2b(named, digest_size=16, key=self._salt)
        digest.update(record.received.unix_us.to_bytes(8, "big", signed=True))
        trace_id = int.from_bytes(digest.digest())
        # As the specification of TraceIdRatioBased has it: by the right half of the id.
        return Parent(trace_id) if trace_id & ((1 << _RATIO_BITS) - 1) < self._bound else None


def _read_parent(text: str, state: bytes) -> Parent | None:
    """Read a traceparent, which is sound already; None where it is not sampled."""
    _, trace_id, span_id, flags = text.split("-")[:4]
    if not int(flags, 16) & _SAMPLED:
        return None
    return Parent(int(trace_id, 16), int(span_id, 16), state.decode())


class _Ended(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a message until its span is made: words, and no payload."""

    parent: Parent
    name: str
    begun_us: int
    took_s: float
    error: str
    attributes: Mapping[str, Attribute]


class Traces:
    """A witness that makes spans of sampled messages."""

    def __init__(
        self,
        *,
        sampler: Sampler,
        exporter: SpanExporter,
        client_id: str,
        counters: Counters,
        entropy: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._sampler = sampler
        self._exporter = exporter
        self._spans = counters.spans
        self._entropy = entropy
        self._ended: deque[_Ended] = deque()
        self._joints: dict[int, Joint] = {}
        """Batches whose span is made; kept, so that no other gets the number of one."""
        self._resource = Resource(
            {
                "service.name": "mqtt-kafka-bridge",
                "service.version": __version__,
                "service.instance.id": client_id,
            }
        )
        self._scope = InstrumentationScope("bridge", __version__)

    # ------------------------------------------------------------------ what is seen

    def wants(self, record: Record) -> bool:
        """Tell whether the message of a record is sampled; its copies are not asked for."""
        if record.dead_letter is not None and record.dead_letter.is_copy:
            return False
        return self._sampler.parent_of(record) is not None

    def judged(self, packets: Sequence[Inbound], outcomes: Sequence[Outcome], now: Instant) -> None:
        """Take what ended when it was judged, where its own trace context asks for a span."""
        for packet, outcome in zip(packets, outcomes, strict=True):
            if not isinstance(outcome, Duplicate | Dropped) or isinstance(packet, PoisonPublish):
                continue
            if not packet.user_properties:
                continue
            found = read_properties(packet.user_properties, None, TraceTally())
            text = found.get(TRACEPARENT)
            parent = text and _read_parent(text, found.get(TRACESTATE, "").encode())
            if parent:
                is_known = isinstance(outcome, Duplicate)
                attributes: dict[str, Attribute] = {
                    "bridge.verdict": "duplicate" if is_known else "dropped",
                    "bridge.end": "known" if is_known else "left_out",
                    **_of_packet(packet.topic, packet.packet_id, len(packet.payload)),
                }
                self._keep(_Ended(parent, "process", now.unix_us, 0.0, "", attributes))

    def ended(
        self,
        record: Record,
        receipt: Settleable | None,
        end: End,
        *,
        now_s: float | None,
        place: Place | None,
    ) -> None:
        """Take a message that is safe; of a batch only the reading that was the last."""
        if end is End.DRAINED or not self._is_last(receipt):
            return
        parent = self._sampler.parent_of(record)
        if parent is None:
            return
        received = record.received
        letter = record.dead_letter
        attributes: dict[str, Attribute] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": record.kafka_topic,
            "messaging.kafka.message.key": printable(record.key.decode(errors="replace"), TEXT_MAX),
            "bridge.verdict": "accepted" if letter is None else "rejected",
            "bridge.end": str(end),
            **_of_packet(record.origin.topic, packet_id_of(receipt), len(record.value)),
        }
        if letter is not None:
            attributes |= {"error.type": letter.reason, "bridge.dlq.id": letter.dlq_id}
        elif record.is_flagged:
            attributes["bridge.verdict"] = "flagged"
        if place is not None:
            attributes["messaging.destination.partition.id"] = str(place[0])
            attributes["messaging.kafka.offset"] = place[1]
        if isinstance(record.origin, Reading):
            attributes["bridge.batch.id"] = printable(str(record.origin.batch_id), TEXT_MAX)
        took_s = 0.0 if now_s is None else max(0.0, now_s - received.monotonic_s)
        name = f"send {record.kafka_topic}"
        error = "" if letter is None else letter.detail
        self._keep(_Ended(parent, name, received.unix_us, took_s, error, attributes))

    def _is_last(self, receipt: Settleable | None) -> bool:
        """Tell whether the whole PUBLISH is settled, once for each."""
        if not isinstance(receipt, Share):
            return True
        joint = receipt.joint
        if joint.left or id(joint) in self._joints:
            return False
        if len(self._joints) >= _JOINTS_MAX:
            self._joints.clear()
        self._joints[id(joint)] = joint
        return True

    def _keep(self, ended: _Ended) -> None:
        if len(self._ended) >= QUEUE_MAX:
            self._spans[SpanOutcome.LEFT_OUT] += 1
        else:
            self._ended.append(ended)

    # ------------------------------------------------------------------ what is sent

    async def run(self) -> None:
        """Send once a second until cancelled, and then what is left, if that is quick."""
        try:
            while True:
                await asyncio.sleep(EVERY_S)
                await self.send()
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_EXPORT_MAX_S):
                    await self.send()

    async def send(self) -> None:
        """Make spans of what ended, and send them, in a thread."""
        self._joints.clear()
        ended = list(self._ended)
        if not ended:
            return
        self._ended.clear()
        is_sent = await asyncio.to_thread(self._export, ended)
        outcome = SpanOutcome.EXPORTED if is_sent else SpanOutcome.FAILED
        self._spans[outcome] += len(ended)

    def _export(self, ended: Sequence[_Ended]) -> bool:
        try:
            result = self._exporter.export([self._span(each) for each in ended])
        except Exception:  # noqa: BLE001 - a library's fault costs spans and nothing else
            return False
        return result is SpanExportResult.SUCCESS

    def _span(self, ended: _Ended) -> ReadableSpan:
        parent, begun_ns = ended.parent, ended.begun_us * 1_000
        state = TraceState.from_header([parent.state]) if parent.state else TraceState()
        flags = TraceFlags(TraceFlags.SAMPLED)
        span_id = int.from_bytes(self._entropy(8)) or 1
        remote = None
        if parent.span_id:
            remote = SpanContext(parent.trace_id, parent.span_id, True, flags, state)  # noqa: FBT003
        status = Status(StatusCode.UNSET)
        if ended.error:
            status = Status(StatusCode.ERROR, printable(ended.error, TEXT_MAX))
        return ReadableSpan(
            name=ended.name,
            context=SpanContext(parent.trace_id, span_id, False, flags, state),  # noqa: FBT003
            parent=remote,
            resource=self._resource,
            attributes=ended.attributes,
            kind=SpanKind.PRODUCER,
            instrumentation_scope=self._scope,
            status=status,
            start_time=begun_ns,
            end_time=begun_ns + round(ended.took_s * 1e9),
        )


def _of_packet(topic: str, packet_id: int | None, size: int) -> dict[str, Attribute]:
    """Give what is known of the PUBLISH; a topic may be 64 KiB long and hold anything."""
    found: dict[str, Attribute] = {
        "bridge.mqtt.topic": printable(topic, TEXT_MAX),
        "messaging.message.body.size": size,
    }
    if packet_id is not None:
        found["bridge.mqtt.packet_id"] = packet_id
    return found
