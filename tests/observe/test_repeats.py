from hypothesis import given, strategies as st

from bridge.observe.repeats import RepeatLimiter

KEY = ("message_dead_lettered", "empty")
OTHER = ("message_dead_lettered", "too_large")


def test_the_first_events_of_a_window_are_written() -> None:
    limiter = RepeatLimiter(written_per_window=2, window_s=10)

    assert [limiter.admit(KEY, now) for now in (0.0, 1.0, 2.0)] == [0, 0, None]


def test_the_next_event_that_is_written_carries_the_count() -> None:
    limiter = RepeatLimiter(written_per_window=1, window_s=10)
    for now in (0.0, 1.0, 2.0):
        limiter.admit(KEY, now)

    assert limiter.admit(KEY, 10.0) == 2
    assert limiter.admit(KEY, 20.0) == 0


def test_keys_do_not_suppress_each_other() -> None:
    limiter = RepeatLimiter(written_per_window=1, window_s=10)
    limiter.admit(KEY, 0.0)

    assert limiter.admit(OTHER, 0.0) == 0


def test_a_count_that_no_event_carries_is_yielded_once_the_window_ended() -> None:
    limiter = RepeatLimiter(written_per_window=1, window_s=10)
    limiter.admit(KEY, 0.0)
    limiter.admit(KEY, 1.0)

    assert list(limiter.expire(9.9)) == []
    assert list(limiter.expire(10.0)) == [(KEY, 1)]
    assert list(limiter.expire(30.0)) == []


def test_the_number_of_keys_has_a_bound() -> None:
    limiter = RepeatLimiter(written_per_window=1, window_s=10, keys_max=3)

    answers = [limiter.admit(("event", n), 0.0) for n in range(5)]

    assert answers == [0, 0, 0, 0, None]
    assert list(limiter.expire(10.0)) == [(("", None), 1)]


@given(st.lists(st.tuples(st.sampled_from([KEY, OTHER]), st.floats(0, 7), st.booleans())))
def test_every_event_is_written_or_counted(
    steps: list[tuple[tuple[str, str], float, bool]],
) -> None:
    limiter = RepeatLimiter(written_per_window=2, window_s=10)
    now = 0.0
    accounted = 0

    for key, pause, is_tick in steps:
        now += pause
        suppressed = limiter.admit(key, now)
        accounted += 0 if suppressed is None else 1 + suppressed
        accounted += sum(count for _, count in limiter.expire(now)) if is_tick else 0
    accounted += sum(count for _, count in limiter.expire(now + 11))

    assert accounted == len(steps)
