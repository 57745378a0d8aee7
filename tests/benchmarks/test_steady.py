"""Who is measured at a steady rate, and what is told of them."""

from benchmarks.figures import BASELINE, PROMISE, PROMISE_PROMPT
from benchmarks.steady import BARE, CONTENDERS, Window, contenders_at, table


def _window(contender: str, round_number: int, p50_ms: float) -> Window:
    return Window(
        contender=contender,
        rate_per_s=2_000.0,
        round=round_number,
        records=1_000,
        p50_ms=p50_ms,
        p90_ms=p50_ms,
        p99_ms=p50_ms,
        p999_ms=p50_ms,
        most_ms=p50_ms,
        cpu_s=0.1,
        seconds=1.0,
    )


def test_a_bridge_without_rests_is_measured_where_the_other_rests() -> None:
    assert CONTENDERS == contenders_at(2_000)
    assert PROMISE_PROMPT not in contenders_at(100)
    assert BASELINE in contenders_at(100)
    assert (PROMISE,) == contenders_at(0)


def test_ratios_of_both_bridges_are_taken_within_a_round() -> None:
    told = table(
        [
            _window(PROMISE, 0, 6.0),
            _window(PROMISE_PROMPT, 0, 3.0),
            _window(BARE, 0, 2.0),
            _window(PROMISE, 1, 5.0),
            _window(PROMISE_PROMPT, 1, 1.0),
            _window(BARE, 1, 1.0),
            _window(PROMISE_PROMPT, 2, 9.0),
        ]
    )

    assert "2000 p50_ms, promise/bare: 4.000 (3.000-5.000)" in told
    assert "2000 p50_ms, promise_prompt/bare: 1.250 (1.000-1.500)" in told
    assert "cpu_us, promise/bare" not in told
