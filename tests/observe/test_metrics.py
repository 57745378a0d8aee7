import math
import re

import pytest
from msgspec import structs
from prometheus_client.parser import text_string_to_metric_families

from bridge.observe.counters import Counters, LatencyHistogram, Status
from bridge.observe.metrics import BuildInfo, Gauges, Metrics


class Quiet:
    lines_suppressed = 3
    lines_lost = 4


PROCESS = [
    f"process_{name}"
    for name in (
        *("cpu_seconds_total", "max_fds", "open_fds"),
        *("virtual_memory_bytes", "resident_memory_bytes"),
    )
]
"""As Prometheus' own clients name them: ready-made dashboards ask for these."""
GAUGES = Gauges(
    in_flight=5,
    residue=0,
    oldest_unsettled_s=1.5,
    window_used_ratio=0.25,
    queue_depth=5,
    active_devices=7,
    dedup_window_s=60.0,
    is_ready=True,
)


@pytest.fixture
def counters() -> Counters:
    return Counters()


@pytest.fixture
def latency() -> LatencyHistogram:
    return LatencyHistogram()


@pytest.fixture
def metrics(counters: Counters, latency: LatencyHistogram) -> Metrics:
    return metrics_with(counters, latency, GAUGES)


def metrics_with(counters: Counters, latency: LatencyHistogram, gauges: Gauges) -> Metrics:
    return Metrics(
        counters=counters,
        latency=latency,
        gauges=lambda: gauges,
        build=BuildInfo(version="0.1.0", python="3.11.7", librdkafka="2.11.0"),
        log=Quiet(),
        started_unix_s=12.5,
    )


def samples(metrics: Metrics) -> dict[str, float]:
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in metrics.render().decode().splitlines()
        if not line.startswith("#")
    }


@pytest.mark.parametrize(
    "name",
    [
        'ingestion_messages_total{device_type="unknown",status="accepted"}',
        'ingestion_messages_total{device_type="unknown",status="flagged"}',
        'ingestion_messages_total{device_type="unknown",status="rejected"}',
        'ingestion_messages_total{device_type="unknown",status="duplicate"}',
        'ingestion_messages_total{device_type="unknown",status="dropped"}',
        'ingestion_messages_total{device_type="unknown",status="failed"}',
        'ingestion_latency_seconds_bucket{le="0.001"}',
        'ingestion_latency_seconds_bucket{le="300.0"}',
        'ingestion_latency_seconds_bucket{le="+Inf"}',
        "ingestion_latency_seconds_count",
        "ingestion_latency_seconds_sum",
        "bridge_messages_received_total",
        "bridge_messages_received_qos0_total",
        'bridge_messages_settled_total{outcome="produced"}',
        'bridge_messages_settled_total{outcome="dead_lettered"}',
        'bridge_dead_letters_total{reason="not_decodable"}',
        'bridge_mqtt_connections_total{reason="session_taken_over"}',
        'bridge_mqtt_protocol_errors_total{kind="malformed_packet"}',
        "bridge_producer_rebuilds_total",
        "bridge_records_produced_again_total",
        "bridge_records_reordered_total",
        "bridge_pubacks_sent_total",
        'bridge_messages_settled_total{outcome="dropped"}',
        "bridge_messages_spooled",
        "bridge_messages_spooled_at_start",
        "bridge_spool_bytes",
        "bridge_spool_bytes_max",
        "bridge_spool_rows_written_total",
        "bridge_spool_rows_drained_total",
        "bridge_spool_failures_total",
        "bridge_conservation_residue",
    ],
)
def test_a_series_is_there_at_zero_before_anything_happened(metrics: Metrics, name: str) -> None:
    assert samples(metrics)[name] == 0


def test_gauges_are_asked_for_at_the_scrape(metrics: Metrics) -> None:
    found = samples(metrics)

    assert found["bridge_messages_in_flight"] == 5
    assert found["ingestion_queue_depth"] == 5
    assert found["ingestion_active_devices"] == 7
    assert found["bridge_oldest_unsettled_seconds"] == 1.5
    assert found["bridge_window_used_ratio"] == 0.25
    assert found["bridge_ready"] == 1
    assert found["bridge_log_lines_suppressed_total"] == 3
    assert found["bridge_log_lines_lost_total"] == 4
    assert found['bridge_build_info{librdkafka="2.11.0",python="3.11.7",version="0.1.0"}'] == 1


def test_the_spool_shows_what_it_holds_and_held_at_the_start() -> None:
    gauges = structs.replace(GAUGES, messages_spooled=4, spool_bytes=300, spool_bytes_max=900)
    counters = Counters(spooled_at_start=9, spool_rows_written=7, spool_rows_drained=3)

    found = samples(metrics_with(counters, LatencyHistogram(), gauges))

    assert found["bridge_messages_spooled"] == 4
    assert found["bridge_messages_spooled_at_start"] == 9
    assert found["bridge_spool_bytes"] == 300
    assert found["bridge_spool_bytes_max"] == 900
    assert found["bridge_spool_rows_written_total"] == 7
    assert found["bridge_spool_rows_drained_total"] == 3


@pytest.mark.parametrize(
    ("budget_s", "written"),
    [(3_480.5, "3480.5"), (math.inf, "inf"), (None, "nan")],
    ids=["known", "no inflow", "unknown"],
)
def test_an_outage_budget_is_seconds_or_without_end_or_unknown(
    budget_s: float | None, written: str
) -> None:
    gauges = structs.replace(GAUGES, outage_budget_s=budget_s)

    found = samples(metrics_with(Counters(), LatencyHistogram(), gauges))

    assert str(found["bridge_outage_budget_seconds"]) == written


def test_counts_show_at_the_next_scrape(metrics: Metrics, counters: Counters) -> None:
    samples(metrics)
    counters.received += 3
    counters.messages["accepted"] += 2
    counters.dead_letters["empty"] += 1

    found = samples(metrics)

    assert found["bridge_messages_received_total"] == 3
    assert found['ingestion_messages_total{device_type="unknown",status="accepted"}'] == 2
    assert found['bridge_dead_letters_total{reason="empty"}'] == 1


def test_messages_of_a_known_type_are_told_by_it_and_the_sum_is_that_of_all(
    metrics: Metrics, counters: Counters
) -> None:
    counters.messages["accepted"] += 3
    counters.messages["duplicate"] += 4
    counters.note_type("thermometer", Status.ACCEPTED)
    counters.note_type("unknown", Status.ACCEPTED)

    found = samples(metrics)

    assert 1 == found['ingestion_messages_total{device_type="thermometer",status="accepted"}']
    assert 2 == found['ingestion_messages_total{device_type="unknown",status="accepted"}']
    assert 4 == found['ingestion_messages_total{device_type="unknown",status="duplicate"}']
    assert 7 == sum(v for name, v in found.items() if name.startswith("ingestion_messages_total"))


def test_histogram_buckets_are_cumulative(metrics: Metrics, latency: LatencyHistogram) -> None:
    latency.observe_many(0.0, 0.004, 10)
    latency.observe_many(0.0, 400.0, 1)

    found = samples(metrics)

    assert found['ingestion_latency_seconds_bucket{le="0.001"}'] == 0
    assert found['ingestion_latency_seconds_bucket{le="0.005"}'] == 10
    assert found['ingestion_latency_seconds_bucket{le="300.0"}'] == 10
    assert found['ingestion_latency_seconds_bucket{le="+Inf"}'] == 11
    assert found["ingestion_latency_seconds_count"] == 11
    assert found["ingestion_latency_seconds_sum"] == pytest.approx(400.04)


def test_the_process_is_measured_too(metrics: Metrics) -> None:
    found = samples(metrics)

    assert found["process_start_time_seconds"] == 12.5
    assert [] == [name for name in PROCESS if not found[name] > 0]


def test_each_part_shows_whether_it_is_ready() -> None:
    gauges = structs.replace(GAUGES, parts_ready={"mqtt": True, "kafka": False})

    found = samples(metrics_with(Counters(), LatencyHistogram(), gauges))

    assert found['bridge_part_ready{part="mqtt"}'] == 1
    assert found['bridge_part_ready{part="kafka"}'] == 0


def test_the_text_is_what_prometheus_reads_and_every_family_is_explained(metrics: Metrics) -> None:
    families = list(text_string_to_metric_families(metrics.render().decode()))

    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.documentation
        assert re.fullmatch(r"(ingestion|bridge|process)_[a-z0-9_]+", family.name)
