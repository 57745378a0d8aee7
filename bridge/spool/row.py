"""One record in the spool, as it is written, read and counted."""

from typing import Protocol

import msgspec


class Writable(Protocol):
    """What becomes a row."""

    kafka_topic: str
    key: bytes
    identity: bytes
    """Who the record is to the dedup window; `Store.scan` gives it back without the record."""
    record: bytes
    """Opaque to the spool; `bridge.kafka.rows` writes and reads it."""


class Row(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A row as the drain reads it."""

    sequence: int
    key: bytes
    identity: bytes
    record: bytes


class Scanned(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What is to be known of every row at the start."""

    sequence: int
    kafka_topic: str
    key: bytes
    identity: bytes
