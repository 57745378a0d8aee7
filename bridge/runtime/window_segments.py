"""The files of the window journal: blocks of keys and checkpoints, in segments.

A block is a header (magic and version, kind, length of the body, CRC32) and a body. A segment
begins with an OPENING, which tells whose it is, how deep a window it was kept for, and after which
byte of which segment it goes on; so a lost end of the one shows in the other. KEYS are the keys
that Kafka confirmed, with the time of the newest. A CHECKPOINT says: whatever of ours lies in Kafka
below these ends is among the keys before it. It holds only what has changed since the last one in
its segment.

Nothing is synced but a segment that is full: a kill -9 loses nothing that was written, and what a
power failure tears is cut off by the CRC, back to a checkpoint that asks more of the partitions. An
old checkpoint is never wrong, only slow.
"""

import enum
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from bridge.fleet.dedup_window import KEY_BYTES
from bridge.kafka.partitions import Place
from bridge.runtime.kafka_tail import Chunk, Ends, Window

VERSION: Final = 1
_MAGIC: Final = b"bwj"
_HEADER: Final = struct.Struct("<3sBB3xII")
_UNIX_MS: Final = struct.Struct("<Q")
_PLACES: Final = msgspec.msgpack.Decoder(list[tuple[str, int, int]])


class Kind(enum.IntEnum):
    """What the body of a block is."""

    OPENING = 1
    KEYS = 2
    CHECKPOINT = 3


class Follows(msgspec.Struct, frozen=True):
    """After what a segment goes on: a whole one, or what could be read of one."""

    number: int
    bytes: int


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What the first block of a segment says."""

    client_id: str
    window: Window
    follows: Follows | None
    """None: nothing before it counts."""


class Segment(msgspec.Struct, kw_only=True):
    """One file, as far as it could be read; its keys are not kept here."""

    path: Path
    opening: Opening
    bytes: int = 0
    """Of its good blocks."""
    is_torn: bool = False
    """Something that is no good block lies behind them."""
    keys: int = 0
    newest_ms: int = 0

    @property
    def number(self) -> int:
        """Tell its place among the segments."""
        return number_of(self.path)


class Content(msgspec.Struct):
    """What a segment holds, in order."""

    chunks: list[Chunk] = []
    ends: dict[Place, int] = {}
    """As of its last checkpoint; empty without one."""


class ForeignError(Exception):
    """A segment that is not ours to read, nor to delete."""


def number_of(path: Path) -> int:
    """Read the number from the name of a segment."""
    return int(path.stem.rpartition("-")[2])


def path_of(directory: Path, number: int) -> Path:
    """Name the file of a segment."""
    return directory / f"window-{number:06d}.keys"


def list_paths(directory: Path) -> list[Path]:
    """List the segments in their order, readable or not."""
    found = [each for each in directory.glob("window-*.keys") if each.stem[7:].isdecimal()]
    return sorted(found, key=number_of)


def opening_block(opening: Opening) -> bytes:
    """Write the first block of a segment."""
    return _block(Kind.OPENING, msgspec.msgpack.encode(opening))


def keys_block(keys: bytes, unix_ms: int) -> bytes:
    """Write joined keys, the newest of them confirmed at `unix_ms`."""
    return _block(Kind.KEYS, _UNIX_MS.pack(unix_ms) + keys)


def checkpoint_block(ends: Ends) -> bytes:
    """Write a checkpoint."""
    places = [(topic, partition, offset) for (topic, partition), offset in ends.items()]
    return _block(Kind.CHECKPOINT, msgspec.msgpack.encode(places))


def _block(kind: Kind, body: bytes) -> bytes:
    return _HEADER.pack(_MAGIC, VERSION, kind, len(body), zlib.crc32(body, kind)) + body


def read_segment(path: Path, client_id: str) -> tuple[Segment, Content] | None:
    """Read the good blocks from the beginning up to the first bad one; None without any.

    Raises:
        ForeignError: It has another format, or belongs to another client id.
        OSError: It cannot be read.
    """
    raw = path.read_bytes()
    if raw[:3] == _MAGIC and raw[3:4] not in (b"", bytes([VERSION])):
        raise ForeignError(f"has format {raw[3]}, this version knows {VERSION}")
    segment: Segment | None = None
    content = Content()
    for kind, body, end in _good_blocks(raw):
        try:
            if segment is None:
                if kind != Kind.OPENING:
                    break
                opening = msgspec.msgpack.decode(body, type=Opening)
                if opening.client_id != client_id:
                    raise ForeignError(f'belongs to client id "{opening.client_id}"')
                segment = Segment(path=path, opening=opening)
            elif kind == Kind.KEYS:
                _take_keys(body, segment, content)
            elif kind == Kind.CHECKPOINT:
                content.ends.update(((t, n), offset) for t, n, offset in _PLACES.decode(body))
            else:
                break
        except (msgspec.DecodeError, struct.error):  # Whole, and yet not ours.
            break
        segment.bytes = end
    if segment is None:
        return None
    segment.is_torn = segment.bytes < len(raw)
    return segment, content


def _take_keys(body: bytes, segment: Segment, content: Content) -> None:
    (unix_ms,) = _UNIX_MS.unpack_from(body)
    keys = body[_UNIX_MS.size :]
    if len(keys) % KEY_BYTES:
        raise msgspec.DecodeError("keys of another size")
    content.chunks.append(Chunk(unix_ms, keys))
    segment.keys += len(keys) // KEY_BYTES
    segment.newest_ms = max(segment.newest_ms, unix_ms)


def _good_blocks(raw: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Give kind, body and the offset behind each block."""
    at = 0
    while at + _HEADER.size <= len(raw):
        magic, version, kind, length, crc = _HEADER.unpack_from(raw, at)
        end = at + _HEADER.size + length
        body = raw[at + _HEADER.size : end]
        is_good = (magic, version) == (_MAGIC, VERSION) and end <= len(raw)
        if not is_good or zlib.crc32(body, kind) != crc:
            return
        yield kind, body, end
        at = end
