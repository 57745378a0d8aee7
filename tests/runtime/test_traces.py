"""Spans of sampled messages: which, how many, and what they say."""

import asyncio
import threading
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from bridge.config.sections import Route, ValidationSection
from bridge.fleet.dedup_window import DedupWindow
from bridge.fleet.duplicates import Duplicates
from bridge.kafka.record import Record
from bridge.kafka.shipment import Settleable, Shipment, shares_of
from bridge.mqtt.ack_ledger import Receipt
from bridge.observe.counters import Counters, SpanOutcome
from bridge.pipeline.flow import Flow
from bridge.pipeline.verdict import Readings
from bridge.runtime.detour import Safe
from bridge.runtime.traces import QUEUE_MAX, Sampler, Traces
from bridge.runtime.witnesses import Witnesses
from tests.pipeline.given import DEVICE, RECEIVED, Packet, message

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = [("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "a=1")]
UNSAMPLED = [("traceparent", f"00-{TRACE}-{SPAN}-00")]
BATCH = (
    b'{"device_id":"gateway-1","batch_id":"b-1","readings":['
    b'{"timestamp":"2026-11-23T17:35:24Z","metrics":{"a":1}},'
    b'{"timestamp":"2026-11-23T17:35:23Z","metrics":{"a":2}},'
    b'{"timestamp":"2026-11-23T17:35:22Z","metrics":[]}]}'
)


class Stand:
    """A flow, Kafka that confirms at once, and an exporter that keeps what it is given."""

    def __init__(self, *, ratio: float = 1e-18, exporter: SpanExporter | None = None) -> None:
        self.exporter = InMemorySpanExporter()
        self.counters = Counters()
        self.traces = Traces(
            sampler=Sampler(ratio, salt=b"salt"),
            exporter=exporter or self.exporter,
            client_id="bridge-1",
            counters=self.counters,
        )
        self.witnesses = Witnesses()
        self.faults: list[Exception] = []
        self.witnesses.on_fault = self.faults.append
        self.witnesses.add(self.traces)
        self._flow = Flow(
            routes=(Route(), Route(filter="gateways/+/batch", kind="batch")),
            dead_letter_topic="telemetry-dlq",
            validation=ValidationSection(),
            entropy=lambda size: b"\xff" * size,
            duplicates=Duplicates(DedupWindow(ttl_s=3_600, keys_max=10_000, keys_min=0)),
        )

    def judge(self, packet: Packet) -> list[tuple[Record, Settleable]]:
        """Let the flow judge a packet; return its records with their receipts."""
        (outcome,) = outcomes = self._flow.process([packet], RECEIVED)
        self.witnesses.judged([packet], outcomes, RECEIVED)
        receipt = Receipt(packet.packet_id or 1)
        if isinstance(outcome, Readings):
            shares = shares_of(receipt, len(outcome.outcomes))
            pairs = zip(outcome.outcomes, shares, strict=True)
            return [(each, share) for each, share in pairs if isinstance(each, Record)]
        return [(outcome, receipt)] if isinstance(outcome, Record) else []

    def confirm(self, *owed: tuple[Record, Settleable]) -> None:
        """Let Kafka confirm records half a second after their receipt."""
        shipments = [
            Shipment(number, record, receipt, 0, 7.0)
            for number, (record, receipt) in enumerate(owed)
        ]
        for shipment in shipments:
            self.witnesses.note_place(shipment, 3, 40)
            assert shipment.receipt is not None
            shipment.receipt.settle()
        self.witnesses.confirmed(shipments, RECEIVED.monotonic_s + 0.5)

    async def spans(self) -> Sequence[ReadableSpan]:
        """Send what ended, and return it."""
        await self.traces.send()
        assert [] == self.faults
        return self.exporter.get_finished_spans()


async def test_a_sampled_message_is_one_span_from_its_read_to_its_settlement() -> None:
    stand = Stand()

    stand.confirm(*stand.judge(Packet(user_properties=SAMPLED, packet_id=7)))

    (span,) = await stand.spans()
    context = span.get_span_context()
    assert context is not None
    assert span.parent is not None
    assert (int(TRACE, 16), int(SPAN, 16)) == (context.trace_id, span.parent.span_id)
    assert "a=1" == context.trace_state.to_header()
    assert ("send telemetry-raw", SpanKind.PRODUCER) == (span.name, span.kind)
    assert (RECEIVED.unix_us * 1_000, 500_000_000) == (
        span.start_time,
        (span.end_time or 0) - (span.start_time or 0),
    )
    attributes = dict(span.attributes or {})
    assert attributes.pop("messaging.message.body.size")
    assert {
        "messaging.system": "kafka",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "telemetry-raw",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 40,
        "messaging.kafka.message.key": DEVICE,
        "bridge.mqtt.topic": f"devices/{DEVICE}/telemetry",
        "bridge.mqtt.packet_id": 7,
        "bridge.verdict": "accepted",
        "bridge.end": "produced",
    } == attributes
    assert "bridge-1" == span.resource.attributes["service.instance.id"]
    assert 1 == stand.counters.spans[SpanOutcome.EXPORTED]


async def test_a_message_that_its_publisher_did_not_sample_has_no_span_whatever_the_ratio() -> None:
    stand = Stand(ratio=1.0)

    stand.confirm(*stand.judge(Packet(user_properties=UNSAMPLED)))

    assert () == await stand.spans()


@pytest.mark.parametrize(("ratio", "expected"), [(1.0, 200), (0.5, 100), (1e-18, 0)])
async def test_messages_without_a_trace_are_sampled_by_the_ratio(
    ratio: float, expected: int
) -> None:
    stand = Stand(ratio=ratio)

    for number in range(200):
        stand.confirm(*stand.judge(Packet(payload=message(number=number))))

    spans = await stand.spans()
    assert expected - 40 <= len(spans) <= expected + 40
    assert {None} >= {each.parent for each in spans}
    traces = {context.trace_id for each in spans if (context := each.get_span_context())}
    assert len(spans) == len(traces)


async def test_a_dead_letter_is_a_span_with_an_error() -> None:
    stand = Stand()

    stand.confirm(*stand.judge(Packet(payload=b"no json\x1b", user_properties=SAMPLED)))

    (span,) = await stand.spans()
    attributes = dict(span.attributes or {})
    assert StatusCode.ERROR is span.status.status_code
    assert ("rejected", "not_decodable", "telemetry-dlq") == (
        attributes["bridge.verdict"],
        attributes["error.type"],
        attributes["messaging.destination.name"],
    )


async def test_a_duplicate_is_a_span_too() -> None:
    stand = Stand()

    stand.judge(Packet(user_properties=SAMPLED))
    stand.judge(Packet(user_properties=SAMPLED))

    (span,) = await stand.spans()
    assert "duplicate" == (span.attributes or {})["bridge.verdict"]


@pytest.mark.parametrize("ratio", [1e-18, 1.0], ids=["by its flag", "by the ratio"])
async def test_a_batch_is_one_span_once_the_last_reading_is_safe(ratio: float) -> None:
    stand = Stand(ratio=ratio)
    properties = SAMPLED if ratio < 1 else []
    packet = Packet(payload=BATCH, topic="gateways/gateway-1/batch", user_properties=properties)

    first, *rest = stand.judge(packet)
    stand.confirm(first)
    before = len(await stand.spans())
    stand.confirm(*rest)

    (span,) = await stand.spans()
    assert (0, 2) == (before, len(rest))
    assert "b-1" == (span.attributes or {})["bridge.batch.id"]


async def test_what_goes_over_the_disk_is_one_span_that_ends_at_the_disk() -> None:
    stand = Stand()
    ((record, receipt),) = stand.judge(Packet(user_properties=SAMPLED))

    receipt.settle()
    stand.witnesses.spooled([Safe(record, receipt)], RECEIVED.monotonic_s + 0.25)
    row = Shipment(1, record, None, 0, 7.0, entry=object())
    stand.witnesses.confirmed([row], RECEIVED.monotonic_s + 60.0)

    (span,) = await stand.spans()
    assert "spooled" == (span.attributes or {})["bridge.end"]
    assert 250_000_000 == (span.end_time or 0) - (span.start_time or 0)


async def test_devices_that_sample_all_they_say_cost_a_bounded_number_of_spans() -> None:
    stand = Stand()

    for number in range(QUEUE_MAX + 10):
        payload = message(number=number)
        stand.confirm(*stand.judge(Packet(payload=payload, user_properties=SAMPLED)))

    assert QUEUE_MAX == len(await stand.spans())
    assert 10 == stand.counters.spans[SpanOutcome.LEFT_OUT]


class Stuck(SpanExporter):
    """A collector that answers when it is told to, or never."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.may_answer = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        del spans
        self.asked.set()
        self.may_answer.wait()
        raise RuntimeError("the collector is gone")


async def test_a_collector_that_hangs_holds_no_message_and_costs_only_spans() -> None:
    stuck = Stuck()
    stand = Stand(exporter=stuck)
    stand.confirm(*stand.judge(Packet(user_properties=SAMPLED)))
    sending = asyncio.create_task(stand.traces.send())
    await asyncio.to_thread(stuck.asked.wait)

    ((record, receipt),) = stand.judge(Packet(payload=message(n=1), user_properties=SAMPLED))
    stand.confirm((record, receipt))
    is_settled = isinstance(receipt, Receipt) and receipt.settled
    stuck.may_answer.set()
    await sending

    assert is_settled
    assert [] == stand.faults
    assert 1 == stand.counters.spans[SpanOutcome.FAILED]
