"""One PUBLISH of which several records come."""

import msgspec
import pytest
from hypothesis import given, strategies as st

from bridge.kafka.shipment import Joint, Share, promised, shares_of


class Receipt(msgspec.Struct, eq=False):
    is_promised: bool = True
    settled: int = 0

    def settle(self) -> None:
        self.settled += 1


@given(st.integers(1, 50).flatmap(lambda n: st.permutations(range(n))))
def test_the_last_share_settles_the_publish_whichever_it_is(order: list[int]) -> None:
    receipt = Receipt()
    joint = Joint(receipt, len(order))
    shares = [Share(joint, is_promised=not each) for each in range(len(order))]

    for position in order[:-1]:
        shares[position].settle()
    before = receipt.settled
    shares[order[-1]].settle()

    assert (0, 1) == (before, receipt.settled)


def test_one_share_of_all_stands_for_the_publish_in_the_books() -> None:
    joint = Joint(Receipt(), 3)
    shares = [Share(joint, is_promised=not each) for each in range(3)]

    assert [True, False, False] == [promised(each) for each in shares]
    assert not promised(None)


@pytest.mark.parametrize("receipt", [Receipt(), Receipt(is_promised=False), None])
def test_the_chosen_share_of_a_publish_stands_for_it(receipt: Receipt | None) -> None:
    shares = shares_of(receipt, 3, standing=1)
    for each in shares:
        each.settle()

    assert [False, promised(receipt), False] == [promised(each) for each in shares]
    assert receipt is None or receipt.settled == 1


def test_settling_a_share_twice_is_our_bug_and_says_so() -> None:
    share = Share(Joint(Receipt(), 2), is_promised=True)
    share.settle()

    with pytest.raises(AssertionError, match="a share was settled twice"):
        share.settle()
