"""What the outage machine passes to its caller, and is told by it."""

import enum
from typing import Final, Generic, TypeVar
from zlib import crc32

import msgspec

BUCKETS: Final = 1 << 20
"""Keys are told apart by so many numbers. Two keys that share one follow each other into the spool,
which costs a detour and never order; 4 MB hold any number of keys."""


Item = TypeVar("Item")


class State(enum.Enum):
    """Where an entry is on its way."""

    PENDING = enum.auto()
    """In memory alone; its receipt is owed."""
    WRITING = enum.auto()
    """In the transaction under way."""
    ROW = enum.auto()
    """On disk."""
    GONE = enum.auto()
    """In Kafka, or replaced; its row, if it has one, is yet to be removed."""
    DIRECT = enum.auto()
    """Handed back before it was written: the caller's alone again."""


class Entry(msgspec.Struct, eq=False, gc=False):
    """One record that is in the spool or on its way into it: the caller's handle on it."""

    kafka_topic: str
    key: bytes
    identity: bytes
    record: bytes
    """Empty once it is a row that the caller has in hand."""
    item: object = None
    """The caller's own, never looked at. Dropped when the entry ends: the shipment refers to the
    entry in its turn, and the garbage collector knows neither."""
    is_in_hand: bool = False
    """The caller (librdkafka, or a lane before it) has the record too and will report on it."""
    state: State = State.PENDING
    sequence: int = 0
    bucket: int = 0
    group: int = 0
    since_s: float = 0.0
    is_stuck: bool = False
    hand_bytes: int = 0
    replaces: "Entry | None" = None
    """The refused entry whose row goes in the transaction in which this one comes."""
    is_replaced: bool = False

    @property
    def size_bytes(self) -> int:
        """Tell what it adds to the live bytes of the spool."""
        return len(self.key) + len(self.identity) + len(self.record)


class Write(msgspec.Struct, frozen=True, eq=False):
    """Add and remove rows in one transaction, then call `written` or `write_failed`."""

    entries: list[Entry]
    removed: list[Entry]
    may_exceed: bool
    """The entries replace rows: the bound in bytes does not stop them."""

    @property
    def removed_sequences(self) -> list[int]:
        """List the rows to remove."""
        return [each.sequence for each in self.removed]


class Read(msgspec.Struct, frozen=True, eq=False):
    """Read rows of a topic, then call `read` or `read_failed`."""

    kafka_topic: str
    after: int
    rows_max: int
    bytes_max: int
    hand_out_max: int


class Chosen(msgspec.Struct, Generic[Item], frozen=True):
    """What the caller owes directly and is to divert, each list in the given order."""

    stuck: list[Item]
    along: list[Item]


class Drained(msgspec.Struct, frozen=True):
    """What came of rows that were read."""

    taken: list[Entry]
    """To be produced."""
    found: list[Entry]
    """In Kafka already; their rows go with the next transaction."""


class Due(msgspec.Struct, frozen=True, eq=False):
    """What the caller is to do now."""

    disk: Write | Read | None = None
    """One job at a time; `due` gives no other until its result is told."""
    forward: list[Entry] = []
    """To be produced from memory, in order, as if they had come just now; receipts still owed."""


def bucket_of(key: bytes) -> int:
    """Number a key, the same in every process."""
    return crc32(key) & (BUCKETS - 1)
