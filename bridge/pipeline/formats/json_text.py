"""JSON (RFC 8259): bytes to a Python value, or the reason why not."""

import functools
import itertools
import math
from typing import Any

import msgspec

from bridge.pipeline.verdict import Layer, Reason, Rejected

DEPTH_MAX = 32
"""Levels of nesting that a payload may have; far below what any call stack bears."""

SMALL_BYTES_MAX = 2_048
"""Up to this size the faster decoder serves, but for many exponents: see `read_float`."""
_TINY_BYTES_MAX = 256
"""Up to this size nobody looks for exponents: 50 of the worst numbers take 0.6 ms, and looking
would cost most messages more than 0.2 us."""
_EXPONENTS_MAX = 32
"""Few devices write one, and the worst of so many take 0.4 ms."""
_DIGITS_ALIKE = bytes.maketrans(b"123456789E", b"000000000e")
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NOT_STRUCTURE = bytes(sorted(set(range(256)) - set(b'"[]{}')))
_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITE_SPACE = b" \t\r\n"


def read_float(text: str) -> float:
    """Read one number of a larger payload as Python does, which is never slow.

    msgspec takes 20 us for a float such as 8.98846567431158e307 and 11 us for 1e300: 430 ms for
    256 KB of them (measured). This takes 0.3 us for any, where msgspec takes 0.03 us for most.
    """
    number = float(text)
    if math.isinf(number):
        raise ValueError("Number out of range")
    return number


_DECODER = msgspec.json.Decoder()
_DECODER_OF_LARGE = msgspec.json.Decoder(float_hook=read_float)


def decode_json(payload: bytes, *, is_large: bool = False) -> Any:  # noqa: ANN401 - any JSON value
    """Decode one payload; never raises, because no device may be able to stop the bridge.

    What cannot be read is Rejected. `is_large` says it of what a small part was cut from.
    """
    # There are no more levels than opening brackets: so the usual message is spared the rest.
    if payload.count(b"{") + payload.count(b"[") > DEPTH_MAX:
        depth = _measure_depth(payload)
        if depth > DEPTH_MAX:
            return _not_decodable(f"nested {depth} levels deep, at most {DEPTH_MAX}")
    try:
        if not is_large and (len(payload) <= _TINY_BYTES_MAX or not _may_be_slow(payload)):
            return _DECODER.decode(payload)
        return _DECODER_OF_LARGE.decode(payload)
    except UnicodeDecodeError as error:
        return _not_decodable(_explain_utf8(payload) or str(error))
    except (msgspec.DecodeError, RecursionError) as error:
        return _not_decodable(_explain_syntax(payload) or str(error))


def decode_tiny(payloads: list[bytes]) -> list[Any] | None:
    """Decode many payloads that are small, every one; None where one is not or cannot be read."""
    if max(map(len, payloads)) > _TINY_BYTES_MAX:
        return None
    # Each may have so many of both kinds at most; that one has them all is not even asked.
    steps = max(map(bytes.count, payloads, itertools.repeat(b"{")))
    if b"[" in b"".join(payloads):  # Few messages have an array: one look at all is cheaper.
        steps += max(map(bytes.count, payloads, itertools.repeat(b"[")))
    if steps > DEPTH_MAX:
        return None
    try:
        return list(map(_DECODER.decode, payloads))
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return None


decode_part_of_large = functools.partial(decode_json, is_large=True)
"""For parts that are small each, and many."""


def _may_be_slow(payload: bytes) -> bool:
    """Tell whether there is room for so many slow numbers that they would be felt."""
    if len(payload) > SMALL_BYTES_MAX:
        return True
    # Names are full of the letter: only where there is much of it, what stands before is looked at.
    if payload.count(b"e") + payload.count(b"E") <= _EXPONENTS_MAX:
        return False
    return payload.translate(_DIGITS_ALIKE).count(b"0e") > _EXPONENTS_MAX


def _measure_depth(payload: bytes) -> int:
    """Count levels before decoding, in C speed: 256 KB of the worst shape takes some 5 ms.

    Escapes go first, so that every quote left starts or ends a string; then everything that is
    neither quote nor bracket; then the strings. What is left are steps up and down. In what is
    not JSON the count holds as far as it is JSON, and no further does the decoder read.
    """
    steps = payload.replace(b"\\\\", b"").replace(b'\\"', b"")
    steps = steps.translate(_STEPS, _NOT_STRUCTURE)
    steps = b"".join(steps.split(b'"')[::2])
    return max(itertools.accumulate(memoryview(steps).cast("b")), default=0)


def _explain_utf8(payload: bytes) -> str | None:
    """Give the offset in the payload: the decoder gives it in the string it was reading."""
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        return f"text is not UTF-8: byte 0x{payload[error.start]:02x} at offset {error.start}"
    return None


def _explain_syntax(payload: bytes) -> str | None:
    """Name the mistakes that are easily made and hard to see."""
    if payload.startswith(_GZIP):
        return "payload is gzip (bytes 1f 8b), not JSON"
    if payload.startswith(_BYTE_ORDER_MARK):
        return "payload starts with a byte order mark, which is not JSON"
    if not payload.strip(_WHITE_SPACE):
        return f"payload of {len(payload)} bytes is white space only"
    return None


def _not_decodable(detail: str) -> Rejected:
    return Rejected(Reason.NOT_DECODABLE, Layer.PROTOCOL, detail)
