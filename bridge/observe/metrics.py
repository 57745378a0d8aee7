"""Counters and gauges become Prometheus text, when somebody asks for it and not before."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from bridge.fleet.registry import UNKNOWN
from bridge.observe.counters import LATENCY_BOUNDS_S, Counters, LatencyHistogram
from bridge.observe.fleet_facts import FleetFacts
from bridge.observe.fleet_metrics import fleet_families
from bridge.observe.kafka_facts import KafkaFacts
from bridge.observe.link_metrics import Link, certificate_families, kafka_families
from bridge.observe.process_metrics import ProcessMetrics
from bridge.observe.shadow_facts import shadow_families
from bridge.observe.shedding_facts import SheddingFacts
from bridge.pipeline.shadow import Shadow

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Gauges(msgspec.Struct, frozen=True, kw_only=True):
    """What goes up and down, as it is at the moment of the scrape."""

    in_flight: int
    """QoS 1 messages received and not yet settled."""
    residue: int
    oldest_unsettled_s: float
    window_used_ratio: float
    """In flight over `mqtt.unsettled_max`, or the same in bytes, whichever is larger."""
    queue_depth: int
    """Not yet settled, and spooled."""
    active_devices: int
    dedup_window_s: float
    is_ready: bool
    parts_ready: Mapping[str, bool] = MappingProxyType({})
    """The checks of `/health/ready`: mqtt, kafka, spool."""
    messages_spooled: int = 0
    """QoS 1 messages acknowledged, on disk, and not yet in Kafka."""
    spool_bytes: int = 0
    spool_bytes_max: int = 0
    outage_budget_s: float | None = None
    """None where nobody knows: NaN in the exposition; without inflow it is infinite."""
    fleet: FleetFacts = FleetFacts()
    shedding: SheddingFacts = SheddingFacts()
    shadow: Shadow | None = None


class BuildInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Labels of `bridge_build_info`."""

    version: str
    python: str
    librdkafka: str


class LogLines(Protocol):
    """The part of the event log that is counted."""

    @property
    def lines_suppressed(self) -> int:
        """Repetitions left out."""

    @property
    def lines_lost(self) -> int:
        """Lines that standard output did not take."""


class LinkFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the links at the scrape; the default knows nothing of either."""

    certificates: Callable[[], Mapping[Link, float]] = dict
    """When our own certificate for each ends, Unix seconds."""
    kafka: Callable[[], KafkaFacts] = KafkaFacts


class Metrics:
    """The answer to `/metrics`; its series are all there from the first scrape."""

    def __init__(  # noqa: PLR0913  what it reads
        self,
        *,
        counters: Counters,
        latency: LatencyHistogram,
        gauges: Callable[[], Gauges],
        build: BuildInfo,
        log: LogLines,
        links: LinkFacts | None = None,
        started_unix_s: float = 0.0,
    ) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(
            _BridgeCollector(
                counters=counters,
                latency=latency,
                gauges=gauges,
                build=build,
                log=log,
                links=links or LinkFacts(),
            )
        )
        self._registry.register(ProcessMetrics(started_unix_s=started_unix_s))

    def render(self) -> bytes:
        """Return the exposition in Prometheus text format."""
        return generate_latest(self._registry)


class _BridgeCollector(Collector):
    def __init__(  # noqa: PLR0913  what it reads
        self,
        *,
        counters: Counters,
        latency: LatencyHistogram,
        gauges: Callable[[], Gauges],
        build: BuildInfo,
        log: LogLines,
        links: LinkFacts,
    ) -> None:
        self._counters = counters
        self._latency = latency
        self._gauges = gauges
        self._build = build
        self._log = log
        self._links = links

    def collect(self) -> Iterator[Metric]:
        yield from self._labelled()
        yield from self._plain()
        yield from _trace_families(self._counters)
        yield _histogram(self._latency)
        gauges = self._gauges()
        yield _parts_family(gauges.parts_ready)
        yield from _gauge_families(gauges, self._counters)
        yield from fleet_families(gauges.fleet, self._counters)
        yield from shadow_families(gauges.shadow)
        yield from certificate_families(self._links.certificates())
        yield from kafka_families(self._links.kafka())
        yield InfoMetricFamily(
            "bridge_build",
            "Versions of the bridge and of what it stands on.",
            value=msgspec.structs.asdict(self._build),
        )

    def _labelled(self) -> Iterator[Metric]:
        counters = self._counters
        messages = CounterMetricFamily(
            "ingestion_messages",
            "Messages by what became of them.",
            labels=["device_type", "status"],
        )
        by_type = counters.messages_by_type
        for status, value in counters.messages.items():
            known = sum(each[status] for name, each in by_type.items() if name != UNKNOWN)
            messages.add_metric([UNKNOWN, status], value - known)
        for device_type, by_status in by_type.items():
            if device_type != UNKNOWN:
                for status, value in by_status.items():
                    messages.add_metric([device_type, status], value)
        yield messages
        for name, label, meaning, values in _labelled_counters(counters):
            family = CounterMetricFamily(name, meaning, labels=[label])
            for value_of_label, value in values.items():
                family.add_metric([value_of_label], value)
            yield family

    def _plain(self) -> Iterator[Metric]:
        counters = self._counters
        for name, meaning, value in (
            ("bridge_messages_received", "QoS 1 PUBLISHes received.", counters.received),
            (
                "bridge_messages_received_qos0",
                "QoS 0 PUBLISHes received: forwarded, but not promised.",
                counters.received_qos0,
            ),
            ("bridge_pubacks_sent", "PUBACKs sent.", counters.pubacks_sent),
            (
                "bridge_spool_rows_written",
                "Records committed to the spool.",
                counters.spool_rows_written,
            ),
            (
                "bridge_spool_rows_drained",
                "Records of the spool that Kafka has.",
                counters.spool_rows_drained,
            ),
            (
                "bridge_spool_failures",
                "Times the disk refused to write or to read the spool.",
                counters.spool_failures,
            ),
            (
                "bridge_canaries_received",
                "Our own canaries received and swallowed; no part of the messages received.",
                counters.canaries_received,
            ),
            (
                "bridge_mqtt_broker_dropped",
                "Messages that the MQTT broker says it dropped, of all its clients.",
                counters.broker_dropped,
            ),
            (
                "bridge_gap_records_dropped",
                "Gap records that waited for Kafka and went because there were too many.",
                counters.gap_records_dropped,
            ),
            *_kafka_counters(counters),
            (
                "bridge_log_lines_suppressed",
                "Repeated log events that were left out.",
                self._log.lines_suppressed,
            ),
            (
                "bridge_log_lines_lost",
                "Log lines that standard output did not take.",
                self._log.lines_lost,
            ),
        ):
            yield CounterMetricFamily(name, meaning, value=value)


def _kafka_counters(counters: Counters) -> Iterable[tuple[str, str, int]]:
    """List name, meaning and value of what went another way than straight to Kafka."""
    return (
        (
            "bridge_records_produced_again",
            "Records handed to the producer a second time.",
            counters.records_produced_again,
        ),
        (
            "bridge_records_reordered",
            "Records that came after newer ones of their device.",
            counters.records_reordered,
        ),
        (
            "bridge_records_maybe_doubled",
            "Records that are in Kafka twice at most, since librdkafka numbered them anew.",
            counters.records_maybe_doubled,
        ),
        (
            "bridge_producer_rebuilds",
            "Producers replaced after a fatal error or a standstill.",
            counters.producer_rebuilds,
        ),
    )


def _labelled_counters(
    counters: Counters,
) -> Iterable[tuple[str, str, str, Mapping[str, int]]]:
    """List name, label, meaning and the values by label."""
    return (
        (
            "bridge_messages_settled",
            "outcome",
            "QoS 1 messages that reached their end.",
            counters.settled,
        ),
        (
            "bridge_dead_letters",
            "reason",
            "Dead letters confirmed by Kafka.",
            counters.dead_letters,
        ),
        (
            "bridge_messages_dropped",
            "reason",
            "Messages left out by a policy of the configuration; each reading that is shed.",
            counters.dropped,
        ),
        (
            "bridge_records_shed",
            "priority",
            "Records that went over the disk, or were dropped, because Kafka was slow.",
            counters.shed,
        ),
        (
            "bridge_readings",
            "outcome",
            "Readings of batches, by where they ended; a batch is settled as one message.",
            counters.readings,
        ),
        (
            "bridge_flagged_copies",
            "reason",
            "Copies of flagged messages in the dead letter topic; their records are telemetry.",
            counters.flagged_copies,
        ),
        (
            "bridge_mqtt_connections",
            "reason",
            "Network Connections to the MQTT broker, by why each was needed.",
            counters.mqtt_connections,
        ),
        (
            "bridge_gaps",
            "cause",
            "Times in which messages may have been lost before they reached the bridge.",
            counters.gaps,
        ),
        (
            "bridge_reloads",
            "outcome",
            "Times the configuration was read anew, by whether it could be used.",
            counters.reloads,
        ),
        ("bridge_canaries", "outcome", "Canaries by what became of them.", counters.canaries),
        (
            "bridge_mqtt_protocol_errors",
            "kind",
            "Times the MQTT broker broke the protocol.",
            counters.protocol_errors,
        ),
    )


def _trace_families(counters: Counters) -> Iterator[Metric]:
    for name, label, meaning, values in (
        (
            "bridge_trace_contexts_malformed",
            "field",
            "Messages whose traceparent or tracestate was malformed and was not passed on.",
            msgspec.structs.asdict(counters.traces),
        ),
        (
            "bridge_trace_spans",
            "outcome",
            "Spans of sampled messages, by what became of them.",
            counters.spans,
        ),
    ):
        family = CounterMetricFamily(name, meaning, labels=[label])
        for value, count in values.items():
            family.add_metric([value], count)
        yield family


def _parts_family(parts: Mapping[str, bool]) -> Metric:
    family = GaugeMetricFamily(
        "bridge_part_ready", "1 while this check of /health/ready is ok.", labels=["part"]
    )
    for part, is_ok in parts.items():
        family.add_metric([part], int(is_ok))
    return family


def _histogram(latency: LatencyHistogram) -> Metric:
    buckets: list[tuple[str, float]] = []
    so_far = 0
    for bound, count in zip(LATENCY_BOUNDS_S, latency.counts, strict=False):
        so_far += count
        buckets.append((str(bound), so_far))
    buckets.append(("+Inf", so_far + latency.counts[-1]))
    return HistogramMetricFamily(
        "ingestion_latency_seconds",
        "From PUBLISH read to delivery report or spool commit.",
        buckets=buckets,
        sum_value=latency.sum_s,
    )


def _gauge_families(gauges: Gauges, counters: Counters) -> Iterator[Metric]:
    for name, meaning, value in (
        *_spool_gauges(gauges, counters),
        ("ingestion_queue_depth", "Messages not yet settled, and spooled.", gauges.queue_depth),
        (
            "ingestion_active_devices",
            "Devices heard of in the last five minutes; beyond 20,000 an estimate, to 0.1 %.",
            gauges.active_devices,
        ),
        (
            "bridge_dedup_window_seconds",
            "How far back duplicates are recognised.",
            gauges.dedup_window_s,
        ),
        (
            "bridge_messages_in_flight",
            "QoS 1 messages received and not settled.",
            gauges.in_flight,
        ),
        (
            "bridge_conservation_residue",
            "Received and spooled at start, less settled, spooled, in flight: not 0 is a bug.",
            gauges.residue,
        ),
        (
            "bridge_oldest_unsettled_seconds",
            "Age of the oldest message not settled.",
            gauges.oldest_unsettled_s,
        ),
        (
            "bridge_window_used_ratio",
            "How much of the bound on unsettled messages is used.",
            gauges.window_used_ratio,
        ),
        (
            "bridge_load_ratio",
            "Handed to Kafka and not confirmed, as a share of the room for it.",
            gauges.shedding.load,
        ),
        (
            "bridge_shedding_level",
            "How many priorities are shed for load: 1 is low, 2 medium too.",
            gauges.shedding.level,
        ),
        ("bridge_ready", "1 while /health/ready is 200.", int(gauges.is_ready)),
    ):
        yield GaugeMetricFamily(name, meaning, value=value)


def _spool_gauges(gauges: Gauges, counters: Counters) -> Iterator[tuple[str, str, float]]:
    budget_s = math.nan if gauges.outage_budget_s is None else gauges.outage_budget_s
    yield from (
        (
            "bridge_messages_spooled",
            "QoS 1 messages acknowledged, on disk, and not yet in Kafka.",
            gauges.messages_spooled,
        ),
        (
            "bridge_messages_spooled_at_start",
            "The same, as an earlier process left them to this one.",
            counters.spooled_at_start,
        ),
        ("bridge_spool_bytes", "Bytes of records in the spool.", gauges.spool_bytes),
        ("bridge_spool_bytes_max", "Bound on them; 0: no spool.", gauges.spool_bytes_max),
        (
            "bridge_outage_budget_seconds",
            "How long Kafka may be away from now on before something is lost; NaN: unknown.",
            budget_s,
        ),
    )
