"""Time heard stands still while the bridge is deaf, and how long things really were is kept."""

from hypothesis import given, strategies as st

from bridge.fleet.hearing import DEAF_TIMES_MAX, Hearing


def test_time_heard_leaves_out_what_was_deaf() -> None:
    clock = Hearing()
    before = clock.at_s(50.0)
    clock.resume(100.0)
    clock.deafen(110.0)
    clock.deafen(120.0)
    clock.resume(160.0)
    clock.resume(170.0)

    assert [0.0, 30.0] == [before, clock.at_s(180.0)]
    assert 180.0 - 105.0 == clock.ago_s(5.0, 180.0)
    assert 180.0 - 165.0 == clock.ago_s(15.0, 180.0)
    assert 10.0 == clock.resumed_at_s


def test_a_deaf_time_is_taken_back_once_however_often_it_is_told() -> None:
    clock = Hearing()
    clock.resume(0.0)

    for from_s, to_s in ((10.0, 20.0), (15.0, 25.0), (0.0, 25.0), (12.0, 13.0)):
        clock.was_deaf(from_s, to_s)

    assert 15.0 == clock.at_s(30.0)
    assert 30.0 == clock.ago_s(0.0, 30.0)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=3 * DEAF_TIMES_MAX))
def test_the_real_time_is_the_clocks_however_often_it_was_deaf_lately(
    spans: list[tuple[int, int]],
) -> None:
    clock = Hearing()
    clock.resume(0.0)
    now_s = 0.0
    marks: list[tuple[float, float]] = []
    for heard_s, deaf_s in spans:
        now_s += heard_s
        marks.append((now_s, clock.at_s(now_s)))
        clock.deafen(now_s)
        now_s += deaf_s
        clock.resume(now_s)

    for at_s, heard_at_s in marks[-DEAF_TIMES_MAX + 1 :]:
        assert now_s - at_s <= clock.ago_s(heard_at_s, now_s)
    assert sum(heard_s for heard_s, _ in spans) == clock.at_s(now_s)
    assert len(clock.relative(now_s)) <= DEAF_TIMES_MAX
