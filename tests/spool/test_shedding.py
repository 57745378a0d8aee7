"""Who is shed at which load: the least important first, never the most important, and calmly."""

import pytest
from hypothesis import given, strategies as st

from bridge.spool.shedding import DRAIN_BELOW, FALL_S, MARGIN, RISE_S, Importance, Shedding

LOW, MEDIUM, HIGH = Importance.LOW, Importance.MEDIUM, Importance.HIGH
ALL = (LOW, MEDIUM, HIGH)
LOW_ABOVE, MEDIUM_ABOVE = 0.7, 0.9


def shedding(*classes: Importance) -> Shedding:
    made = Shedding(low_above=LOW_ABOVE, medium_above=MEDIUM_ABOVE)
    made.protect(classes or ALL)
    return made


def hold(rules: Shedding, load: float, now: float, *, lasts_s: float) -> float:
    """Let a load stand for a while; return when it is over."""
    rules.look(load, now)
    rules.look(load, now + lasts_s)
    return now + lasts_s


@pytest.mark.parametrize(
    ("load", "shed"),
    [
        (0.0, set()),
        (0.69, set()),
        (0.7, {LOW}),
        (0.89, {LOW}),
        (0.9, {LOW, MEDIUM}),
        (5.0, {LOW, MEDIUM}),
    ],
)
def test_below_70_percent_all_goes_direct_below_90_not_low_and_above_only_high(
    load: float, shed: set[Importance]
) -> None:
    rules = shedding()

    hold(rules, load, 100.0, lasts_s=RISE_S)

    assert (shed, len(shed)) == (set(rules.shed), rules.level)


def test_a_burst_is_no_load() -> None:
    rules = shedding()

    now = hold(rules, 1.0, 100.0, lasts_s=RISE_S * 0.9)
    now = hold(rules, 0.1, now, lasts_s=0.01)
    hold(rules, 1.0, now, lasts_s=RISE_S * 0.9)

    assert 0 == rules.level


def test_it_falls_a_level_at_a_time_once_the_load_is_well_below_the_mark() -> None:
    rules = shedding()
    now = hold(rules, 1.0, 100.0, lasts_s=RISE_S)

    now = hold(rules, MEDIUM_ABOVE - MARGIN, now + 0.1, lasts_s=10 * FALL_S)
    assert 2 == rules.level, "the margin is not there yet"
    now = hold(rules, 0.0, now + 0.1, lasts_s=FALL_S * 0.9)
    assert 2 == rules.level, "not for long enough"
    now = hold(rules, 0.0, now, lasts_s=FALL_S)
    assert {LOW} == rules.shed
    hold(rules, 0.0, now + 0.1, lasts_s=FALL_S)

    assert (0, frozenset()) == (rules.level, rules.shed)


@pytest.mark.parametrize(
    ("classes", "shed"),
    [
        ((HIGH,), set()),
        ((MEDIUM,), set()),
        ((LOW,), set()),
        ((LOW, MEDIUM), {LOW}),
        ((LOW, HIGH), {LOW}),
        ((MEDIUM, HIGH), {MEDIUM}),
    ],
    ids=str,
)
def test_what_stands_below_nothing_is_never_shed(
    classes: tuple[Importance, ...], shed: set[Importance]
) -> None:
    rules = shedding(*classes)

    hold(rules, 1.0, 100.0, lasts_s=10.0)

    assert (shed, bool(shed)) == (set(rules.shed), rules.is_on)


def test_when_other_classes_come_to_be_it_begins_anew() -> None:
    rules = shedding()
    now = hold(rules, 1.0, 100.0, lasts_s=RISE_S)

    rules.protect(ALL)
    assert 2 == rules.level, "nothing changed"
    rules.protect((MEDIUM,))
    assert frozenset() == rules.shed
    rules.protect(ALL)
    hold(rules, 1.0, now, lasts_s=RISE_S)

    assert 2 == rules.level


def test_rows_leave_only_while_little_is_under_way_and_only_up_to_there() -> None:
    rules = shedding()

    rooms = []
    for load in (0.0, 0.1, DRAIN_BELOW, 1.0):
        rules.look(load, 100.0)
        rooms.append(pytest.approx(rules.drain_room))

    assert rooms == [DRAIN_BELOW, DRAIN_BELOW - 0.1, 0.0, 0.0]


@given(
    loads=st.lists(st.tuples(st.floats(0.0, 3.0), st.floats(0.0, 2.0)), max_size=60),
    classes=st.sets(st.sampled_from(ALL)),
)
def test_whatever_the_load_high_is_never_shed_nor_medium_before_low(
    loads: list[tuple[float, float]], classes: set[Importance]
) -> None:
    rules = shedding()
    rules.protect(classes)
    now = 0.0

    for load, step in loads:
        now += step
        rules.look(load, now)
        assert HIGH not in rules.shed
        assert MEDIUM not in rules.shed or LOW not in classes or LOW in rules.shed
        assert not rules.shed or max(rules.shed) < max(classes)
