"""Who stands out is found whatever the rest of the fleet does, and memory does not grow."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from bridge.fleet.talkers import FADE_S, FORGET_S, KEPT, Kind, Sketch, Talker, Talkers


def crowd(count: int, start: int = 0) -> list[bytes]:
    return [b"quiet-%d" % number for number in range(start, start + count)]


def test_the_devices_that_send_most_come_first_with_their_rates() -> None:
    talkers = Talkers(now_s=0.0)
    for second in range(3_000):
        talkers.note(Kind.MESSAGES, [b"loud"] * 20 + [b"louder"] * 30 + [b"quiet"], float(second))

    top = talkers.top(Kind.MESSAGES, 2, 3_000.0)

    assert [b"louder", b"loud"] == [talker.device for talker in top]
    assert [30.0, 20.0] == [pytest.approx(talker.amount, rel=0.02) for talker in top]
    assert {0.0} == {talker.amount_above_max for talker in top}


def test_soon_after_the_start_rates_are_right_already() -> None:
    talkers = Talkers(now_s=1_000.0)
    for second in range(10):
        talkers.note(Kind.MESSAGES, [b"loud"] * 20, 1_000.0 + second)

    (loud,) = talkers.top(Kind.MESSAGES, 5, 1_010.0)

    assert 20.0 == pytest.approx(loud.amount, rel=0.05)


def test_who_fell_silent_fades_within_minutes() -> None:
    talkers = Talkers(now_s=0.0)
    talkers.note(Kind.ERRORS, [b"was bad"] * 1_000, 0.0)
    for second in range(900):
        talkers.note(Kind.ERRORS, [b"is bad"] * 2, float(second))

    assert [b"is bad", b"was bad"] == [each.device for each in talkers.top(Kind.ERRORS, 2, 900.0)]
    assert [] == talkers.top(Kind.ERRORS, 2, 9_000.0)
    assert [] == talkers.top(Kind.MESSAGES, 2, 900.0)


def test_a_loud_device_is_found_among_a_hundred_thousand() -> None:
    sketch = Sketch(now_s=0.0)
    for batch in range(100):
        sketch.note([*crowd(1_000, 1_000 * batch), *[b"loud"] * 10], 0.0)

    assert 101_000 / (KEPT + 1) >= sketch.subtracted
    assert 1_000 - sketch.subtracted <= sketch.counts[b"loud"] <= 1_000
    assert [(b"loud", sketch.counts[b"loud"])] == sketch.counts.most_common(1)
    assert len(sketch.counts) <= 4 * KEPT


def test_the_loud_ones_are_not_cut_for_the_quiet_ones_and_what_was_cut_fades_too() -> None:
    sketch = Sketch(now_s=0.0)
    loud = [b"loud-%d" % number for number in range(KEPT)]

    sketch.note([*(loud * 100), *crowd(4 * KEPT)], 0.0)

    assert 1.0 == sketch.subtracted
    assert dict.fromkeys(loud, 99) == sketch.counts
    sketch.fade(FADE_S)
    assert math.exp(-1) == pytest.approx(sketch.subtracted)


@given(
    st.lists(
        st.tuples(st.floats(0.0, 60.0), st.integers(1, 2_000), st.integers(0, 40)), max_size=30
    )
)
@settings(deadline=None)
def test_a_count_is_never_too_large_and_too_small_by_the_stated_bound_at_most(
    batches: list[tuple[float, int, int]],
) -> None:
    sketch, true = Sketch(now_s=0.0), Counter[bytes]()
    now_s = faded_s = 0.0
    for after_s, others, loud in batches:
        now_s += after_s
        if now_s - faded_s >= 5.0:
            by, faded_s = math.exp(-(now_s - faded_s) / FADE_S), now_s
            true = Counter({device: count * by for device, count in true.items()})
        keys = crowd(others, others // 3) + [b"loud"] * loud
        sketch.note(keys, now_s)
        true.update(keys)

    total = sum(true.values())
    assert sketch.subtracted <= total / (KEPT + 1) + 1e-6
    for device, count in true.items():
        held = sketch.counts[device]
        assert held - 1e-6 <= count <= held + sketch.subtracted + 1e-6
    assert len(sketch.counts) <= 4 * KEPT


def test_the_worst_clocks_come_first_whatever_their_sign_and_are_forgotten_when_not_told() -> None:
    talkers = Talkers(now_s=0.0)
    talkers.note_offset(b"gone", 9e9, 0.0)
    for number in range(10_000):
        talkers.note_offset(b"%d" % number, 0.001 * number, FORGET_S)
    talkers.note_offset(b"ahead", -60.0, FORGET_S)

    top = talkers.top(Kind.DRIFT, 2, FORGET_S)

    assert [Talker(b"ahead", -60.0, 0.0), Talker(b"9999", 9.999, 0.0)] == top


def test_a_clock_that_was_mended_goes_down_at_once() -> None:
    talkers = Talkers(now_s=0.0)
    for offset_s in (60.0, 0.1):
        talkers.note_offset(b"mended", offset_s, 0.0)
    talkers.note_offset(b"other", 5.0, 0.0)

    assert [b"other", b"mended"] == [each.device for each in talkers.top(Kind.DRIFT, 9, 0.0)]


def test_counts_survive_a_restart_and_fade_meanwhile() -> None:
    talkers = Talkers(now_s=0.0)
    for second in range(1_000):
        talkers.note(Kind.MESSAGES, [b"loud"] * 20, float(second))
    restarted = Talkers(now_s=5.0)

    for written in talkers.dump(1_000.0):
        restarted.load(written, 5.0, away_s=FADE_S)

    (loud,) = restarted.top(Kind.MESSAGES, 1, 5.0)
    assert 20.0 / math.e == pytest.approx(loud.amount, rel=0.02)
    with pytest.raises(ValueError, match="cannot be read"):
        restarted.load(b"\x93", 5.0)
