from hypothesis import given, strategies as st

from bridge.fleet.flagged_copies import FlaggedCopies


def test_one_copy_in_an_interval_and_the_next_says_how_many_were_left_out() -> None:
    copies = FlaggedCopies(60.0)

    admitted = [copies.admit("a", "out_of_range", now) for now in (0.0, 1.0, 59.9, 60.0, 61.0)]

    assert [0, None, None, 2, None] == admitted
    assert 3 == copies.left_out


def test_devices_and_reasons_are_apart() -> None:
    copies = FlaggedCopies(60.0)

    admitted = [
        copies.admit(device_id, reason, 0.0)
        for device_id, reason in (("a", "x"), ("a", "y"), ("b", "x"), ("a", "x"))
    ]

    assert [0, 0, 0, None] == admitted


def test_an_interval_of_zero_copies_every_one_and_remembers_nothing() -> None:
    copies = FlaggedCopies(0.0)

    assert [0, 0, 0] == [copies.admit("a", "x", 5.0) for _ in range(3)]
    assert 0 == len(copies)


def test_who_was_not_heard_of_for_long_makes_room_and_what_it_left_out_is_counted() -> None:
    copies = FlaggedCopies(60.0, keys_max=4)
    copies.admit("quiet", "x", 0.0)
    copies.admit("quiet", "x", 1.0)

    for number in range(4):
        copies.admit(f"other-{number}", "x", 2.0)

    assert 0 == copies.admit("quiet", "x", 3.0)
    assert 1 == copies.forgotten


@given(
    st.lists(st.tuples(st.integers(0, 9), st.floats(0, 30))),
    st.integers(1, 30),
)
def test_every_message_left_out_is_told_of_or_forgotten_or_still_to_tell(
    steps: list[tuple[int, float]], keys_max: int
) -> None:
    copies = FlaggedCopies(20.0, keys_max=keys_max)
    now = 0.0
    told = left_out = 0
    for device, later in steps:
        now += later
        answer = copies.admit(str(device), "x", now)
        told += answer or 0
        left_out += answer is None

    still_to_tell = sum(copies.admit(str(device), "x", now + 1e6) or 0 for device in range(10))

    assert left_out == copies.left_out
    assert left_out == told + still_to_tell + copies.forgotten
    assert len(copies) <= max(2, keys_max)
