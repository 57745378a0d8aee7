"""By which of its readings a batch counts in the conservation equation."""

import pytest

from bridge.fleet.dedup_window import DedupWindow
from bridge.fleet.duplicates import Duplicates
from bridge.kafka.record import Record
from bridge.kafka.shipment import promised
from bridge.mqtt.ack_ledger import Receipt
from bridge.pipeline.verdict import Duplicate, Readings, Several, Single
from bridge.runtime.sorter import Sorter
from tests.runtime.test_accounts import COPY, REJECTED, opened, record

GOOD = record(b"d")
FLAGGED = Several([record(b"d", is_flagged=True), record(b"d", letter=COPY)])
BAD = record(b"d", letter=REJECTED)
KNOWN = Duplicate(b"k" * 16, is_under_way=False)


def sorted_out(*outcomes: Single) -> tuple[list[Record], list[bool], dict[str, int]]:
    accounts, counters = opened(None)
    duplicates = Duplicates(DedupWindow(ttl_s=3_600, keys_max=100, keys_min=0))
    readings = Readings(list(outcomes), [], [])
    records, owed = Sorter(accounts, duplicates, counters).sort([readings], [Receipt(1)])
    return records, [promised(each) for each in owed], counters.settled


@pytest.mark.parametrize(
    ("outcomes", "counts"),
    [
        pytest.param((GOOD, GOOD), GOOD, id="the first of several to be produced"),
        pytest.param((BAD, BAD, GOOD), GOOD, id="one to be produced, after dead letters"),
        pytest.param((BAD, FLAGGED, BAD), FLAGGED.records[0], id="a flagged one is produced"),
        pytest.param((KNOWN, BAD), BAD, id="a dead letter, after duplicates"),
        pytest.param((KNOWN, BAD, GOOD), GOOD, id="one to be produced, after both"),
    ],
)
def test_a_batch_counts_as_produced_if_any_reading_is_else_as_dead_lettered(
    outcomes: tuple[Single, ...], counts: Record
) -> None:
    records, standing, settled = sorted_out(*outcomes)

    assert [each is counts for each in records].index(True) == standing.index(True)
    assert 1 == sum(standing)
    assert not any(settled.values())


def test_a_batch_all_of_which_is_known_counts_as_one_duplicate() -> None:
    records, _, settled = sorted_out(KNOWN, KNOWN)

    assert [] == records
    assert 1 == settled["duplicate"] == sum(settled.values())
