import pytest

from benchmarks.memory import growth_mb_in_10_min


def test_the_growth_of_ten_minutes_is_ten_times_that_of_one() -> None:
    assert growth_mb_in_10_min([100.0, 100.1, 100.2, 100.3]) == pytest.approx(1.0)


def test_what_goes_up_and_down_does_not_grow() -> None:
    assert growth_mb_in_10_min([100.0, 101.0, 101.0, 100.0]) == pytest.approx(0.0)
