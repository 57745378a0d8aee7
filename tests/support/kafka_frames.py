"""The frames of the Kafka protocol, and the encodings that their fields share."""

import struct
from typing import Final

REQUEST: Final = struct.Struct(">ihhi")
"""Size, key of the API, its version, Correlation Id."""
ANSWER: Final = struct.Struct(">ii")
"""Size and Correlation Id."""
SIZE: Final = struct.Struct(">i")
LENGTH: Final = struct.Struct(">h")


def take_frames(data: bytes) -> tuple[list[bytes], bytes]:
    """Cut what came into whole requests or answers, and the beginning of the next."""
    frames: list[bytes] = []
    at = 0
    while len(data) - at >= SIZE.size:
        (size,) = SIZE.unpack_from(data, at)
        end = at + SIZE.size + size
        if end > len(data):
            break
        frames.append(data[at:end])
        at = end
    return frames, data[at:]


def with_size(frame: bytes) -> bytes:
    """Write the size of a frame that was changed into its head."""
    return SIZE.pack(len(frame) - SIZE.size) + frame[SIZE.size :]


def read_uvarint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number, and where the next field begins."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def uvarint(value: int) -> bytes:
    """Encode a number, 7 bits in a byte, the lowest first."""
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def skip_text(data: bytes, at: int, *, is_flexible: bool) -> int:
    """Return where the field behind a nullable string begins."""
    if is_flexible:
        length, at = read_uvarint(data, at)
        return at + max(0, length - 1)
    (length,) = LENGTH.unpack_from(data, at)
    return at + LENGTH.size + max(0, int(length))


def skip_tags(data: bytes, at: int) -> int:
    """Return where the field behind the tagged fields begins."""
    tags, at = read_uvarint(data, at)
    for _ in range(tags):
        _, at = read_uvarint(data, at)
        size, at = read_uvarint(data, at)
        at += size
    return at
