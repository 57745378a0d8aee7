"""The order of PUBACKs."""

import pytest
from hypothesis import given, strategies as st

from bridge.mqtt.ack_ledger import AckLedger


@given(st.integers(1, 200).flatmap(lambda n: st.permutations(range(n))))
def test_pubacks_leave_in_publish_order_whatever_the_order_of_the_reports(
    order: list[int],
) -> None:
    ledger = AckLedger()
    receipts = [ledger.open(packet_id) for packet_id in range(1, len(order) + 1)]

    released: list[int] = []
    for position in order:
        ledger.settle(receipts[position])
        released += ledger.take_ready()

    assert list(range(1, len(order) + 1)) == released


def test_one_unsettled_receipt_holds_back_every_later_one() -> None:
    ledger = AckLedger()
    first, *later = [ledger.open(packet_id) for packet_id in range(1, 101)]

    for receipt in later:
        ledger.settle(receipt)

    assert [] == ledger.take_ready()
    assert 100 == len(ledger)
    ledger.settle(first)
    assert list(range(1, 101)) == ledger.take_ready()


def test_a_packet_id_may_be_owed_twice_and_is_released_in_its_turn() -> None:
    ledger = AckLedger()
    old, new = ledger.open(7), ledger.open(7)

    ledger.settle(new)

    assert [] == ledger.take_ready()
    ledger.settle(old)
    assert [7, 7] == ledger.take_ready()


def test_settling_twice_is_our_bug_and_says_so() -> None:
    ledger = AckLedger()
    receipt = ledger.open(7)
    ledger.settle(receipt)

    with pytest.raises(AssertionError, match="PUBLISH 7 settled twice"):
        ledger.settle(receipt)
