"""Whoever wants to see single messages end, while somebody does: a followed device, traces.

Theory of operation. The way of the messages knows batches only. A witness is asked of each record
that ends whether it wants it, but only while there is a witness: with none, a batch costs one look
at `is_on`, and a message nothing. The partition and the offset of a record stand in its delivery
report, which is read in any case; they are kept for records that a witness wants, from there to the
end of the same poll. A fault of a witness ends the witness and holds no message.
"""

import enum
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol, TypeAlias

from bridge.kafka.record import Instant, Record
from bridge.kafka.shipment import Settleable, Share, Shipment
from bridge.mqtt.ack_ledger import Receipt
from bridge.mqtt.packets import Inbound
from bridge.pipeline.flow import Outcome
from bridge.runtime.detour import Follower, Safe

PLACES_MAX: Final = 10_000
"""Places of records whose end was never told, after a new producer for instance, do not pile up."""

Place: TypeAlias = tuple[int, int]
"""Partition and offset."""


class End(enum.StrEnum):
    """How a message ended, or where it was made safe."""

    PRODUCED = "produced"
    """Kafka has it, as telemetry or as a dead letter."""
    SPOOLED = "spooled"
    """The disk has it, and Kafka will."""
    DRAINED = "drained"
    """Kafka has what was on disk."""
    FOUND = "found"
    """Kafka was found to have it already."""
    SHED = "shed"
    """Left out because Kafka is slow."""


class Witness(Protocol):
    """One who wants to see."""

    def wants(self, record: Record) -> bool:
        """Tell whether the end of this record is to be told."""

    def judged(self, packets: Sequence[Inbound], outcomes: Sequence[Outcome], now: Instant) -> None:
        """Take a batch whose outcomes are known: what is known already ends here."""

    def ended(
        self,
        record: Record,
        receipt: Settleable | None,
        end: End,
        *,
        now_s: float | None,
        place: Place | None,
    ) -> None:
        """Take a record that it wanted; `now_s` is None where the moment says nothing."""


class Witnesses:
    """All who want to see; `is_on` is False while there is none."""

    def __init__(self) -> None:
        self.is_on = False
        self.on_change: Callable[[], None] = lambda: None
        """The producer is told, so that it keeps places."""
        self.on_fault: Callable[[Exception], None] = lambda _: None
        self._all: tuple[Witness, ...] = ()
        self._places: dict[int, Place] = {}

    def add(self, witness: Witness) -> None:
        """Let one see from now on."""
        self._replace((*self._all, witness))

    def remove(self, witness: Witness) -> None:
        """Let one see no more."""
        self._replace(tuple(each for each in self._all if each is not witness))

    def _replace(self, witnesses: tuple[Witness, ...]) -> None:
        self._all = witnesses
        self.is_on = bool(witnesses)
        self._places.clear()
        self.on_change()

    def note_place(self, shipment: Shipment, partition: int, offset: int) -> None:
        """Keep where Kafka has a record, until its end is told."""
        if len(self._places) >= PLACES_MAX:
            self._places.clear()
        for witness in self._all:
            try:
                if witness.wants(shipment.record):
                    self._places[shipment.sequence] = (partition, offset)
            except Exception as error:  # noqa: BLE001 - the module says why
                self._dismiss(witness, error)

    def judged(self, packets: Sequence[Inbound], outcomes: Sequence[Outcome], now: Instant) -> None:
        """Tell a batch whose outcomes are known."""
        for witness in self._all:
            try:
                witness.judged(packets, outcomes, now)
            except Exception as error:  # noqa: BLE001 - the module says why
                self._dismiss(witness, error)

    def confirmed(self, shipments: Iterable[Shipment], now_s: float) -> None:
        """Tell what Kafka has confirmed."""
        for each in shipments:
            place = self._places.pop(each.sequence, None) if self._places else None
            if each.receipt is None and each.entry is not None:
                # A row does not know when, on the clock of this process, its message came.
                self._tell(each.record, None, End.DRAINED, None, place)
            else:
                self._tell(each.record, each.receipt, End.PRODUCED, now_s, place)

    def spooled(self, safe: Iterable[Safe], now_s: float) -> None:
        """Tell what is on disk."""
        for each in safe:
            self._tell(each.record, each.receipt, End.SPOOLED, now_s)

    def found(self, followers: Iterable[Follower]) -> None:
        """Tell what Kafka was found to have."""
        for each in followers:
            self._tell(each.record, each.receipt, End.FOUND, None)

    def shed(self, dropped: Iterable[tuple[Record, Settleable | None]]) -> None:
        """Tell what is left out; it ends in the moment in which it came."""
        for record, receipt in dropped:
            self._tell(record, receipt, End.SHED, record.received.monotonic_s)

    def _tell(
        self,
        record: Record,
        receipt: Settleable | None,
        end: End,
        now_s: float | None,
        place: Place | None = None,
    ) -> None:
        for witness in self._all:
            try:
                if witness.wants(record):
                    witness.ended(record, receipt, end, now_s=now_s, place=place)
            except Exception as error:  # noqa: BLE001 - the module says why
                self._dismiss(witness, error)

    def _dismiss(self, witness: Witness, error: Exception) -> None:
        self.remove(witness)
        self.on_fault(error)


def packet_id_of(receipt: Settleable | None) -> int | None:
    """Read the Packet Identifier behind a receipt, or a share in one; None where none is owed."""
    if isinstance(receipt, Share):
        receipt = receipt.joint.receipt
    return receipt.packet_id if isinstance(receipt, Receipt) else None
