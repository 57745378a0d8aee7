"""The Grafana dashboard, from a table: the one source of deploy/monitoring/dashboard.json.

A test holds every name and label in it against what `/metrics` exports, so a metric that is renamed
cannot leave an empty panel behind.
"""

import json
import sys
from typing import Any, Final, Literal

import msgspec

_COLUMNS: Final = 24
_STAT: Final = (3, 4)
_GRAPH: Final = (8, 8)
"""Width and height in Grafana's grid."""
_GREEN: Final = {"mode": "absolute", "steps": [{"color": "green"}]}
_RED_BELOW_1: Final = {
    "mode": "absolute",
    "steps": [{"color": "red"}, {"color": "green", "value": 1}],
}


class Panel(msgspec.Struct, frozen=True):
    """One panel; `SEL` in a query stands for the chosen instances."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    """PromQL and legend."""
    meaning: str
    kind: Literal["timeseries", "stat"] = "timeseries"
    is_red_below_one: bool = False


def _graph(title: str, unit: str, meaning: str, *queries: tuple[str, str]) -> Panel:
    return Panel(title, unit, queries, meaning)


def _stat(
    title: str, unit: str, query: str, meaning: str, *, is_red_below_one: bool = False
) -> Panel:
    return Panel(title, unit, ((query, ""),), meaning, "stat", is_red_below_one)


def _rates(name: str, label: str) -> tuple[str, str]:
    """Give the rate of a counter for each value of its label."""
    return (f"sum by ({label}) (rate({name}{{SEL}}[$__rate_interval]))", f"{{{{{label}}}}}")


def _rate(name: str, legend: str) -> tuple[str, str]:
    return (f"sum(rate({name}{{SEL}}[$__rate_interval]))", legend)


def _each(name: str) -> tuple[str, str]:
    """Give a gauge of each instance."""
    return (f"{name}{{SEL}}", "{{instance}}")


def _quantile(quantile: float) -> tuple[str, str]:
    buckets = "sum by (le) (rate(ingestion_latency_seconds_bucket{SEL}[$__rate_interval]))"
    return (f"histogram_quantile({quantile}, {buckets})", f"p{quantile * 100:g}")


def _share(status: str) -> tuple[str, str]:
    failed = f'sum(rate(ingestion_messages_total{{SEL,status="{status}"}}[$__rate_interval]))'
    return (f"{failed} / sum(rate(ingestion_messages_total{{SEL}}[$__rate_interval]))", status)


_NOW: Final = (
    _stat("Ready", "short", "min(bridge_ready{SEL})", "1 while all are.", is_red_below_one=True),
    _stat(
        "Received a second",
        "short",
        "sum(rate(bridge_messages_received_total{SEL}[$__rate_interval]))",
        "QoS 1 messages.",
    ),
    _stat("p99", "s", _quantile(0.99)[0], "From PUBLISH read to Kafka or the disk."),
    _stat(
        "Oldest unsettled", "s", "max(bridge_oldest_unsettled_seconds{SEL})", "In no safe place."
    ),
    _stat("On disk", "short", "sum(bridge_messages_spooled{SEL})", "Acknowledged, not in Kafka."),
    _stat(
        "Outage budget",
        "s",
        "min(bridge_outage_budget_seconds{SEL})",
        "How long Kafka may be away from now on.",
    ),
    _stat("Active devices", "short", "sum(ingestion_active_devices{SEL})", "In five minutes."),
    _stat("Residue", "short", "sum(bridge_conservation_residue{SEL})", "Not 0 is a bug."),
)
_GUIDE: Final = (
    _graph(
        "Messages a second",
        "short",
        "By what became of them.",
        _rates("ingestion_messages_total", "status"),
    ),
    _graph(
        "Latency",
        "s",
        "From PUBLISH read to delivery report or spool commit.",
        *(_quantile(each) for each in (0.5, 0.95, 0.99)),
    ),
    _graph("Queue depth", "short", "Not settled, and spooled.", _each("ingestion_queue_depth")),
    _graph(
        "Shares at fault",
        "percentunit",
        "rejected: by the devices' fault (4xx); failed: by Kafka's or ours (5xx).",
        _share("rejected"),
        _share("failed"),
    ),
    _graph(
        "Active devices",
        "short",
        "Heard of in the last five minutes.",
        _each("ingestion_active_devices"),
    ),
    _graph(
        "Alerts firing",
        "short",
        "From deploy/monitoring/rules.yml.",
        (
            'sum by (alertname) (ALERTS{SEL,alertname=~"Bridge.+",alertstate="firing"})',
            "{{alertname}}",
        ),
    ),
)
_PROMISE: Final = (
    _graph(
        "Settled a second",
        "short",
        "Where QoS 1 messages ended.",
        _rates("bridge_messages_settled_total", "outcome"),
    ),
    _graph(
        "Dead letters a second",
        "short",
        "By reason.",
        _rates("bridge_dead_letters_total", "reason"),
    ),
    _graph(
        "Dropped and copied a second",
        "short",
        "Left out by a policy; copies of flagged messages; trace contexts not passed on; spans.",
        _rates("bridge_messages_dropped_total", "reason"),
        _rate("bridge_flagged_copies_total", "flagged copies"),
        _rates("bridge_trace_contexts_malformed_total", "field"),
        _rates("bridge_trace_spans_total", "outcome"),
    ),
    _graph(
        "Window used",
        "percentunit",
        "Of the bound on unsettled messages.",
        _each("bridge_window_used_ratio"),
    ),
    _graph(
        "In flight",
        "short",
        "Received, and neither in Kafka nor on disk.",
        _each("bridge_messages_in_flight"),
    ),
    _graph(
        "Oldest unsettled",
        "s",
        "Age of the oldest of them.",
        _each("bridge_oldest_unsettled_seconds"),
    ),
    _graph(
        "Again, out of order, anew",
        "short",
        "Records produced again or after newer ones, or twice at most; producers replaced.",
        _rate("bridge_records_produced_again_total", "produced again"),
        _rate("bridge_records_reordered_total", "reordered"),
        _rate("bridge_records_maybe_doubled_total", "doubled at most"),
        _rate("bridge_producer_rebuilds_total", "producer rebuilds"),
    ),
    _graph(
        "Gaps",
        "short",
        "Times in which messages may have been lost before they came.",
        ("sum by (cause) (increase(bridge_gaps_total{SEL}[$__rate_interval]))", "{{cause}}"),
    ),
    _graph(
        "Readings of batches a second",
        "short",
        "By where they ended.",
        _rates("bridge_readings_total", "outcome"),
    ),
)
_OUTAGE: Final = (
    _graph(
        "Spool",
        "bytes",
        "Bytes of records on disk, and their bound.",
        _each("bridge_spool_bytes"),
        ("max(bridge_spool_bytes_max{SEL})", "bound"),
    ),
    _graph(
        "Into the spool and out of it, a second",
        "short",
        "Records committed, and drained to Kafka.",
        _rate("bridge_spool_rows_written_total", "written"),
        _rate("bridge_spool_rows_drained_total", "drained"),
        _rate("bridge_spool_failures_total", "failures of the disk"),
    ),
    _graph(
        "Outage budget",
        "s",
        "How long Kafka may be away from now on before something is lost.",
        _each("bridge_outage_budget_seconds"),
    ),
    _graph(
        "Load and shedding",
        "short",
        "Load: what Kafka has not confirmed, of the room for it. Level 1 sheds low, 2 medium too.",
        ("bridge_load_ratio{SEL}", "load {{instance}}"),
        ("bridge_shedding_level{SEL}", "level {{instance}}"),
    ),
    _graph(
        "Shed a second",
        "short",
        "Over the disk, or dropped, because Kafka was slow.",
        _rates("bridge_records_shed_total", "priority"),
    ),
    _graph(
        "Duplicates are recognised back to",
        "s",
        "The window of deduplication.",
        _each("bridge_dedup_window_seconds"),
    ),
)
_LINKS: Final = (
    _graph(
        "Connections to the MQTT broker",
        "short",
        "By why each was needed.",
        (
            "sum by (reason) (increase(bridge_mqtt_connections_total{SEL}[$__rate_interval]))",
            "{{reason}}",
        ),
    ),
    _graph(
        "What the MQTT broker does wrong",
        "short",
        "Violations of the protocol, messages it dropped, canaries that did not return.",
        _rates("bridge_mqtt_protocol_errors_total", "kind"),
        _rate("bridge_mqtt_broker_dropped_total", "dropped by the broker"),
        (
            'sum(rate(bridge_canaries_total{SEL,outcome!="returned"}[$__rate_interval]))',
            "canaries missed",
        ),
    ),
    _graph(
        "Our certificates end in",
        "s",
        "Empty where none is configured.",
        ("bridge_certificate_expiry_timestamp_seconds{SEL} - time()", "{{link}} {{instance}}"),
    ),
    _graph(
        "Kafka, as librdkafka measures it",
        "s",
        "At the slowest broker: round trip and wait in the queue (p99), longest throttling.",
        ("bridge_kafka_round_trip_p99_seconds{SEL}", "round trip {{instance}}"),
        ("bridge_kafka_queue_wait_p99_seconds{SEL}", "queue {{instance}}"),
        ("bridge_kafka_throttle_max_seconds{SEL}", "throttled {{instance}}"),
    ),
    _graph(
        "Requests to Kafka",
        "short",
        "Not yet sent; sent and not answered; brokers without a connection.",
        ("sum(bridge_kafka_requests_waiting{SEL})", "waiting"),
        ("sum(bridge_kafka_requests_in_flight{SEL})", "in flight"),
        ("sum(bridge_kafka_brokers{SEL} - bridge_kafka_brokers_up{SEL})", "brokers not connected"),
    ),
    _graph(
        "Requests to Kafka that failed, a second",
        "short",
        "Sent again, without an answer, not sent.",
        _rate("bridge_kafka_request_retries_total", "again"),
        _rate("bridge_kafka_request_timeouts_total", "no answer"),
        _rate("bridge_kafka_request_errors_total", "not sent"),
    ),
)
_FLEET: Final = (
    _graph(
        "Devices by how they stand",
        "short",
        "Only while silence is judged.",
        ("sum by (state) (bridge_devices{SEL})", "{{state}}"),
    ),
    _graph(
        "Alerts of devices",
        "short",
        "Told to Kafka and the log.",
        ("sum by (type) (increase(bridge_device_alerts_total{SEL}[$__rate_interval]))", "{{type}}"),
    ),
    _graph(
        "Clocks",
        "short",
        "Devices whose clock is wrong; 0 while the host's own is doubted.",
        ("sum(bridge_device_clocks_wrong{SEL})", "wrong"),
        ("min(bridge_host_clock_trusted{SEL})", "host trusted"),
    ),
)
_PROCESS: Final = (
    _graph("CPU", "percentunit", "Of one core.", _rate("process_cpu_seconds_total", "all")),
    _graph("Memory", "bytes", "Resident.", _each("process_resident_memory_bytes")),
    _graph(
        "Log lines left out a second",
        "short",
        "Repetitions; lines that standard output did not take.",
        _rate("bridge_log_lines_suppressed_total", "suppressed"),
        _rate("bridge_log_lines_lost_total", "lost"),
    ),
)
ROWS: Final = (
    ("Now", _NOW),
    ("The guide's measures", _GUIDE),
    ("The promise", _PROMISE),
    ("Outages", _OUTAGE),
    ("The links", _LINKS),
    ("The fleet", _FLEET),
    ("The process", _PROCESS),
)


def queries() -> list[str]:
    """List every query, with what stands for the chosen instances."""
    return [query for _, panels in ROWS for panel in panels for query, _ in panel.queries]


def dashboard() -> dict[str, Any]:
    """Lay the panels out, row by row."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS:
        at = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": at})
        top += 1
        width, height = _STAT if row[0].kind == "stat" else _GRAPH
        across = _COLUMNS // width
        for place, panel in enumerate(row):
            at = {
                "x": place % across * width,
                "y": top + place // across * height,
                "w": width,
                "h": height,
            }
            panels.append(_panel(panel, at))
        top += -(-len(row) // across) * height
    for number, each in enumerate(panels, start=1):
        each["id"] = number
    return {
        "uid": "mqtt-kafka-bridge",
        "title": "mqtt-kafka-bridge",
        "description": "Generated by python -m bridge.observe.dashboard; not to be edited.",
        "tags": ["mqtt", "kafka"],
        "timezone": "utc",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": panels,
    }


def _variables() -> list[dict[str, Any]]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return [
        {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "instance",
            "label": "Bridge",
            "type": "query",
            "datasource": source,
            "query": "label_values(bridge_build_info, instance)",
            "refresh": 2,
            "includeAll": True,
            "multi": True,
            "allValue": ".+",
            "current": {"text": "All", "value": "$__all"},
        },
    ]


def _panel(panel: Panel, at: dict[str, int]) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    defaults: dict[str, Any] = {"unit": panel.unit}
    if panel.kind == "stat":
        defaults["thresholds"] = _RED_BELOW_1 if panel.is_red_below_one else _GREEN
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.meaning,
        "datasource": source,
        "gridPos": at,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": source,
                "expr": query.replace("SEL", 'instance=~"$instance"'),
                "legendFormat": legend,
            }
            for number, (query, legend) in enumerate(panel.queries)
        ],
    }


def render() -> str:
    """Write the file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
