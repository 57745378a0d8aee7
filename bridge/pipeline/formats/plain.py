"""What a decoded message may consist of, whatever its format: what JSON can hold, and no more."""

import struct
from datetime import UTC, datetime
from math import isfinite
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import Meta

from bridge.pipeline.formats.json_text import DEPTH_MAX
from bridge.pipeline.timestamps import write_timestamp
from bridge.pipeline.verdict import Layer, Reason, Rejected
from bridge.pipeline.wording import quote

INTEGER_DIGITS_MAX = 4_300
"""No integer has more digits in any format: Python reads and writes none."""
INTEGER_BELOW = 10**INTEGER_DIGITS_MAX

_LEVELS_TYPED = 6
"""Each level doubles the type; a decoder of six is made in some 5 ms (measured)."""
_LARGEST: Final = 1.7976931348623157e308
_FiniteFloat = Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]  # NaN is neither.
_Scalar = str | int | _FiniteFloat | bool | None


def _usual(levels: int) -> Any:  # noqa: ANN401 - a type that no annotation can spell
    kind: Any = _Scalar
    for _ in range(levels):
        kind = _Scalar | list[kind] | dict[str, kind]
    return kind


USUAL: Final = _usual(_LEVELS_TYPED)
"""As a type, which msgspec checks in C: text keys, finite numbers, no bytes, six levels."""


class _Usual(msgspec.Struct):
    """Holds a message: only of a struct does msgspec remember how its type is checked."""

    message: USUAL  # type: ignore[valid-type]  # made at run time


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US_PER_S = 1_000_000
_PLAIN = frozenset((str, int, float, bool, type(None), dict, list))
_CONTAINERS = frozenset((dict, list))
_TEXT = frozenset((str,))
_GZIP = b"\x1f\x8b"
_JSON_STARTS = (b"{", b"[")
_pack_single = struct.Struct("<f").pack


def not_decodable(detail: str) -> Rejected:
    """Reject bytes that are not of the format."""
    return Rejected(Reason.NOT_DECODABLE, Layer.PROTOCOL, detail)


def name_mistake(payload: bytes, format_name: str) -> str | None:
    """Say what the bytes seem to be instead, where that is easily seen."""
    if payload.startswith(_GZIP):
        return f"payload is gzip (bytes 1f 8b), not {format_name}"
    if payload.startswith(_JSON_STARTS):
        return f'payload starts with "{chr(payload[0])}" as JSON text does, not with {format_name}'
    return None


def settle_plain(message: Any) -> Any:  # noqa: ANN401 - whatever a decoder made, or Rejected
    """Give a message that JSON can hold, or say why it is none.

    The decoder has built nothing that is shared, and bounds the depth; exactly is it counted here,
    since cbor2 does not count what is empty.
    """
    try:
        return msgspec.convert({"message": message}, _Usual).message
    except msgspec.ValidationError:
        problem = _settle_unusual(message)
    return message if problem is None else not_decodable(problem)


def _settle_unusual(message: Any) -> str | None:  # noqa: ANN401
    """Look at a message level by level, in C as far as it goes: 256 KB of the worst take 30 ms."""
    values: list[Any] = [message]
    for _ in range(DEPTH_MAX + 1):
        kinds = set(map(type, values))
        if not kinds <= _PLAIN or float in kinds:
            foreign = next(filter(_is_foreign, values), None)
            if foreign is not None:
                return f"a value is {_describe(foreign)}, which JSON cannot hold"
        if kinds.isdisjoint(_CONTAINERS):
            return None
        inner: list[Any] = []
        for value in values:
            kind = type(value)
            if kind is dict:
                if not _TEXT.issuperset(map(type, value)):
                    strange = next(key for key in value if type(key) is not str)
                    return f"a map has the key {_describe(strange)}, expected text"
                if type(value.get("timestamp")) is datetime:
                    value["timestamp"] = write_instant(_unix_us(value["timestamp"]))
                inner.extend(value.values())
            elif kind is list:
                inner.extend(value)
        values = inner
    return f"nested more than {DEPTH_MAX} levels deep"


def write_instant(measured_at_us: int) -> str | int:
    """Write an instant whose unit is known as a `timestamp`, for validation to judge.

    Not as a number where it can be helped: a small one would be taken for seconds.
    """
    return write_timestamp(measured_at_us) or measured_at_us // 1_000


def widen_single(value: float) -> float:
    """Give the number that people write for a 32-bit float: 45.2, not 45.20000076293945."""
    single = _pack_single(value)
    for digits in (6, 7, 8):
        candidate = float(f"{value:.{digits}g}")
        try:
            if _pack_single(candidate) == single:
                return candidate
        except OverflowError:
            continue  # Rounded up beyond the largest one.
    return float(f"{value:.9g}")


def _unix_us(instant: datetime) -> int:
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * _US_PER_S + since.microseconds


def _is_foreign(value: object) -> bool:
    kind = type(value)
    return kind not in _PLAIN or (kind is float and not isfinite(cast("float", value)))


def _describe(value: object) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, datetime):
        return 'a time elsewhere than under "timestamp"'
    return quote(value)
