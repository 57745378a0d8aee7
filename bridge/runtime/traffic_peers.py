"""What `Traffic` asks of those around it."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

from bridge.kafka.record import Instant, Record
from bridge.kafka.shipment import Shipment

Report: TypeAlias = tuple[Shipment, str | None]


class Producer(Protocol):
    """The part of the producer that is used here."""

    def send(self, shipments: Sequence[Shipment]) -> Sequence[Shipment]:
        """Hand shipments over in order; return those that a full queue did not take."""

    def poll(self) -> list[Report]:
        """Return the delivery reports that are there."""

    def rebuild(self) -> str:
        """Replace the producer; return what the old one died of, if known."""


class Attendance(Protocol):
    """Who is told of each batch, once."""

    def note(self, records: Sequence[Record], received: Instant) -> None:
        """Take what the flow wrote down of a batch, and its records."""
