"""A replay is no faster than its rate, and does not make up for what was slow."""

import pytest

from bridge.pipeline.letters.pace import BATCH_MAX, Pace


@pytest.mark.parametrize(
    ("per_s", "batch"), [(None, BATCH_MAX), (0.5, 1), (1.0, 1), (50.0, 50), (1e6, BATCH_MAX)]
)
def test_what_goes_at_once_is_that_of_a_second(per_s: float | None, batch: int) -> None:
    assert batch == Pace(per_s).batch


def test_a_thousand_letters_take_their_time_and_a_pause_gives_none_back() -> None:
    pace, now = Pace(100.0), 5.0
    for _ in range(10):
        now += pace.wait_s(now)
        pace.note(100, now)

    assert 14.0 == pytest.approx(now)
    assert 0.0 == pace.wait_s(now + 60.0)
    pace.note(100, now + 60.0)
    assert 1.0 == pytest.approx(pace.wait_s(now + 60.0))


def test_without_a_rate_nothing_waits() -> None:
    pace = Pace(None)
    pace.note(1_000, 5.0)

    assert 0.0 == pace.wait_s(5.0)
