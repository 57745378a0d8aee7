"""The order in which PUBACKs leave: the order in which their PUBLISHes came."""

from collections import deque
from collections.abc import Sequence
from typing import ClassVar

import msgspec


class Receipt(msgspec.Struct, eq=False, gc=False):
    """One PUBLISH that is owed a PUBACK."""

    is_promised: ClassVar[bool] = True
    """It stands for one PUBLISH in the conservation equation."""

    packet_id: int
    settled: bool = False

    def settle(self) -> None:
        """Mark the PUBLISH as safe to acknowledge: Kafka, or the disk, has what came of it."""
        assert not self.settled, f"PUBLISH {self.packet_id} settled twice"
        self.settled = True


class AckLedger:
    """Turn delivery reports, which come in any order, into PUBACKs in receive order.

    MQTT wants PUBACKs in the order of their PUBLISHes [MQTT-4.6.0-2], but Kafka reports each
    partition in its own time: a receipt settled early waits here for the ones before it.

    One ledger serves one Network Connection. After a reconnect the broker resends whatever was
    not acknowledged, so the old ledger is dropped whole: a late delivery report then settles a
    receipt that nobody reads, instead of acknowledging a reused Packet Identifier.
    """

    def __init__(self) -> None:
        self._owed: deque[Receipt] = deque()
        self.most_owed = 0
        """The most that was owed at once: where that is reached, the MQTT broker's window may be
        full, which is often smaller than the Receive Maximum that it was told."""

    def __len__(self) -> int:
        """Count the PUBLISHes of this connection that still await their PUBACK."""
        return len(self._owed)

    def open(self, packet_id: int) -> Receipt:
        """Note a received PUBLISH; hand the receipt to `settle` once its record is safe."""
        receipt = Receipt(packet_id)
        self._owed.append(receipt)
        self.most_owed = max(self.most_owed, len(self._owed))
        return receipt

    def open_all(self, packet_ids: Sequence[int | None]) -> list[Receipt | None]:
        """Open a receipt for each PUBLISH of one read, in their order; None for QoS 0."""
        if None in packet_ids:
            return [None if each is None else self.open(each) for each in packet_ids]
        receipts = [Receipt(each) for each in packet_ids]  # type: ignore[arg-type]  # no None here
        self._owed += receipts
        self.most_owed = max(self.most_owed, len(self._owed))
        return receipts  # type: ignore[return-value]  # list is invariant

    def settle(self, receipt: Receipt) -> None:
        """Mark a PUBLISH of this ledger as safe to acknowledge."""
        receipt.settle()

    def take_ready(self) -> list[int]:
        """Remove and return the Packet Identifiers to PUBACK now, oldest first."""
        ready: list[int] = []
        owed = self._owed
        while owed and owed[0].settled:
            ready.append(owed.popleft().packet_id)
        return ready
