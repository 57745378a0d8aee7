import pytest
from hypothesis import given, strategies as st

from bridge.observe.averages import Average, Rate


def test_a_mean_is_right_from_the_first_value_on() -> None:
    average = Average()
    before = average.value

    average.note(7.0, 1.0)

    assert 0.0 == before
    assert pytest.approx(7.0) == average.value


def test_what_is_long_ago_is_forgotten() -> None:
    average = Average(over_s=60.0)
    average.note(1_000.0, 60.0)

    average.note(1.0, 600.0)

    assert pytest.approx(1.0, abs=0.1) == average.value


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0.001, 1e4)), min_size=1))
def test_a_mean_lies_between_the_smallest_and_the_largest(
    values: list[tuple[float, float]],
) -> None:
    average = Average()

    for value, since_s in values:
        average.note(value, since_s)

    low, high = min(value for value, _ in values), max(value for value, _ in values)
    assert low * (1 - 1e-9) - 1e-9 <= average.value <= high * (1 + 1e-9) + 1e-9


def test_a_rate_is_of_the_last_second_and_of_the_last_minute() -> None:
    rate = Rate()
    for second in range(120):
        rate.note(10 * second, 100.0 + second)

    rate.note(10 * 119 + 70, 220.0)

    assert pytest.approx(70) == rate.now_per_s
    assert pytest.approx(11, abs=0.2) == rate.lately_per_s


def test_what_was_counted_before_the_first_look_is_no_rate() -> None:
    rate = Rate()

    rate.note(1_000_000, 5.0)

    assert (0.0, 0.0) == (rate.now_per_s, rate.lately_per_s)
