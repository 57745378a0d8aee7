import math
from typing import Any

import msgspec
import pytest

from bridge.observe.counters import Counters, LatencyHistogram
from bridge.observe.examples import Examples
from bridge.observe.health import HealthInputs, KafkaState, MqttState
from bridge.observe.spool_facts import SpoolFacts
from bridge.observe.status import Flow, StatusInputs, status


def inputs_with(**changes: Any) -> StatusInputs:
    counters = Counters(received=20, spooled_at_start=2, producer_rebuilds=1, spool_failures=4)
    counters.settled.update(produced=10, dead_lettered=3, duplicate=2, dropped=1)
    counters.dead_letters["empty"] = 3
    counters.gaps["session_lost"] = 1
    spool = SpoolFacts(
        rows=4,
        pending=1,
        live_bytes=300,
        bytes_max=900,
        obstacle="spool_failed",
        error="disk \x1b full",
        silent_topics=["telemetry-raw"],
        stuck_topics={"telemetry-dlq": 2},
    )
    health = HealthInputs(
        mqtt=MqttState.SUBSCRIBED,
        kafka=KafkaState.KAFKA_AWAY,
        spool=spool,
        outage_budget_s=changes.pop("outage_budget_s", 90.04),
    )
    facts = {
        "version": "1.2.3",
        "client_id": "north \x1b",
        "now": 100.0,
        "uptime_s": 12.34,
        "health": health,
        "counters": counters,
        "flow": Flow(),
        "in_flight": 2,
        "spooled": 4,
        "oldest_unsettled_s": 1.5,
        "window_used_ratio": 0.25,
        "dedup_window_s": 60.0,
    }
    return StatusInputs(**{**facts, **changes})


def test_every_term_of_conservation_is_there_and_what_is_left_over() -> None:
    assert {
        "received": 20,
        "spooled_at_start": 2,
        "produced": 10,
        "dead_lettered": 3,
        "duplicates": 2,
        "dropped": 1,
        "spooled": 4,
        "in_flight": 2,
        "residue": 0,
    } == status(inputs_with())["conservation"]
    assert 1 == status(inputs_with(spooled=3))["conservation"]["residue"]


def test_the_spool_tells_what_it_holds_who_is_silent_and_why_it_fails() -> None:
    assert {
        "state": "spool_failed",
        "rows": 4,
        "pending": 1,
        "bytes": 300,
        "bytes_max": 900,
        "silent_topics": ["telemetry-raw"],
        "stuck_records": {"telemetry-dlq": 2},
        "error": r"disk \x1b full",
        "rows_written": 0,
        "rows_drained": 0,
        "failures": 4,
    } == status(inputs_with())["spool"]


@pytest.mark.parametrize(
    ("seconds", "state", "written"),
    [(90.04, "limited", 90.0), (math.inf, "no_inflow", None), (None, "unknown", None)],
)
def test_a_budget_without_a_number_says_why(
    seconds: float | None, state: str, written: float | None
) -> None:
    budget = status(inputs_with(outage_budget_s=seconds))["outage_budget"]

    assert (state, written) == (budget["state"], budget["seconds"])


def test_readiness_is_told_by_part() -> None:
    told = status(inputs_with())

    assert not told["ready"]
    assert {"mqtt": True, "kafka": False, "spool": False} == {
        name: check["ok"] for name, check in told["checks"].items()
    }


def test_each_part_says_since_when_it_is_as_it_is() -> None:
    flow = Flow()
    flow.lasting.note({"mqtt": {"state": "subscribed"}}, 40.0)

    told = status(inputs_with(flow=flow))["checks"]

    assert (60.0, None) == (told["mqtt"]["since_s"], told["kafka"]["since_s"])


def test_it_names_which_of_several_bridges_it_is() -> None:
    assert r"north \x1b" == status(inputs_with())["client_id"]


def test_latency_is_that_of_the_last_minute() -> None:
    flow, histogram = Flow(), LatencyHistogram()
    flow.latency.note(histogram.counts, 100.0)
    histogram.observe_many(0.0, 0.003, 4)
    flow.latency.note(histogram.counts, 101.0)

    told = status(inputs_with(flow=flow))["latency"]

    assert (4, 0.003) == (told["messages"], told["p50_s"])


def test_examples_are_told_only_where_they_are_kept() -> None:
    assert status(inputs_with())["dead_letter_examples"] is None
    assert {} == status(inputs_with(examples=Examples()))["dead_letter_examples"]


def test_rates_are_of_now_and_of_the_last_minute() -> None:
    flow = Flow()
    for second in range(3):
        flow.note(Counters(received=5 * second), 100.0 + second)

    told = status(inputs_with(flow=flow))

    assert {"now": 5.0, "last_minute": 5.0} == told["received_per_s"]
    assert {"now": 0.0, "last_minute": 0.0} == told["settled_per_s"]


def test_what_was_counted_is_told_by_cause() -> None:
    told = status(inputs_with())

    assert 3 == told["dead_letters"]["empty"]
    assert 1 == told["gaps"]["session_lost"]
    assert 1 == told["producer_rebuilds"]


def test_it_is_json_without_surprises() -> None:
    told = status(inputs_with(outage_budget_s=math.inf))

    assert told == msgspec.json.decode(msgspec.json.encode(told))
