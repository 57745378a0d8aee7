"""What is placed comes back once, in its time."""

from hypothesis import given, strategies as st

from bridge.fleet.wheel import Wheel


@given(
    st.lists(st.tuples(st.floats(0.0, 50.0), st.floats(0.0, 10.0), st.integers(1, 4)), max_size=60)
)
def test_each_number_comes_back_once_not_before_its_time_and_at_most_a_tick_late(
    steps: list[tuple[float, float, int]],
) -> None:
    wheel = Wheel(0.5)
    due: dict[int, float] = {}
    now_s = 0.0
    for number, (ahead_s, after_s, count) in enumerate(steps):
        wheel.place(number, now_s + ahead_s)
        due[number] = now_s + ahead_s
        now_s += after_s
        while taken := wheel.take(now_s, count):
            assert len(taken) <= count
            assert all(due.pop(each) <= now_s for each in taken)
        assert all(due_s > now_s - 0.5 for due_s in due.values())


def test_what_is_placed_in_the_past_is_due_at_once() -> None:
    wheel = Wheel(1.0)
    wheel.place(1, 100.0)
    assert [1] == wheel.take(101.0, 9).tolist()

    wheel.place(2, 3.0)

    assert [2] == wheel.take(101.0, 9).tolist()
    assert [] == wheel.take(101.0, 9).tolist()
