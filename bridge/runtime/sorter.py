"""What becomes of the outcomes of a batch before anything of them is carried."""

from collections.abc import Sequence
from typing import cast

from bridge.fleet.duplicates import Duplicates
from bridge.kafka.record import Record
from bridge.kafka.shipment import Settleable, shares_of
from bridge.mqtt.ack_ledger import Receipt
from bridge.observe.counters import Counters, Status
from bridge.pipeline.flow import Outcome
from bridge.pipeline.verdict import Dropped, Readings, Several, Single
from bridge.runtime.accounts import Accounts


class Sorter:
    """Settle what is known or dropped, and keep what has to go to Kafka or to the disk."""

    def __init__(self, accounts: Accounts, duplicates: Duplicates, counters: Counters) -> None:
        self._accounts = accounts
        self._duplicates = duplicates
        self._counters = counters

    def sort(
        self, outcomes: list[Outcome], receipts: list[Receipt | None]
    ) -> tuple[list[Record], Sequence[Settleable | None]]:
        """Settle what is known already, or let it wait with what is under way; keep the rest."""
        if set(map(type, outcomes)) == {Record}:
            return cast("list[Record]", outcomes), receipts
        records: list[Record] = []
        kept: list[Settleable | None] = []
        for outcome, receipt in zip(outcomes, receipts, strict=True):
            if isinstance(outcome, Readings):
                standing = _standing(outcome.outcomes)
                shares = shares_of(receipt, len(outcome.outcomes), standing=standing)
                for each, share in zip(outcome.outcomes, shares, strict=True):
                    self._place(each, share, records, kept)
            else:
                self._place(outcome, receipt, records, kept)
        return records, kept

    def _place(
        self,
        outcome: Single,
        receipt: Settleable | None,
        records: list[Record],
        kept: list[Settleable | None],
    ) -> None:
        if isinstance(outcome, Record):
            records.append(outcome)
            kept.append(receipt)
        elif isinstance(outcome, Several):
            # A copy is made beside the record, and no PUBACK waits for it.
            records += outcome.records
            kept += [receipt, *[None] * (len(outcome.records) - 1)]
        elif isinstance(outcome, Dropped):
            self._accounts.settle_dropped(outcome.reason, receipt)
        elif receipt is None:
            self._counters.messages[Status.DUPLICATE] += 1
        elif outcome.is_under_way:
            self._duplicates.join(outcome.key, receipt)
        else:
            self._accounts.settle_duplicates([receipt])


def _standing(outcomes: Sequence[Single]) -> int:
    """Choose the reading that a batch counts by: one to be produced, else a dead letter, else any.

    One is chosen, rather than all waited for, since the readings end apart, some of them perhaps
    in another process that finds their rows in the spool.
    """
    ranks = [_rank(each) for each in outcomes]
    return ranks.index(min(ranks))


def _rank(outcome: Single) -> int:
    if isinstance(outcome, Several):
        return 0
    if isinstance(outcome, Record):
        return 0 if outcome.dead_letter is None else 1
    return 2
