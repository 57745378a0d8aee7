"""Which linger suits the pace of the records."""

import pytest

from bridge.kafka.pace import (
    BACKLOG_LINGER_MS,
    CALM_LINGER_MS,
    FAST_PER_S,
    SLOW_FOR_S,
    SLOW_PER_S,
    Pace,
)

WIDE = 2_000
"""Receive Maximum as it is unless somebody changes it."""


class _Clock:
    """A pace that is asked each second."""

    def __init__(self) -> None:
        self.pace = Pace()
        self._records = 0
        self._now_s = 100.0
        self.pass_second(0.0)

    def pass_second(self, records_per_s: float, *, window: int = WIDE, seconds: float = 1.0) -> int:
        self._records += int(records_per_s * seconds)
        self._now_s += seconds
        self.pace.note(self._records, window=window, now_s=self._now_s)
        return self.pace.linger_ms

    def come_to_a_backlog(self) -> None:
        assert BACKLOG_LINGER_MS == self.pass_second(60_000)


def test_a_second_of_a_backlog_is_enough_to_linger() -> None:
    clock = _Clock()

    assert CALM_LINGER_MS == clock.pass_second(FAST_PER_S - 1)
    assert BACKLOG_LINGER_MS == clock.pass_second(FAST_PER_S)
    assert FAST_PER_S == clock.pace.records_per_s


def test_a_backlog_that_is_gone_is_not_fast_though_the_linger_still_suits() -> None:
    clock = _Clock()
    clock.come_to_a_backlog()
    is_fast = [clock.pace.is_fast]

    assert BACKLOG_LINGER_MS == clock.pass_second(FAST_PER_S - 1)

    assert [True, False] == [*is_fast, clock.pace.is_fast]


def test_what_was_sent_before_the_first_look_is_no_pace() -> None:
    pace = Pace()
    pace.note(1_000_000, window=WIDE, now_s=100.0)

    assert CALM_LINGER_MS == pace.linger_ms


@pytest.mark.parametrize("window", [0, 20, 255])
def test_a_narrow_window_is_not_slowed_by_a_linger(window: int) -> None:
    clock = _Clock()

    assert CALM_LINGER_MS == clock.pass_second(FAST_PER_S, window=window)


def test_the_window_must_hold_four_lingers_at_that_rate() -> None:
    assert CALM_LINGER_MS == _Clock().pass_second(50_000, window=999)
    assert BACKLOG_LINGER_MS == _Clock().pass_second(50_000, window=1_000)


def test_half_a_minute_of_calm_ends_the_linger() -> None:
    clock = _Clock()
    clock.come_to_a_backlog()

    for _ in range(int(SLOW_FOR_S) - 1):
        assert BACKLOG_LINGER_MS == clock.pass_second(SLOW_PER_S - 1)
    assert CALM_LINGER_MS == clock.pass_second(SLOW_PER_S - 1)


def test_a_second_that_is_not_calm_begins_the_half_minute_anew() -> None:
    clock = _Clock()
    clock.come_to_a_backlog()

    clock.pass_second(0, seconds=SLOW_FOR_S - 1)
    clock.pass_second(SLOW_PER_S)

    assert BACKLOG_LINGER_MS == clock.pass_second(0, seconds=SLOW_FOR_S - 1)
    assert CALM_LINGER_MS == clock.pass_second(0)


def test_between_the_two_bounds_all_stays_as_it_is() -> None:
    calm, lingering = _Clock(), _Clock()
    lingering.come_to_a_backlog()

    for _ in range(2 * int(SLOW_FOR_S)):
        assert CALM_LINGER_MS == calm.pass_second(10_000)
        assert BACKLOG_LINGER_MS == lingering.pass_second(10_000)


def test_a_window_that_became_narrow_ends_the_linger_too() -> None:
    clock = _Clock()
    clock.come_to_a_backlog()

    for _ in range(int(SLOW_FOR_S)):
        clock.pass_second(SLOW_PER_S, window=20)

    assert CALM_LINGER_MS == clock.pace.linger_ms


def test_a_clock_that_stands_still_changes_nothing() -> None:
    pace = Pace()
    pace.note(0, window=WIDE, now_s=5.0)
    pace.note(100_000, window=WIDE, now_s=5.0)

    assert CALM_LINGER_MS == pace.linger_ms
