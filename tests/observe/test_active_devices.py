from itertools import count, islice

import pytest
from hypothesis import given, strategies as st

from bridge.observe.active_devices import GENERATION_S, ActiveDevices

KEYS = [b"%d" % number for number in range(40)]


def test_a_device_is_active_for_at_least_five_minutes() -> None:
    devices = ActiveDevices(now_s=0.0)
    devices.note([b"a", b"b", b"a"], 149.0)

    assert devices.count(149.0) == 2
    assert devices.count(449.0) == 2
    assert devices.count(450.0) == 0


def test_a_device_that_speaks_again_is_counted_once_and_stays() -> None:
    devices = ActiveDevices(now_s=0.0)
    devices.note([b"a", b"b"], 0.0)
    devices.note([b"a"], 200.0)

    assert devices.count(200.0) == 2
    assert devices.count(451.0) == 1


def test_a_long_silence_forgets_every_device() -> None:
    devices = ActiveDevices(now_s=0.0)
    devices.note([b"a"], 0.0)

    assert devices.count(1e9) == 0


@given(st.lists(st.tuples(st.sets(st.sampled_from(KEYS)), st.floats(0, 200))))
def test_an_estimate_goes_the_way_of_what_is_told_apart(
    batches: list[tuple[set[bytes], float]],
) -> None:
    exact = ActiveDevices(now_s=0.0)
    estimated = ActiveDevices(now_s=0.0, exact_max=3, places=1 << 18)
    now_s = 0.0

    for keys, pause_s in batches:
        now_s += pause_s
        exact.note(keys, now_s)
        estimated.note(keys, now_s)

        # Two of 40 share a place of 262,144 in one case of 300.
        assert abs(estimated.count(now_s) - exact.count(now_s)) <= 1


@pytest.mark.parametrize("number", [30_000, 300_000])
def test_a_large_fleet_is_counted_to_one_percent(number: int) -> None:
    devices = ActiveDevices(now_s=0.0)
    upcoming = map(b"sensor-%d".__mod__, count())

    for _ in range(number // 1_000):
        devices.note(islice(upcoming, 1_000), 0.0)

    assert devices.count(0.0) == pytest.approx(number, rel=0.01)


def test_after_a_large_fleet_a_small_one_is_told_apart_again() -> None:
    devices = ActiveDevices(now_s=0.0, exact_max=3)
    devices.note([b"a", b"b", b"c", b"d"], 0.0)
    later_s = 4 * GENERATION_S

    devices.note([b"a"], later_s)

    assert devices.is_exact
    assert devices.count(later_s) == 1


def test_more_devices_than_places_are_still_a_number() -> None:
    devices = ActiveDevices(now_s=0.0, exact_max=1, places=4)

    devices.note(KEYS, 0.0)

    assert devices.count(0.0) == 6
