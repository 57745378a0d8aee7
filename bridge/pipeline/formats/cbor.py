"""CBOR (RFC 8949): bytes to what JSON can hold, or the reason why not.

cbor2 reads; here is what it is not allowed to do. Most tags build live objects (a regular
expression is compiled, a shared reference can be its own element, a string reference makes 256 KB
into gigabytes of JSON), so all of them are refused but five: 0 and 1, whose text or number is taken
as it stands, 2 and 3, large integers, and 55799, which only says "this is CBOR".
"""

from io import BytesIO
from typing import Any, Final

import cbor2

from bridge.pipeline.formats.json_text import DEPTH_MAX
from bridge.pipeline.formats.plain import (
    INTEGER_BELOW,
    INTEGER_DIGITS_MAX,
    name_mistake,
    not_decodable,
    settle_plain,
)
from bridge.pipeline.verdict import Rejected

_INTEGER_BYTES_MAX = INTEGER_BELOW.bit_length() // 8
_REFUSED_BY_NAME = (
    *(4, 5, 21, 22, 23, 24, 25, 28, 29, 30, 32, 33, 34, 35, 36, 37, 38, 52, 54, 100, 103, 104),
    *(256, 257, 258, 259, 260, 261, 262, 263, 272, 273, 274, 1004, 43000),
)
"""Tags that cbor2 knows, or might come to know; what it does not know comes to the hook."""


class _RefusedError(Exception):
    """A tag that may not stand in telemetry, or not so."""


def _refuse(value: object, *_: object) -> object:
    tag = f" {value.tag}" if isinstance(value, cbor2.CBORTag) else ""
    raise _RefusedError(f"a value has a tag{tag} that is not taken: only 0 to 3 and 55799 are")


def _keep_text(value: object, *_: object) -> object:
    if type(value) is not str:
        raise _RefusedError("tag 0 is on something that is no text")
    return value


def _keep_number(value: object, *_: object) -> object:
    if type(value) is not int and type(value) is not float:
        raise _RefusedError("tag 1 is on something that is no number")
    return value


def _keep(value: object, *_: object) -> object:
    return value


_TAGS: Final = dict.fromkeys(_REFUSED_BY_NAME, _refuse) | {
    0: _keep_text,
    1: _keep_number,
    55799: _keep,
}  # 2 and 3 are left to cbor2: called from it, a function of ours takes 0.6 us.


def decode_cbor(payload: bytes) -> Any:  # noqa: ANN401 - any JSON value, or Rejected
    """Decode one payload; never raises, because no device may be able to stop the bridge."""
    message = read_cbor(payload)
    return message if type(message) is Rejected else settle_plain(message)


def read_cbor(payload: bytes) -> Any:  # noqa: ANN401 - any CBOR value, or Rejected
    """Decode what may still hold values that JSON cannot."""
    try:
        stream = BytesIO(payload)
        message = cbor2.CBORDecoder(
            stream,
            semantic_decoders=_TAGS,
            tag_hook=_refuse,
            max_depth=DEPTH_MAX,
            strict_hashable_types=True,  # The hash of a tuple of numbers, as a key, can be forged.
        ).decode()
    except cbor2.CBORError as error:
        return not_decodable(name_mistake(payload, "CBOR") or _explain(error))
    except (ValueError, OverflowError, MemoryError, RecursionError) as error:
        return not_decodable(str(error))  # None is known; cbor2 documents no closed set.
    end = stream.tell()
    if end != len(payload):
        detail = f"{len(payload) - end} bytes are left behind the value, which ends at {end}"
        return not_decodable(name_mistake(payload, "CBOR") or detail)
    # Only a payload of that size can hold such an integer, and only with its tag.
    may_be_large = end > _INTEGER_BYTES_MAX and (b"\xc2" in payload or b"\xc3" in payload)
    if may_be_large and _has_overlong_integer(message):
        return not_decodable(f"an integer has more than {INTEGER_DIGITS_MAX} digits")
    return message


def _has_overlong_integer(message: Any) -> bool:  # noqa: ANN401 - whatever cbor2 made
    waiting = [message]
    while waiting:
        value = waiting.pop()
        kind = type(value)
        if kind is dict:
            waiting.extend(value.values())
        elif kind is list:
            waiting.extend(value)
        elif kind is int and not -INTEGER_BELOW < value < INTEGER_BELOW:
            return True
    return False


def _explain(error: BaseException) -> str:
    """Give the innermost reason, which is the one that says something."""
    text = str(error)
    while (error := error.__cause__) is not None:  # type: ignore[assignment]
        text = str(error) if isinstance(error, _RefusedError) else f"{text}: {error}"
    return text
