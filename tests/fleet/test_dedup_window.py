"""The window of keys against a plain dictionary."""

from collections import OrderedDict

import pytest
from hypothesis import given, settings, strategies as st

from bridge.fleet.dedup_window import BUCKETS, DedupWindow, Kind, Knowledge, compact


def key(number: int, content: int = 0) -> bytes:
    return number.to_bytes(8, "big") + content.to_bytes(8, "big")


def window(
    *, ttl_s: float = 1e9, keys_max: int = 1_000, keys_min: int = 0, buckets: int = 2
) -> DedupWindow:
    """Make one of so few buckets that neighbours in one are tested."""
    return DedupWindow(ttl_s=ttl_s, keys_max=keys_max, keys_min=keys_min, buckets=buckets)


def known(found: DedupWindow, numbers: range) -> list[int]:
    return [number for number in numbers if found.ask(key(number)) is Knowledge.SAME]


def test_a_noted_key_is_the_same_and_its_id_with_other_content_is_told_apart() -> None:
    found = window()

    found.note([key(1, content=7)], 0.0)

    assert Knowledge.SAME is found.ask(key(1, content=7))
    assert Knowledge.OTHER_CONTENT is found.ask(key(1, content=8))
    assert Knowledge.NEW is found.ask(key(2, content=7))


def test_a_key_that_stands_across_two_others_is_not_found() -> None:
    found = window(buckets=1)
    found.note([b"\0" * 15 + b"\1", b"\1" * 16], 0.0)

    assert Knowledge.NEW is found.ask(b"\0" * 7 + b"\1" * 9)


def test_at_its_bound_the_oldest_keys_go_first() -> None:
    found = window(keys_max=10)

    for number in range(25):
        found.note([key(number)], float(number))

    assert list(range(15, 25)) == known(found, range(25))
    assert 10 == len(found)


def test_keys_older_than_the_time_to_live_go_but_never_the_last_so_many() -> None:
    found = window(ttl_s=10.0, keys_min=5)

    for number in range(8):
        found.note([key(number)], float(number))
    found.note([key(8)], 100.0)

    assert [4, 5, 6, 7, 8] == known(found, range(9))


def test_a_forgotten_key_is_new_again_and_its_neighbours_stay() -> None:
    found = window(keys_max=6)
    found.note([key(number) for number in range(1, 7)], 0.0)

    found.forget(key(3))

    assert [1, 2, 4, 5, 6] == known(found, range(1, 7))
    found.note([key(number) for number in range(7, 10)], 5.0)
    assert [4, 5, 6, 7, 8, 9] == known(found, range(1, 10))


class Model:
    """The same with an ordered dictionary; keys of one second go together."""

    def __init__(self, keys_max: int) -> None:
        self.keys: OrderedDict[bytes, None] = OrderedDict()
        self.keys_max = keys_max

    def note(self, each: bytes) -> None:
        self.keys[each] = None
        while len(self.keys) > self.keys_max:
            self.keys.popitem(last=False)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2)), max_size=200))
@settings(deadline=None)
def test_the_window_knows_what_a_dictionary_would_know(steps: list[tuple[int, int]]) -> None:
    found, model = window(keys_max=20), Model(20)

    for at, (number, content) in enumerate(steps):
        each = key(number, content)
        is_known = found.ask(each) is Knowledge.SAME
        assert (each in model.keys) == is_known
        if not is_known:
            found.note([each], float(at))
            model.note(each)

    assert len(model.keys) == len(found)


def test_a_thousand_contents_under_one_id_are_told_apart_until_they_are_too_old() -> None:
    found = window(ttl_s=10.0)
    contents = [key(1, content=number << 40) for number in range(1_000)]

    for at, each in enumerate(contents):
        found.begin(at / 100)
        assert found.admit(each) is (Knowledge.OTHER_CONTENT if at else Knowledge.NEW)
    same = {found.ask(each) for each in contents}
    found.forget(contents[900])
    forgotten = found.ask(contents[900])
    found.note([key(2)], 100.0)

    assert {Knowledge.SAME} == same
    assert Knowledge.OTHER_CONTENT is forgotten
    assert {Knowledge.NEW} == {found.ask(each) for each in contents}


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 90)), min_size=150, max_size=400))
@settings(deadline=None, max_examples=30)
def test_the_window_knows_as_much_of_ids_that_have_many_contents(
    steps: list[tuple[int, int]],
) -> None:
    found, model = window(keys_max=100), Model(100)

    for at, (number, content) in enumerate(steps):
        each = key(number, content << 40)
        found.begin(float(at))
        knowledge = found.admit(each)
        assert (each in model.keys) == (knowledge is Knowledge.SAME)
        if knowledge is not Knowledge.SAME:
            model.note(each)
        found.begin(float(at))


Numbered = tuple[int, int]


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 90)), min_size=40, max_size=60),
        min_size=2,
        max_size=8,
    )
)
@settings(deadline=None, max_examples=60)
def test_many_keys_at_once_are_told_apart_as_one_by_one(batches: list[list[Numbered]]) -> None:
    together, alone = window(keys_max=100), window(keys_max=100)

    for at, batch in enumerate(batches):
        keys = [key(number, content << 40) for number, content in batch]
        together.begin(float(at))
        alone.begin(float(at))
        assert [alone.admit(each) for each in keys] == together.admit_all(keys)
        assert len(alone) == len(together)
        assert list(map(alone.ask, keys)) == list(map(together.ask, keys))


def test_what_came_together_goes_like_all_else_the_oldest_first() -> None:
    found = window(keys_max=10)

    for number in range(25):
        found.begin(float(number))
        found.admit_all([key(number)])
    found.begin(25.0)

    assert list(range(15, 25)) == known(found, range(25))


def test_a_crowd_of_which_the_string_knows_no_more_is_still_known_together() -> None:
    found = window(keys_max=100, buckets=BUCKETS)
    crowd = [key(1, content=number << 40) for number in range(82)]

    found.begin(0.0)
    found.admit_all(crowd)
    found.note([key(number) for number in range(2, 52)], 5.0)  # The first 32 go.
    found.begin(6.0)

    assert [Knowledge.SAME] * 50 == found.admit_all(crowd[32:])


def test_what_is_taken_back_leaves_its_neighbours_whole() -> None:
    found = window(buckets=1)
    found.note([key(1), key(2)], 0.0)

    found.begin(1.0)
    found.admit_all([key(3), key(4)])
    found.take_back(2)

    assert [1, 2] == known(found, range(6))
    assert Knowledge.NEW is found.ask(key(3))


def test_what_is_not_kept_of_a_name_still_tells_it_apart() -> None:
    found = window(keys_max=1_000, buckets=BUCKETS)
    names = [number.to_bytes(2, "big") + bytes(14) for number in range(200)]

    found.note(names[:100], 0.0)
    answers = [found.ask(each) for each in names[100:]]

    assert 90 < answers.count(Knowledge.NEW)


def test_two_crowds_that_differ_in_what_is_not_kept_are_two() -> None:
    found = window(keys_max=1_000, buckets=BUCKETS)
    names = [number.to_bytes(2, "big") + bytes(6) for number in range(2)]
    contents = [number.to_bytes(8, "big") for number in range(1, 121)]

    found.begin(0.0)
    for name, own in zip(names, (contents[:60], contents[60:]), strict=True):
        found.admit_all([name + each for each in own])
    answers = [found.ask(names[1] + each) for each in contents[:60]]

    assert 2 > answers.count(Knowledge.SAME)


def test_no_bucket_grows_with_ids_that_were_chosen_by_their_digest() -> None:
    found = window(keys_max=100_000, buckets=BUCKETS)

    found.note([bytes(2) + key(number)[2:] for number in range(10_000)], 0.0)
    found.note([key(1, content=number) for number in range(10_000)], 1.0)

    assert 40 > found.deepest


def test_no_bucket_grows_with_what_a_device_says_under_one_id() -> None:
    found = window(keys_max=100_000, buckets=BUCKETS)

    found.note([key(1, content=(number * 7919 % 65_521) << 48) for number in range(50_000)], 0.0)

    assert 40 > found.deepest


@pytest.mark.parametrize(
    ("one", "other", "is_same_id"),
    [
        (b"dev:t1:0123456789abcdef", b"dev:t1:0123456789abcdef", True),
        (b"dev:t1:0123456789abcdef", b"dev:t1:fedcba9876543210", True),
        (b"dev:t1:0123456789abcdef", b"dev:t2:0123456789abcdef", False),
        (b"dev::0123456789abcdef", b"dev::fedcba9876543210", False),
        (b"::0123456789abcdef", b"::fedcba9876543210", False),
    ],
)
def test_keys_share_their_first_half_if_they_name_the_same_device_and_id(
    one: bytes, other: bytes, *, is_same_id: bool
) -> None:
    first, second = compact(one, Kind.TELEMETRY), compact(other, Kind.TELEMETRY)

    assert is_same_id == (first[:8] == second[:8])
    assert (one == other) == (first == second)


def test_what_is_known_as_a_dead_letter_is_not_known_as_telemetry() -> None:
    header = b"dev:t1:0123456789abcdef"

    assert compact(header, Kind.TELEMETRY) != compact(header, Kind.DEAD_LETTER)


@pytest.mark.parametrize("header", [b"", b"dev:t:xyz", b"dev:t:0123", b"no colon"])
def test_a_header_that_is_not_ours_is_refused(header: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  fromhex has many texts
        compact(header, Kind.TELEMETRY)


def test_traffic_without_a_key_leaves_no_second_behind() -> None:
    window = DedupWindow(ttl_s=10.0, keys_max=100, keys_min=100)

    for second in range(10_000):
        window.begin(float(second))

    assert window.seconds(10_000.0) <= 2.0
