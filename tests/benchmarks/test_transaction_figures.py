import pytest
from msgspec import json

from benchmarks.transaction_figures import (
    DrainFigures,
    Latency,
    LoadFigures,
    Sample,
    as_json,
    in_turn,
    quantile,
    ratio,
    table,
)
from benchmarks.transaction_load import VALUE_BYTES, make_record


def _sample(round_number: int, interval_ms: int | None, *, p99_ms: float, rate: float) -> Sample:
    latency = Latency(p99_ms / 2, p99_ms, 2 * p99_ms)
    return Sample(
        round=round_number,
        interval_ms=interval_ms,
        load=LoadFigures(safe=latency, cpu_us=50.0, kafka_cpu_us=100.0, commits=0),
        visible=latency,
        drains=[
            DrainFigures(window=2_000, rate_per_s=rate, cpu_us=4.0, kafka_cpu_us=2.0, commits=0)
        ],
    )


_SAMPLES = [
    _sample(0, None, p99_ms=10.0, rate=200_000.0),
    _sample(0, 20, p99_ms=30.0, rate=100_000.0),
    _sample(1, 20, p99_ms=100.0, rate=10_000.0),
    _sample(1, None, p99_ms=20.0, rate=40_000.0),
]


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 2.0), (0.51, 3.0), (0.99, 4.0), (1.0, 4.0)]
)
def test_a_quantile_is_a_value_that_was_measured(share: float, expected: float) -> None:
    assert expected == quantile([1.0, 2.0, 3.0, 4.0], share)


def test_latency_is_in_milliseconds_in_whatever_order_the_spans_came() -> None:
    assert Latency(2.0, 3.0, 3.0) == Latency.of([3_000_000, 1_000_000, 2_000_000])


def test_every_round_has_every_variant_and_the_order_alternates() -> None:
    assert [None, 5, 10] == in_turn([5, 10], 0)
    assert [10, 5, None] == in_turn([5, 10], 1)


def test_a_ratio_is_taken_within_a_round() -> None:
    variant = _SAMPLES[1].variant

    assert 4.0 == ratio(_SAMPLES, variant, lambda each: each.load.safe.p99_ms)
    assert 0.375 == ratio(_SAMPLES, variant, lambda each: each.drains[0].rate_per_s)


def test_the_table_has_medians_and_the_most_of_all_rounds_the_idempotent_producer_first() -> None:
    rows = [row.split(" | ") for row in table(_SAMPLES).splitlines()]

    assert 4 == len(rows)
    assert {len(rows[0])} == {len(row) for row in rows}
    assert ["| idempotent", "7.5 / 15.0 / 40", "1.0"] == rows[2][:3]
    assert ["| commit each 20 ms", "32.5 / 65.0 / 200", "4.0"] == rows[3][:3]
    assert "55,000 (0.38)" == rows[3][4]


def test_the_json_has_every_sample() -> None:
    document = json.decode(as_json(_SAMPLES, {"nodes": 1}))

    assert {"nodes": 1} == document["about"]
    assert [None, 20, 20, None] == [each["interval_ms"] for each in document["samples"]]


def test_every_record_has_the_same_size_whether_it_is_stamped_or_not() -> None:
    values = [make_record(7, 0).value, make_record(7, 1_234_567_890_123).value]

    assert [VALUE_BYTES, VALUE_BYTES] == [len(value) for value in values]
    assert [0, 1_234_567_890_123] == [int(value[:20]) for value in values]
