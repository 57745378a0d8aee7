"""When a read is followed by a rest, so that more packets come together."""

import random
from typing import Final

import pytest

from bridge.mqtt.rhythm import FULL, FULL_BYTES, Rhythm

REST_S: Final = 0.005


def _rest_at(
    rate_per_s: float, *, packets: int = 1, size_bytes: int = 250, may_broker_wait: bool = False
) -> float:
    """Read a steady trickle for a while; tell whether the last read was followed by a rest."""
    rhythm, now = Rhythm(REST_S), 0.0
    for _ in range(10):
        now += packets / rate_per_s
        rest_s = rhythm.rest_s(packets, size_bytes, may_broker_wait=may_broker_wait, now=now)
    return rest_s


@pytest.mark.parametrize("rate_per_s", [1, 100, 500, 590])
def test_a_few_hundred_a_second_are_read_as_they_come(rate_per_s: int) -> None:
    assert _rest_at(rate_per_s) == 0.0


@pytest.mark.parametrize("rate_per_s", [610, 2_000, 20_000])
def test_where_several_come_in_the_time_of_a_rest_there_is_one(rate_per_s: int) -> None:
    assert _rest_at(rate_per_s) == REST_S


def test_a_hundred_a_second_that_come_as_they_like_hardly_ever_rest() -> None:
    chance = random.Random(7)  # noqa: S311  a test wants it repeatable
    rhythm, now, rests = Rhythm(REST_S), 0.0, 0
    for _ in range(10_000):
        now += chance.expovariate(100)
        rests += rhythm.rest_s(1, 250, may_broker_wait=False, now=now) > 0

    assert rests < 300  # With one dense gap as its reason it would be 1,500.


def test_what_came_in_a_rest_is_reason_for_the_next() -> None:
    assert _rest_at(2_000, packets=8) == REST_S
    assert _rest_at(590, packets=2) == 0.0


def test_a_full_read_is_followed_by_the_next_at_once() -> None:
    assert _rest_at(60_000, packets=FULL) == 0.0
    assert _rest_at(60_000, packets=FULL - 1) == REST_S


def test_few_large_messages_fill_a_read_as_well() -> None:
    assert _rest_at(20_000, packets=128, size_bytes=262_144) == 0.0
    assert _rest_at(20_000, packets=1, size_bytes=FULL_BYTES) == 0.0
    assert _rest_at(20_000, packets=128, size_bytes=FULL_BYTES - 1) == REST_S


def test_nothing_rests_while_the_broker_may_wait_for_its_window() -> None:
    assert _rest_at(2_000, may_broker_wait=True) == 0.0


def test_reads_without_a_publish_say_nothing_of_the_pace() -> None:
    rhythm = Rhythm(REST_S)

    for number in range(100):
        now = number / 10
        assert rhythm.rest_s(0, 2, may_broker_wait=False, now=now - 0.0001) == 0.0
        assert rhythm.rest_s(1, 250, may_broker_wait=False, now=now) == 0.0


def test_reads_at_one_tick_of_the_clock_are_dense_and_no_error() -> None:
    rhythm = Rhythm(REST_S)

    rests = [rhythm.rest_s(1, 250, may_broker_wait=False, now=5.0) for _ in range(3)]

    assert [0.0, 0.0, REST_S] == rests


@pytest.mark.parametrize("rate_per_s", [100, 2_000, 20_000])
def test_who_wants_no_rest_has_none(rate_per_s: int) -> None:
    rhythm = Rhythm(0.0)

    rests = [
        rhythm.rest_s(1, 250, may_broker_wait=False, now=number // 2 / rate_per_s)
        for number in range(50)
    ]

    assert not any(rests)


def test_a_longer_rest_is_worth_while_at_fewer_messages_a_second() -> None:
    rhythm = Rhythm(0.020)

    rests = [rhythm.rest_s(1, 250, may_broker_wait=False, now=each / 155) for each in range(9)]

    assert rests == [0.0, 0.0, *[0.020] * 7]
