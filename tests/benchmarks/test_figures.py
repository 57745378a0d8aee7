import msgspec
import pytest

from benchmarks.figures import (
    BASELINE,
    FLOOR,
    PROMISE,
    as_json,
    compare,
    excess,
    shortfalls,
    table,
)
from benchmarks.terms import Terms
from tests.benchmarks.given import given_drain

_DRAINS = [
    given_drain(PROMISE, 0, cpu_s=10.0, took_s=20.0),
    given_drain(BASELINE, 0, cpu_s=100.0, took_s=120.0),
    given_drain(BASELINE, 1, cpu_s=240.0, took_s=280.0),
    given_drain(PROMISE, 1, cpu_s=20.0, took_s=40.0),
    given_drain(FLOOR, 1, cpu_s=5.0, took_s=10.0),
]


def test_ratios_are_taken_within_a_round_and_not_across_rounds() -> None:
    comparison = compare(_DRAINS, PROMISE, BASELINE)

    assert comparison is not None
    assert (11.0, 10.0, 12.0) == msgspec.structs.astuple(comparison.cpu)
    assert (6.5, 6.0, 7.0) == msgspec.structs.astuple(comparison.rate)


def test_a_contender_that_shares_no_round_with_the_bridge_is_not_compared() -> None:
    assert compare(_DRAINS[:1], PROMISE, FLOOR) is None
    assert shortfalls(None, ratio_min=5) != []


@pytest.mark.parametrize(
    ("ratio_min", "missing"),
    [
        (5, []),
        (7, ["rate: 6.50 times better, required 7"]),
        (
            20,
            [
                "CPU a message: 11.00 times better, required 20",
                "rate: 6.50 times better, required 20",
            ],
        ),
    ],
)
def test_a_required_ratio_holds_for_cpu_and_for_rate(ratio_min: float, missing: list[str]) -> None:
    assert missing == shortfalls(compare(_DRAINS, PROMISE, BASELINE), ratio_min=ratio_min)


@pytest.mark.parametrize(
    ("ratio_max", "told"),
    [
        (4, []),
        (3.5, ["CPU a message: 4.00 times that of the floor, allowed 3.5"]),
    ],
)
def test_what_the_bridge_may_cost_over_the_floor_is_held_to(
    ratio_max: float, told: list[str]
) -> None:
    assert told == excess(compare(_DRAINS, PROMISE, FLOOR), ratio_max=ratio_max)
    assert excess(None, ratio_max=ratio_max) != []


def test_the_table_has_a_line_for_each_contender_and_each_comparison() -> None:
    lines = table(_DRAINS).split("\n")

    assert 6 == len(lines)
    assert lines[1].split()[:3] == ["promise", "15.00", "(10.00-20.00)"]
    assert "CPU a message baseline/promise 11.000 (10.000-12.000)" in lines[4]


def test_the_json_holds_every_drain_and_the_ratios() -> None:
    document = msgspec.json.decode(as_json(_DRAINS, {"messages": 1_000_000}))

    assert 5 == len(document["drains"])
    assert 10.0 == document["drains"][0]["cpu_us"]
    assert {"promise/baseline", "promise/floor"} == document["ratios"].keys()


def test_terms_survive_the_command_line() -> None:
    terms = Terms(
        mqtt_port=1883,
        bootstrap_servers="127.0.0.1:9092",
        client_id="c-1",
        kafka_topic="t",
        dead_letter_topic="d",
    )

    assert terms == Terms.from_arguments(terms.as_arguments())
