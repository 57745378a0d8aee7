"""A record as the bytes of a spool row, and back.

The codec stands on this side because the spool knows no records. The first byte is the version of
the layout; a layout is never changed, only followed by the next one, so that a newer bridge drains
what an older one left. A checksum follows, because SQLite has none: a bit that a disk turned would
be somebody's temperature. Of the time of receipt the wall clock is kept: the monotonic clock of
another process means nothing, so a record read back carries the `monotonic_s` of its reader, and
its age in this process counts from there.
"""

import struct
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final
from zlib import crc32

import msgspec

from bridge.kafka.record import DeadLetter, Headers, Instant, Kept, Origin, Reading, Record

VERSION: Final = 2
"""Version 1 had no checksum."""
_HEAD: Final = struct.Struct(">BI")
"""Version, and CRC-32 of what follows."""
KEY_BYTES: Final = 16
"""Length of a compact idempotency key."""
_LETTER_FIELDS: Final = 6
_BEST_EFFORT: Final = b"\0"


class _Layout1(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Positions in a row of version 1; fields may be added at the end, with a default."""

    kafka_topic: str
    key: bytes
    value: bytes
    headers: Headers
    received_us: int
    mqtt_topic: str
    payload: bytes | None
    """Absent where it equals the value: a dead letter, an opaque message."""
    content_type: str | None
    dead_letter: tuple[str, str, str, str, str, str] | None
    is_flagged: bool
    is_copy: bool = False
    """The dead letter is a copy."""
    batch_id: str | int | None = None
    """Of a reading that came in a batch; then the payload is that of the reading."""
    reading_index: int = 0
    batch_head: bytes = b""


def identity_of(dedup_key: bytes, *, is_promised: bool) -> bytes:
    """Write what the spool tells of a row without reading it: its key, and whether it is QoS 1."""
    return dedup_key if is_promised else dedup_key + _BEST_EFFORT


def key_of(identity: bytes) -> bytes:
    """Read the compact idempotency key out of an identity; empty where there is none."""
    return identity[:KEY_BYTES] if len(identity) >= KEY_BYTES else b""


def is_promised(identity: bytes) -> bool:
    """Tell whether the row stands for a QoS 1 PUBLISH, a term of the conservation equation."""
    return not len(identity) % KEY_BYTES


class RowError(Exception):
    """The bytes are no row that this version reads."""


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Layout1)
_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, OverflowError, OSError)
"""Of a row without checksum any byte may be wrong: also its text, or its time, which `datetime`
refuses in three ways (`UnicodeDecodeError` is a `ValueError`)."""


def to_row(record: Record) -> bytes:
    """Write a record as bytes."""
    origin = record.origin
    letter = record.dead_letter
    reading = origin if isinstance(origin, Reading) else None
    layout = _Layout1(
        record.kafka_topic,
        record.key,
        record.value,
        record.headers,
        record.received.unix_us,
        origin.topic,
        None if origin.payload == record.value else origin.payload,
        origin.content_type,
        None if letter is None else msgspec.structs.astuple(letter)[:_LETTER_FIELDS],
        record.is_flagged,
        letter is not None and letter.is_copy,
        None if reading is None else reading.batch_id,
        0 if reading is None else reading.index,
        b"" if reading is None else reading.head,
    )
    body = _ENCODER.encode(layout)
    return _HEAD.pack(VERSION, crc32(body)) + body


def from_row(row: bytes, *, dedup_key: bytes, monotonic_s: float) -> Record:
    """Read a record back; its `dedup_key` stands beside the row, where `Store.scan` finds it.

    Raises:
        RowError: The row is of a version unknown here, or damaged.
    """
    try:
        layout = _DECODER.decode(_body_of(row))
        received_at = rfc3339(layout.received_us)
    except _UNREADABLE as error:
        raise RowError(f"row cannot be read: {error}") from error
    payload = layout.value if layout.payload is None else layout.payload
    letter = layout.dead_letter
    origin: Origin = Kept(layout.mqtt_topic, payload, layout.content_type)
    if layout.batch_id is not None:
        origin = Reading(
            layout.mqtt_topic,
            payload,
            layout.content_type,
            layout.batch_id,
            layout.reading_index,
            head=layout.batch_head,
        )
    return Record(
        layout.kafka_topic,
        layout.key,
        layout.value,
        layout.headers,
        Instant(layout.received_us, monotonic_s, received_at),
        origin,
        None if letter is None else DeadLetter(*letter, layout.is_copy),
        layout.is_flagged,
        dedup_key,
    )


def _body_of(row: bytes) -> memoryview:
    version = row[0] if row else 0
    if version == 1:
        return memoryview(row)[1:]
    if version != VERSION:
        raise RowError(f"row has version {version if row else 'none'}, known are 1 and {VERSION}")
    body = memoryview(row)[_HEAD.size :]
    if len(row) < _HEAD.size or crc32(body) != _HEAD.unpack_from(row)[1]:
        raise RowError("row is damaged: its checksum is of something else")
    return body


def rfc3339(unix_us: int) -> str:
    """Write an instant of the years 1 to 9999 as records have it: UTC, microseconds, `Z`."""
    seconds, microseconds = divmod(unix_us, 1_000_000)
    return f"{_whole_second(seconds)}.{microseconds:06d}Z"


@lru_cache(maxsize=64)  # Rows stand in the order of their receipt: 2 us a record less.
def _whole_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
