"""How long the bridge waits before it connects again."""

import random

from hypothesis import given, strategies as st

from bridge.mqtt.backoff import CEILING_S, FIRST_S, STABLE_S, Backoff


@given(st.integers())
def test_no_delay_is_below_the_first_or_above_the_ceiling(seed: int) -> None:
    backoff = Backoff(random.Random(seed).uniform)  # noqa: S311  a test wants it repeatable

    delays = [backoff.next_delay_s() for _ in range(50)]

    assert all(FIRST_S <= delay <= CEILING_S for delay in delays)


def test_without_luck_the_delay_reaches_the_ceiling_and_stays() -> None:
    backoff = Backoff(lambda _, high: high)

    delays = [backoff.next_delay_s() for _ in range(8)]

    assert [0.75, 2.25, 6.75, 20.25, 30.0, 30.0, 30.0, 30.0] == delays


def test_a_stable_connection_starts_the_delays_from_the_beginning() -> None:
    backoff = Backoff(lambda _, high: high)
    for _ in range(8):
        backoff.next_delay_s()

    backoff.lived(STABLE_S)

    assert 3 * FIRST_S == backoff.next_delay_s()


def test_a_short_connection_does_not_reset_the_delays() -> None:
    backoff = Backoff(lambda _, high: high)
    for _ in range(8):
        backoff.next_delay_s()

    backoff.lived(STABLE_S - 0.1)

    assert CEILING_S == backoff.next_delay_s()


def test_a_refusal_that_haste_makes_worse_waits_near_the_ceiling_at_once() -> None:
    backoff = Backoff(lambda low, _: low)

    assert CEILING_S / 2 == backoff.ceiling_delay_s()
