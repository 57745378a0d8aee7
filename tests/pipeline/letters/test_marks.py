"""Replays that are stopped anywhere take each offset once, and none beyond their ends."""

import pytest
from hypothesis import given, strategies as st

from bridge.kafka.partitions import Place
from bridge.pipeline.letters.marks import Committed, Plan, Span, plan_replay

A, B = ("dlq", 0), ("dlq", 1)
LOWS = {A: 0, B: 0}


def commit(plan: Plan, positions: dict[Place, int]) -> dict[Place, Committed]:
    return {place: Committed(offset, plan.metadata(place)) for place, offset in positions.items()}


def test_a_first_replay_takes_all_there_is() -> None:
    plan = plan_replay({}, {A: 2, B: 0}, {A: 10, B: 0}, now_us=7)

    assert Plan({A: Span(2, 2, 10), B: Span(0, 0, 0)}, 7, is_resumed=False) == plan
    assert (8, 0) == (plan.total, plan.done)


def test_one_that_was_stopped_goes_on_to_its_own_ends() -> None:
    first = plan_replay({}, LOWS, {A: 10, B: 10}, now_us=7)
    committed = commit(first, {A: 4, B: 10})

    plan = plan_replay(committed, LOWS, {A: 50, B: 50}, now_us=8)

    assert (True, 7) == (plan.is_resumed, plan.began_us)
    assert ({A: 4, B: 10}, {A: 10, B: 10}) == (plan.starts, plan.ends)
    assert (20, 14) == (plan.total, plan.done)


def test_the_next_one_takes_what_came_since() -> None:
    first = plan_replay({}, LOWS, {A: 10, B: 10}, now_us=7)

    plan = plan_replay(commit(first, first.ends), LOWS, {A: 12, B: 10}, now_us=8)

    assert Plan({A: Span(10, 10, 12), B: Span(10, 10, 10)}, 8, is_resumed=False) == plan


def test_a_topic_that_was_made_anew_is_read_from_its_beginning() -> None:
    first = plan_replay({}, LOWS, {A: 100, B: 100}, now_us=7)

    plan = plan_replay(commit(first, {A: 60, B: 60}), LOWS, {A: 5, B: 5}, now_us=8)

    assert ({A: 0, B: 0}, {A: 5, B: 5}) == (plan.starts, plan.ends)


def test_what_retention_took_meanwhile_is_passed_over() -> None:
    first = plan_replay({}, LOWS, {A: 10, B: 10}, now_us=7)

    plan = plan_replay(commit(first, {A: 4, B: 4}), {A: 6, B: 30}, {A: 40, B: 40}, now_us=8)

    assert ({A: 6, B: 10}, {A: 10, B: 10}) == (plan.starts, plan.ends)


@pytest.mark.parametrize("metadata", ["by hand", '{"new":' + "[" * 1_800 + "]" * 1_800 + "}"])
def test_metadata_of_somebody_else_means_a_new_replay(metadata: str) -> None:
    plan = plan_replay({A: Committed(3, metadata)}, LOWS, {A: 10, B: 10}, now_us=8)

    assert ({A: 3, B: 0}, False) == (plan.starts, plan.is_resumed)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 5)), max_size=20))
def test_every_offset_is_taken_once_however_often_it_is_stopped(
    runs: list[tuple[int, int, int]],
) -> None:
    ends = {A: 5, B: 3}
    committed: dict[Place, Committed] = {}
    taken: list[tuple[Place, int]] = []
    for until_stop_a, until_stop_b, grown in [*runs, (99, 99, 0), (99, 99, 0)]:
        plan = plan_replay(committed, LOWS, ends, now_us=1)
        positions = dict(plan.starts)
        for place, steps in ((A, until_stop_a), (B, until_stop_b)):
            last = min(plan.ends[place], positions[place] + steps)
            taken += [(place, offset) for offset in range(positions[place], last)]
            positions[place] = last
        committed = commit(plan, positions)
        ends = {place: end + grown for place, end in ends.items()}

    assert sorted((place, offset) for place in ends for offset in range(ends[place])) == sorted(
        taken
    )
