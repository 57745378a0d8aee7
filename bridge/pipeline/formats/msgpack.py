"""MessagePack: bytes to what JSON can hold, or the reason why not.

What is usual is decoded by types: text keys, finite numbers, no bytes, no extensions, six levels.
msgspec does that in one pass, and what it is not told of it refuses before it builds it. All else
goes a second, slower way: levels and keys are counted first, then everything is decoded and looked
at. On it are messages of 7 to 32 levels, the timestamp extension, and whatever is refused.
"""

from typing import Any, Final

import msgspec

from bridge.pipeline.formats.json_text import DEPTH_MAX
from bridge.pipeline.formats.plain import USUAL, name_mistake, not_decodable, settle_plain

_DECODER: Final[msgspec.msgpack.Decoder[Any]] = msgspec.msgpack.Decoder(USUAL)
_DECODER_OF_ANYTHING: Final = msgspec.msgpack.Decoder()


def decode_msgpack(payload: bytes) -> Any:  # noqa: ANN401 - any JSON value, or Rejected
    """Decode one payload; never raises, because no device may be able to stop the bridge."""
    try:
        return _DECODER.decode(payload)
    except msgspec.ValidationError:  # First: it is a subclass of DecodeError.
        return _decode_unusual(payload)
    except UnicodeDecodeError as error:
        return not_decodable(f"text is not UTF-8: {error.reason}")
    except (msgspec.DecodeError, RecursionError) as error:
        return not_decodable(name_mistake(payload, "MessagePack") or str(error))


def _decode_unusual(payload: bytes) -> Any:  # noqa: ANN401
    problem = _scan(payload)
    if problem is not None:
        return not_decodable(problem)
    try:
        message = _DECODER_OF_ANYTHING.decode(payload)
    except UnicodeDecodeError as error:
        return not_decodable(f"text is not UTF-8: {error.reason}")
    except (msgspec.DecodeError, RecursionError) as error:
        return not_decodable(name_mistake(payload, "MessagePack") or str(error))
    return settle_plain(message)


def _sizes(*, has_empty: bool) -> bytes:
    """Tell for each first byte how long its value is; 0 where more has to be read."""
    sizes = bytearray(256)
    for head in (*range(0x80), 0xC0, 0xC2, 0xC3, *range(0xE0, 0x100)):
        sizes[head] = 1
    for head in range(0xA0, 0xC0):  # Text of up to 31 bytes.
        sizes[head] = 1 + head - 0xA0
    for head, size in ((0xCC, 1), (0xCD, 2), (0xCE, 4), (0xCF, 8), (0xCA, 4), (0xCB, 8)):
        sizes[head] = 1 + size
        if head >= 0xCC:  # noqa: PLR2004 - signed integers stand four behind the unsigned
            sizes[head + 4] = 1 + size
    sizes[0x80] = sizes[0x90] = has_empty
    for power in range(5):  # Extensions of 1, 2, 4, 8, 16 bytes, and the byte of their type.
        sizes[0xD4 + power] = 2 + 2**power
    return bytes(sizes)


_SIZES: Final = _sizes(has_empty=True)
_SIZES_AT_THE_BOTTOM: Final = _sizes(has_empty=False)
"""Where no level may follow, an empty container is one too many, and is looked at."""
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Bytes, extensions and text with a length of so many bytes behind the first."""
_EXTENSIONS = frozenset((0xC7, 0xC8, 0xC9))
_TEXTS: Final = frozenset((*range(0xA0, 0xC0), 0xD9, 0xDA, 0xDB))
_SMALL_COUNTS: Final = {0x80 + n: -2 * n for n in range(16)} | {0x90 + n: n for n in range(16)}
"""Maps and arrays of up to 15: what is left to read, of a map negative."""
_COUNTS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, -2), 0xDF: (4, -2)}
"""Arrays and maps: how long the count is, and the factor that makes it the same."""


def _scan(payload: bytes) -> str | None:  # noqa: C901 - a call for each value would double it
    """Walk over a payload without building anything: how deep does it go, are its keys text.

    Keys have to be looked at before they are decoded: the hash of a tuple of numbers can be
    forged, so 256 KB of them, all alike, would keep a dict busy for seconds. Bytes that are no
    MessagePack end the walk, and the decoder says so: it reads no further either.
    """
    sizes, texts, small = _SIZES, _TEXTS, _SMALL_COUNTS
    outer: list[int] = []
    offset, left = 0, 1  # Values to come in the innermost container; of a map, negative.
    try:
        while left or outer:
            if not left:
                left, sizes = outer.pop(), _SIZES
                continue
            head = payload[offset]
            if left > 0:
                left -= 1
            elif left & 1 or head in texts:
                left += 1
            else:
                return f"a map has a key that is no text, at offset {offset}"
            size = sizes[head]
            if size:
                offset += size
                continue
            inner = small.get(head)
            if inner is None:
                offset, inner = _step(payload, offset, head)
                if inner is None:
                    continue
            else:
                offset += 1
            outer.append(left)
            left = inner
            if len(outer) >= DEPTH_MAX:
                sizes = _SIZES_AT_THE_BOTTOM
                if len(outer) > DEPTH_MAX:
                    return f"nested more than {DEPTH_MAX} levels deep"
    except IndexError:
        return None
    return None


def _step(payload: bytes, offset: int, head: int) -> tuple[int, int | None]:
    """Step over a count, and give what it counts; or over a length, and what has it."""
    if head in _COUNTS:
        width, factor = _COUNTS[head]
        return offset + 1 + width, factor * _read(payload, offset + 1, width)
    width = _LENGTHS.get(head, 0)
    if not width:
        raise IndexError(f"no value begins with {head}")
    start = offset + 1 + width
    return start + _read(payload, offset + 1, width) + (head in _EXTENSIONS), None


def _read(payload: bytes, start: int, width: int) -> int:
    """Read a number; where it is cut short, what follows lies behind the end as well."""
    return int.from_bytes(payload[start : start + width])
