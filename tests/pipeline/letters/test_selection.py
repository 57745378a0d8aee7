"""Which letters are meant, why one is left out, and what makes two orders one."""

import msgspec
import pytest

from bridge.pipeline.letters.letter import Letter
from bridge.pipeline.letters.selection import GROUP_PREFIX, LeftOut, Order, Selection
from bridge.pipeline.verdict import Reason
from tests.pipeline.given import RECEIVED, Packet, message
from tests.pipeline.letters.given import RECALL, letters_of, records_by

AT = RECEIVED.unix_us


@pytest.fixture
def letter() -> Letter:
    packet = Packet(payload=message(metadata={"firmware_version": "1.2.3"}))
    (letter,) = letters_of(records_by([packet], **RECALL))
    return letter


@pytest.mark.parametrize(
    ("selection", "is_meant"),
    [
        (Selection(), True),
        (Selection(reasons=frozenset({"firmware_recalled", "empty"})), True),
        (Selection(reasons=frozenset({"empty"})), False),
        (Selection(devices=frozenset({"dev-0001"})), True),
        (Selection(devices=frozenset({"dev-000"})), False),
        (Selection(since_us=AT), True),
        (Selection(since_us=AT + 1), False),
        (Selection(until_us=AT), False),
        (Selection(until_us=AT + 1), True),
        (Selection(dlq_id="x"), False),
    ],
)
def test_all_filters_must_be_met(
    letter: Letter,
    selection: Selection,
    is_meant: bool,  # noqa: FBT001 - the expected answer
) -> None:
    assert is_meant == selection.matches(letter)


@pytest.mark.parametrize(
    ("changes", "order", "why"),
    [
        ({}, Order(selection=Selection()), None),
        ({"reason": ""}, Order(selection=Selection()), LeftOut.FOREIGN),
        ({"is_copy": True}, Order(selection=Selection()), LeftOut.COPY),
        ({"is_copy": True}, Order(selection=Selection(), includes_copies=True), None),
        ({"reason": "empty"}, Order(selection=Selection()), LeftOut.NOT_RETRYABLE),
        ({"reason": "empty"}, Order(selection=Selection(), is_forced=True), None),
        ({"is_whole": False}, Order(selection=Selection(), is_forced=True), LeftOut.CUT),
        ({}, Order(selection=Selection(since_us=AT + 1)), LeftOut.FILTER),
    ],
)
def test_what_a_replay_leaves_out(
    letter: Letter, changes: dict[str, object], order: Order, why: LeftOut | None
) -> None:
    assert why is order.leaves_out(msgspec.structs.replace(letter, **changes))


def group(order: Order, client_id: str = "b") -> str:
    return order.group(client_id=client_id, kafka_topic="dlq")


def test_each_filter_has_a_group_of_its_own_and_the_same_filter_the_same() -> None:
    a, b = Reason.OUT_OF_RANGE.value, Reason.RATE_LIMITED.value
    orders = [
        Order(selection=Selection()),
        Order(selection=Selection(reasons=frozenset({a}))),
        Order(selection=Selection(reasons=frozenset({b}))),
        Order(selection=Selection(reasons=frozenset({a, b}))),
        Order(selection=Selection(devices=frozenset({a}))),
        Order(selection=Selection(since_us=1)),
        Order(selection=Selection(until_us=1)),
        Order(selection=Selection(), includes_copies=True),
        Order(selection=Selection(), is_forced=True),
        Order(selection=Selection(reasons=frozenset({"device_mismatch"}))),
        Order(selection=Selection(reasons=frozenset({"device_mismatch"})), is_forced=True),
    ]
    groups = [*map(group, orders), group(orders[0], "another bridge")]

    assert len(groups) == len(set(groups))
    assert all(each.startswith(GROUP_PREFIX) for each in groups)
    twice = Order(selection=Selection(reasons=frozenset([b, a])))
    assert group(orders[3]) == group(twice)


def test_force_that_changes_nothing_is_the_same_order() -> None:
    retryable = Selection(reasons=frozenset({"out_of_range"}))
    hopeless = Selection(reasons=frozenset({"empty"}))

    plain, forced = (Order(selection=retryable, is_forced=each) for each in (False, True))

    assert group(plain) == group(forced)
    assert ([], [Reason.EMPTY]) == (plain.hopeless(), Order(selection=hopeless).hopeless())
