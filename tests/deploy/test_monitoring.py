"""What operators give to Prometheus and Grafana agrees with what the bridge exports and says."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bridge.observe.counters import Counters, Status
from bridge.observe.dashboard import queries, render
from bridge.observe.events import CATALOGUE
from bridge.observe.fleet_facts import FleetFacts
from tests.deploy.monitoring import (
    MONITORING,
    RULES,
    RULES_TEST,
    alerts,
    exposition,
    read_yaml,
    rules,
    selectors,
    series,
)
from tests.support.certificates import PROJECT
from tests.support.promtool import Promtool

ALERTS = alerts()
RUNBOOK = PROJECT / "docs" / "runbook.md"
SECTION_WORDS_MIN = 15


def alert_name(rule: dict[str, Any]) -> str:
    return str(rule["alert"])


def sections() -> dict[str, str]:
    """Give the runbook's sections by the anchors that a renderer of Markdown makes."""
    text = RUNBOOK.read_text(encoding="utf-8")
    found = {}
    for section in re.split(r"^#+ ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        found[re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")] = body
    return found


# --- the rules


def test_promtool_accepts_the_rules(promtool: Promtool) -> None:
    answer = promtool.check_rules(RULES)

    assert answer.is_ok, answer.text


def test_every_alert_fires_on_its_series_and_on_no_healthy_one(promtool: Promtool) -> None:
    answer = promtool.test_rules(RULES_TEST)

    assert answer.is_ok, answer.text


def test_the_rule_tests_let_each_alert_fire_once_and_none_of_them_on_a_well_bridge() -> None:
    well, *others = read_yaml("rules_test.yml")["tests"]
    named = sorted(map(alert_name, ALERTS))
    firing = {
        each["alertname"]: len(each["exp_alerts"])
        for case in others
        for each in case["alert_rule_test"]
        if each.get("exp_alerts")
    }

    assert named == sorted(each["alertname"] for each in well["alert_rule_test"])
    assert [] == [each for each in well["alert_rule_test"] if each.get("exp_alerts")]
    assert dict.fromkeys(named, 1) == firing


def test_every_metric_and_label_that_a_rule_asks_for_is_exported_or_recorded() -> None:
    exported = series(exposition())
    recorded = {rule["record"] for rule in rules() if "record" in rule}

    unknown = [
        selector
        for rule in rules()
        for selector in selectors(rule["expr"])
        if selector.name not in recorded
        and not any(name == selector.name and selector.matches(labels) for name, labels in exported)
    ]

    assert [] == unknown


def test_every_recorded_rule_is_used() -> None:
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    used = {each.name for rule in ALERTS for each in selectors(rule["expr"])}
    used |= {each.name for rule in rules() for each in selectors(rule["expr"])}

    assert set() == recorded - used


def test_promtool_accepts_the_configuration_that_compose_mounts(promtool: Promtool) -> None:
    answer = promtool.check_config(MONITORING / "prometheus.yml")

    assert answer.is_ok, answer.text


def test_prometheus_scrapes_under_the_job_that_the_rules_ask_for() -> None:
    (job,) = read_yaml("prometheus.yml")["scrape_configs"]
    asked = {found for rule in rules() for found in re.findall(r'job="([^"]+)"', rule["expr"])}

    assert {job["job_name"]} == asked


# --- the runbook


@pytest.mark.parametrize("rule", ALERTS, ids=alert_name)
def test_an_alert_says_how_grave_it_is_and_where_the_runbook_speaks_of_it(
    rule: dict[str, Any],
) -> None:
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")

    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert "$labels.instance" in rule["annotations"]["summary"]
    assert ("docs/runbook.md", rule["alert"].lower()) == (page, anchor)
    assert anchor in sections()


@pytest.mark.parametrize("rule", ALERTS, ids=alert_name)
def test_the_runbook_names_metric_and_log_event_and_what_to_do(rule: dict[str, Any]) -> None:
    section = sections()[rule["alert"].lower()]
    quoted = set(re.findall(r"`([a-z0-9_]+)`", section))
    metrics = {name for name, _ in series(exposition())} | {"ingestion_latency_seconds", "up"}

    assert quoted & metrics
    assert quoted & CATALOGUE.keys()
    assert len(section.split()) >= SECTION_WORDS_MIN


def test_every_metric_that_the_runbook_names_is_exported() -> None:
    exported = {name for name, _ in series(exposition())} | {"ingestion_latency_seconds"}
    quoted = re.findall(r"`((?:bridge|ingestion)_[a-z0-9_]+)`", RUNBOOK.read_text(encoding="utf-8"))

    assert set() == set(quoted) - exported - CATALOGUE.keys()


# --- the dashboard


def test_the_dashboard_is_current() -> None:
    written = (MONITORING / "dashboard.json").read_text(encoding="utf-8")

    assert written == render(), (
        "run: python -m bridge.observe.dashboard > deploy/monitoring/dashboard.json"
    )


def test_every_metric_and_label_on_the_dashboard_is_exported() -> None:
    exported = series(exposition())

    unknown = [
        selector
        for query in queries()
        for selector in selectors(query)
        if not any(name == selector.name and selector.matches(labels) for name, labels in exported)
    ]

    assert [] == unknown


def test_every_query_of_the_dashboard_is_promql(promtool: Promtool, tmp_path: Path) -> None:
    file = tmp_path / "queries.yml"
    recorded = [
        {"record": f"query:{number}", "expr": _as_prometheus_sees(query)}
        for number, query in enumerate(queries())
    ]
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": recorded}]}))

    answer = promtool.check_rules(file)

    assert answer.is_ok, answer.text


def test_no_panel_of_the_dashboard_lies_on_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in json.loads(render())["panels"]:
        at = panel["gridPos"]
        cells = [
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        ]
        assert [] == [taken[cell] for cell in cells if cell in taken], panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= dict.fromkeys(cells, panel["title"])


def _as_prometheus_sees(query: str) -> str:
    return query.replace("SEL", 'instance=~".+"').replace("$__rate_interval", "1m")


def test_grafana_finds_the_dashboard_where_compose_mounts_it() -> None:
    (provider,) = read_yaml("grafana-dashboards.yml")["providers"]
    compose = (PROJECT / "compose.yaml").read_text(encoding="utf-8")

    assert f"dashboard.json:{provider['options']['path']}/dashboard.json:ro" in compose


# --- the metrics


def test_promtool_finds_nothing_wrong_with_the_metrics(promtool: Promtool) -> None:
    answer = promtool.check_metrics(exposition())

    assert (True, "") == (answer.is_ok, answer.text)


def test_the_number_of_series_does_not_grow_with_the_fleet() -> None:
    small, large = (
        len(series(_of_fleet(devices, types))) for devices, types in ((10, 3), (100_000, 3))
    )

    assert small == large


def _of_fleet(devices: int, types: int) -> str:
    """Write the exposition of a bridge that has heard, counted and lost so many devices."""
    counters = Counters(received=devices * 10)
    for number in range(types):
        for status in Status:
            for _ in range(devices // types):
                counters.note_type(f"type-{number}", status)
    for by_label in (counters.dead_letters, counters.flagged_copies, counters.alerts):
        for label in by_label:
            by_label[label] += devices
    return exposition(
        counters,
        in_flight=devices,
        active_devices=devices,
        queue_depth=devices,
        fleet=FleetFacts(
            is_silence_on=True,
            devices={"live": devices, "silent": devices // 2},
            clocks_wrong=devices // 3,
        ),
    )
