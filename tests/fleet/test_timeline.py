"""Records of several partitions, each read in its own pace, in the order in which they were."""

import pytest

from bridge.fleet.timeline import AHEAD_MAX_S, LATENESS_S, Said, Timeline
from bridge.kafka.partitions import Place

ONE, TWO = ("t", 0), ("t", 1)
NOW_S = 10_000.0


def timeline(*places: Place, late_max_s: float = 30.0) -> Timeline:
    return Timeline(places or (ONE,), begins_s=0.0, width_s=1.0, late_max_s=late_max_s)


def taken(found: Timeline) -> list[tuple[float, list[bytes]]]:
    moments = []
    while (moment := found.take()) is not None:
        moments.append((moment.ends_s, list(moment.devices)))
    return moments


def test_what_partitions_tell_comes_in_the_order_of_time_and_not_of_reading() -> None:
    found = timeline(ONE, TWO)

    for offset, at_s in enumerate((1.5, 3.5, 100.0)):
        found.say(ONE, offset, Said(b"a", at_s), NOW_S)
    assert [] == taken(found), "of the other partition nothing is known"
    for offset, at_s in enumerate((2.5, 3.4, 90.0)):
        found.say(TWO, offset, Said(b"b", at_s), NOW_S)

    assert [(2.0, [b"a"]), (3.0, [b"b"]), (4.0, [b"a", b"b"])] == taken(found)
    assert 90.0 - LATENESS_S == found.proven_s


def test_the_end_of_a_partition_proves_as_much_as_a_record_once_it_was_read_to_it() -> None:
    found = timeline(ONE, TWO)
    found.say(ONE, 7, Said(b"a", 50.0), NOW_S)

    found.prove({ONE: 8, TWO: 5}, 100.0)
    assert [] == taken(found), "the other was not read to its end"
    found.reach(TWO, 5)
    found.prove({TWO: 5}, 100.0)

    assert [(51.0, [b"a"])] == taken(found)


def test_a_partition_that_nobody_answers_for_makes_time_stand_still() -> None:
    found = timeline(ONE, TWO)
    found.reach(TWO, 0)
    found.prove({TWO: 0}, 10.0)

    for second in range(100):
        found.say(ONE, second, Said(b"a", float(second)), NOW_S)
        found.prove({ONE: second + 1}, float(second))

    assert [float(second) for second in range(1, 6)] == [at for at, _ in taken(found)]


@pytest.mark.parametrize(
    ("at_s", "expected"),
    [
        pytest.param(95.0, [(102.0, [b"late"])], id="a little late: said now"),
        pytest.param(60.0, [], id="too late: no sign of life any more"),
    ],
)
def test_what_comes_after_its_time(at_s: float, expected: list[tuple[float, list[bytes]]]) -> None:
    found = timeline()
    found.say(ONE, 0, Said(b"a", 100.5), NOW_S)
    found.prove({ONE: 1}, 110.0)
    assert [(101.0, [b"a"])] == taken(found)

    found.say(ONE, 1, Said(b"late", at_s), NOW_S)

    assert expected == taken(found)


def test_no_record_is_of_the_future_whatever_the_clock_of_a_bridge_says() -> None:
    found = timeline()

    found.say(ONE, 0, Said(b"a", 1e12), 100.0)

    assert 100.0 - LATENESS_S == found.proven_s


def test_a_partition_far_ahead_of_another_waits_for_it() -> None:
    found = timeline(ONE, TWO)
    found.say(TWO, 0, Said(b"b", 10.0), NOW_S)

    found.say(ONE, 0, Said(b"a", 10.0 + AHEAD_MAX_S), NOW_S)
    assert set() == found.ahead()
    found.say(ONE, 1, Said(b"a", 11.0 + AHEAD_MAX_S), NOW_S)
    assert {ONE} == found.ahead()
    found.say(TWO, 1, Said(b"b", 12.0), NOW_S)

    assert set() == found.ahead()


def test_while_nothing_is_known_of_one_partition_others_are_ahead_of_the_beginning() -> None:
    found = timeline(ONE, TWO)

    found.say(ONE, 0, Said(b"a", AHEAD_MAX_S), NOW_S)
    assert set() == found.ahead()
    found.say(ONE, 1, Said(b"a", 2 * AHEAD_MAX_S), NOW_S)

    assert {ONE} == found.ahead()


def test_records_of_a_partition_that_was_handed_over_are_left() -> None:
    found = timeline()

    found.say(TWO, 0, Said(b"b", 1.0), NOW_S)
    found.reach(TWO, 1)
    found.prove({TWO: 1}, 100.0)

    assert [] == taken(found)
