"""A wrong clock is told from a late reading, and a fleet is counted without its names."""

from bisect import bisect_left
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings, strategies as st

from bridge.fleet.drift import OFFSET_BOUNDS_S, ClockFact, ClockRight, ClockWrong, Drifts

DEVICE = b"sensor-1"
Noted = tuple[float, float]
"""When, and the drift."""


def notes(found: Drifts, noted: Iterable[Noted], device: bytes = DEVICE) -> list[ClockFact]:
    facts = [found.note(device, drift_s, now_s) for now_s, drift_s in noted]
    return [fact for fact in facts if fact is not None]


def each_second(
    drift_s: Callable[[float], float], seconds: int = 120, *, start_s: int = 0
) -> list[Noted]:
    return [(float(now_s), drift_s(now_s)) for now_s in range(start_s, start_s + seconds)]


@pytest.mark.parametrize(
    ("drift_s", "expected"),
    [
        pytest.param(lambda _: 0.2, [], id="right"),
        pytest.param(lambda _: -29.0, [], id="ahead by less than the bound"),
        pytest.param(lambda _: 29.0, [], id="behind by less than the bound"),
        pytest.param(lambda _: -60.0, [ClockWrong(DEVICE, -60.0)], id="ahead"),
        pytest.param(lambda _: 3_600.0, [ClockWrong(DEVICE, 3_600.0)], id="behind"),
        pytest.param(
            lambda now_s: 64.0 + now_s % 3 / 4, [ClockWrong(DEVICE, 64.0)], id="behind, with jitter"
        ),
        pytest.param(lambda now_s: 600.0 - 2.0 * now_s, [], id="a backlog at twice the speed"),
        pytest.param(lambda now_s: 600.0 - 0.1 * now_s, [], id="a backlog at 1.1 the speed"),
        pytest.param(lambda now_s: 0.2 + 300.0 * (now_s % 5 > 0), [], id="mostly late"),
        pytest.param(lambda now_s: 59.0 - now_s % 60, [], id="sent once a minute"),
        pytest.param(lambda now_s: 0.2 - 9_999.0 * (now_s == 50), [], id="one mistake"),
    ],
)
def test_a_clock_is_judged_by_the_lower_envelope_of_its_drifts(
    drift_s: Callable[[float], float], expected: list[ClockFact]
) -> None:
    found = Drifts()

    assert expected == notes(found, each_second(drift_s))
    assert len(expected) == found.wrong


def test_a_clock_is_wrong_once_and_right_once_and_nothing_happens_in_between() -> None:
    found = Drifts()
    drifts = [0.0, -40.0, -20.0, -40.0, 0.0, 20.0, 40.0, 20.0, 0.0]

    told = [
        fact
        for step, drift_s in enumerate(drifts)
        for fact in notes(found, each_second(lambda _, d=drift_s: d, start_s=120 * step))  # type: ignore[misc]
    ]

    expected = [
        ClockWrong(DEVICE, -40.0),
        ClockRight(DEVICE, 0.0),
        ClockWrong(DEVICE, 40.0),
        ClockRight(DEVICE, 0.0),
    ]
    assert expected == told


def test_a_device_that_speaks_once_an_hour_is_judged_by_its_last_eight_messages() -> None:
    found = Drifts()

    facts = notes(found, [(3_600.0 * hour, 120.0 + hour % 2) for hour in range(8)])

    assert [ClockWrong(DEVICE, 120.0)] == facts


def test_a_device_that_speaks_once_in_two_days_is_judged_like_any_other() -> None:
    found = Drifts()

    facts = notes(found, [(65_536.0 * number, 120.0) for number in range(20)])

    assert [ClockWrong(DEVICE, 120.0)] == facts


def test_what_an_hour_of_silence_spans_is_not_counted_twice() -> None:
    found = Drifts()
    caught_up = [(3_600.0 + 5.0 * number, 130.0 - number) for number in range(11)]

    assert [] == notes(found, [(0.0, 0.0), *caught_up])


def test_slots_that_span_hours_need_be_no_more_alike_than_any() -> None:
    found = Drifts()

    facts = notes(found, [(3_600.0 * hour, 120.0 + 14.5 * (hour % 2)) for hour in range(20)])

    assert [ClockWrong(DEVICE, 120.0)] == facts


def test_slots_that_span_minutes_must_be_the_more_alike() -> None:
    found = Drifts()

    assert [] == notes(found, [(15.0 * at, 120.0 + 10.0 * (at % 2)) for at in range(40)])


def test_after_a_week_of_silence_a_wide_bound_allows_what_it_allows() -> None:
    found = Drifts(offset_max_s=5_000.0)
    back = [(604_800.0 + 5.0 * at, 6_000.0 + 2_200.0 * (at % 2)) for at in range(8)]

    assert [ClockWrong(DEVICE, 6_000.0)] == notes(found, [(0.0, 6_000.0), *back])


def test_slots_that_span_less_than_half_a_minute_say_nothing_of_a_clock_behind() -> None:
    found = Drifts()

    facts = notes(found, [(5.0 * number, 120.0) for number in range(7)])
    later = notes(found, [(36.0, 120.0), (41.0, 120.0)])

    assert [] == facts
    assert [ClockWrong(DEVICE, 120.0)] == later


def test_a_backlog_before_a_right_clock_is_no_wrong_clock_however_the_device_mixes_them() -> None:
    found = Drifts()
    mixed = [
        (float(now_s), drift_s) for now_s in range(300) for drift_s in (900.0 - 3.0 * now_s, 0.3)
    ]

    assert [] == notes(found, mixed)
    assert 0.3 == pytest.approx(found.offset_s(DEVICE))


def test_with_the_hosts_clock_unsynchronised_nothing_is_judged() -> None:
    found = Drifts()

    facts = [
        found.note(DEVICE, -9e8, now_s, is_host_synchronised=False)
        for now_s, _ in each_second(lambda _: 0.0)
    ]

    assert {None} == set(facts)
    assert (0, None, 0) == (found.wrong, found.offset_s(DEVICE), sum(found.counts()))


def test_each_offset_is_told_to_whoever_ranks_them() -> None:
    told: list[tuple[bytes, float]] = []
    found = Drifts(on_offset=lambda device, offset_s: told.append((device, offset_s)))

    notes(found, each_second(lambda _: 2.0, 16))

    assert [(DEVICE, 2.0)] * 3 == told


@given(
    offset_s=st.floats(-300.0, 300.0),
    delays_s=st.lists(st.floats(0.0, 5_000.0), min_size=40, max_size=200),
    prompt=st.integers(0, 4),
)
@settings(deadline=None)
def test_delays_of_any_kind_never_make_a_clock_wrong_while_one_message_in_five_is_prompt(
    offset_s: float, delays_s: list[float], prompt: int
) -> None:
    found = Drifts(offset_max_s=30.0)
    noted = [
        (float(now_s), offset_s + (0.0 if now_s % 5 == prompt else delay_s))
        for now_s, delay_s in enumerate(delays_s)
    ]

    facts = notes(found, noted)

    assert all(isinstance(fact, ClockWrong) for fact in facts)
    assert (abs(offset_s) > 30.0) >= bool(facts)
    if offset_s < -30.001:
        assert 1 == len(facts)
        assert offset_s == pytest.approx(facts[0].offset_s, abs=1e-3)


@given(
    st.lists(
        st.tuples(st.integers(0, 12), st.floats(-5_000.0, 5_000.0), st.floats(0.0, 20.0)),
        max_size=200,
    ),
    st.integers(0, 200),
)
@settings(deadline=None)
def test_the_histogram_counts_each_device_once_through_evictions_and_restarts(
    given_notes: list[tuple[int, float, float]], restart_at: int
) -> None:
    found = Drifts(devices_max=5)
    now_s = 0.0
    for step, (number, drift_s, after_s) in enumerate(given_notes):
        now_s += after_s
        if step == restart_at:
            found = restart(found, devices_max=5)
        found.note(b"%d" % number, drift_s, now_s)

    offsets_s = [found.offset_s(b"%d" % number) for number in range(13)]
    expected = [0] * (len(OFFSET_BOUNDS_S) + 1)
    for offset_s in offsets_s:
        if offset_s is not None:
            expected[bisect_left(OFFSET_BOUNDS_S, offset_s)] += 1
    assert expected == found.counts()
    assert found.devices <= 5
    assert 0 <= found.wrong <= found.devices


def restart(found: Drifts, devices_max: int = 100) -> Drifts:
    restarted = Drifts(devices_max=devices_max)
    for written in found.dump():
        restarted.load(written)
    return restarted


def test_a_judgement_survives_a_restart_and_is_not_told_again() -> None:
    found = Drifts()
    notes(found, each_second(lambda _: -60.0))

    restarted = restart(found)

    assert 1 == restarted.wrong
    assert found.counts() == restarted.counts()
    assert [] == notes(restarted, each_second(lambda _: -60.0))
    assert [ClockRight(DEVICE, 0.0)] == notes(restarted, each_second(lambda _: 0.0, start_s=200))


def test_a_slice_with_a_judgement_that_does_not_exist_is_refused() -> None:
    found = Drifts()
    notes(found, each_second(lambda _: -60.0))
    (written,) = found.dump()

    with pytest.raises(ValueError, match="cannot be read: Invalid enum value 9"):
        Drifts().load(written[:-1] + b"\x09")
