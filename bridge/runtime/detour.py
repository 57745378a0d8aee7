"""What passes between the detour over the disk and those around it."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import msgspec

from bridge.kafka.record import Record
from bridge.kafka.shipment import Settleable, Shipment
from bridge.spool.entry import Entry


class Follower(msgspec.Struct, eq=False, gc=False):
    """A record that takes the detour without having been handed to Kafka first."""

    record: Record
    receipt: Settleable | None
    memory_bytes: int
    is_blind: bool = False
    """It was judged before it was known what Kafka has."""


Held: TypeAlias = Shipment | Follower


class Safe(msgspec.Struct, frozen=True, gc=False):
    """A record that is on disk now, and the receipt that may be settled for it."""

    record: Record
    receipt: Settleable | None


class Carrier(Protocol):
    """Whoever carries what leaves the detour: `Traffic`."""

    def carry(self, shipments: list[Shipment]) -> None:
        """Hand shipments to the producer."""

    def on_spooled(self, safe: list[Safe], now: float) -> None:
        """Records are on disk: settle their receipts."""

    def on_found(self, followers: Sequence[Follower], now: float) -> None:
        """Kafka was found to have these: settle what is owed."""

    def letter_of_row(self, entry: Entry, error: str) -> Record:
        """Make a dead letter of a row that cannot be read."""

    def on_disk_done(self) -> None:
        """The disk did its job or failed at it: there may be more to do now."""


class Shedder(Protocol):
    """Who tells what goes over the disk because Kafka is slow."""

    @property
    def is_shedding(self) -> bool:
        """True while anything does."""

    @property
    def drain_max(self) -> int | None:
        """How many rows may leave now; None: nobody minds."""

    def takes(self, record: Record) -> bool:
        """Tell whether a record is shed, and count it."""
