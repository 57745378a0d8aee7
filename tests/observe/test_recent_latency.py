import pytest

from bridge.observe.counters import LATENCY_BOUNDS_S, LatencyHistogram
from bridge.observe.recent_latency import RecentLatency, quantile

BUCKETS = len(LATENCY_BOUNDS_S) + 1


def counts(**by_bucket: int) -> list[int]:
    found = [0] * BUCKETS
    for name, count in by_bucket.items():
        found[int(name.removeprefix("b"))] = count
    return found


@pytest.mark.parametrize(
    ("given", "share", "expected"),
    [
        pytest.param(counts(), 0.5, None, id="none"),
        pytest.param(counts(b0=10), 0.5, 0.0005, id="half of the first bucket"),
        pytest.param(counts(b1=10), 0.5, 0.003, id="half-way between 1 and 5 ms"),
        pytest.param(counts(b0=99, b5=1), 0.99, 0.001, id="the last of the fast ones"),
        pytest.param(counts(b0=98, b5=2), 0.99, 0.075, id="the first of the slow ones"),
        pytest.param([0] * (BUCKETS - 1) + [1], 0.5, 300.0, id="beyond the last bound"),
    ],
)
def test_a_quantile_lies_in_its_bucket(
    given: list[int], share: float, expected: float | None
) -> None:
    assert expected == quantile(given, share)


def test_only_the_last_minute_counts() -> None:
    histogram, recent = LatencyHistogram(), RecentLatency()
    histogram.observe_many(0.0, 20.0, 1_000)
    for second in range(200):
        if second == 100:
            histogram.observe_many(0.0, 0.004, 10)
        recent.note(histogram.counts, float(second))
        told = recent.as_tree()
        assert (10 if 100 <= second < 160 else 0) == told["messages"]
        assert (told["p50_s"] is None) == (told["messages"] == 0)

    assert 60.0 == told["over_s"]


def test_before_anything_was_noted_nothing_is_told() -> None:
    assert {"over_s": 60.0, "messages": 0, "p50_s": None, "p95_s": None, "p99_s": None} == (
        RecentLatency().as_tree()
    )
