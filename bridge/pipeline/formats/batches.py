"""The readings of a batch, each with its own bytes: how an array is taken apart in each format.

A reading that is wrong must not sink the others, and its dead letter holds its bytes alone. So JSON
and MessagePack are cut where a reading begins and ends, without decoding it; then each is decoded
for itself. CBOR has no decoder that tells where a value ends, so a reading's bytes are written anew
from its value, the same for the same value (RFC 8949 section 4.2.1).
"""

import re
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import cbor2
import msgspec

from bridge.pipeline.formats.cbor import decode_cbor, read_cbor
from bridge.pipeline.formats.json_text import SMALL_BYTES_MAX, decode_json, decode_part_of_large
from bridge.pipeline.formats.msgpack import decode_msgpack
from bridge.pipeline.formats.plain import settle_plain
from bridge.pipeline.verdict import Rejected

READINGS: Final = "readings"
_BLANK: Final = b" \t\r\n"

_JSON_HEAD: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_JSON_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_MSGPACK_HEAD: Final = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_MSGPACK_LIST: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])

Decode = Callable[[bytes], Any]


class Parts(msgspec.Struct, frozen=True, gc=False):
    """A batch that is decoded as far as its readings."""

    head: dict[str, Any]
    """What stands beside the readings."""
    payloads: list[bytes]
    """The bytes of each reading."""
    decode: Decode
    """Gives the value of one of them, or the Rejected that says why there is none."""


def split_json(payload: bytes) -> Any:  # noqa: ANN401 - Parts, another JSON value, or Rejected
    """Take a batch apart; what has no array of readings is given as it was decoded."""
    decode = decode_json if len(payload) <= SMALL_BYTES_MAX else decode_part_of_large
    return _split(payload, _JSON_HEAD, _JSON_LIST, decode, msgspec.json.encode)


def split_msgpack(payload: bytes) -> Any:  # noqa: ANN401
    """Take a batch apart; what has no array of readings is given as it was decoded."""
    return _split(payload, _MSGPACK_HEAD, _MSGPACK_LIST, decode_msgpack, msgspec.msgpack.encode)


def split_cbor(payload: bytes) -> Any:  # noqa: ANN401
    """Take a batch apart; what has no array of readings is given as it was decoded."""
    message = read_cbor(payload)
    if type(message) is not dict or type(message.get(READINGS)) is not list:
        return message if type(message) is Rejected else settle_plain(message)
    readings = message.pop(READINGS)
    head = settle_plain(message)
    if type(head) is Rejected:
        return head
    return Parts(head, [cbor2.dumps(each, canonical=True) for each in readings], decode_cbor)


def _split(
    payload: bytes,
    read_head: "msgspec.json.Decoder[dict[str, msgspec.Raw]] | msgspec.msgpack.Decoder[Any]",
    read_list: "msgspec.json.Decoder[list[msgspec.Raw]] | msgspec.msgpack.Decoder[Any]",
    decode: Decode,
    encode: Callable[[dict[str, msgspec.Raw]], bytes],
) -> Any:  # noqa: ANN401
    try:
        raw = read_head.decode(payload)
        readings = read_list.decode(raw.pop(READINGS))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        cut = cut_json(payload) if read_head is _JSON_HEAD else None
        if cut is None:
            return decode(payload)  # Who reads all of it says best what is wrong.
        raw, readings = cut
    # As one message: what a value may be hangs on its name, a time of MessagePack for instance.
    head = decode(encode(raw))
    if type(head) is Rejected:
        return head
    return Parts(head, list(map(bytes, readings)), decode)


TOKENS_MAX: Final = 200_000
"""Of a batch that is cut by hand: 60 ms of the loop, and far more than a thousand readings have."""
TOKEN: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[][{},:]', re.DOTALL)
"""A string or a mark. A string that nobody closes is one token to the end: sought again from each
of its quotes, 1 MiB of them would take an hour."""
_DEEPER: Final = {b"{": 1, b"[": 1, b"}": -1, b"]": -1}


def cut_json(payload: bytes) -> tuple[dict[str, msgspec.Raw], list[bytes]] | None:
    """Cut a batch by its brackets alone, whatever its readings hold; None where there are none.

    For a batch that msgspec does not skip through: an escape of half a surrogate pair, or NaN, in
    one reading. Each piece is decoded for itself afterwards, so nothing is taken on trust.
    """
    members = _pieces(payload, b"{", b"}")
    if members is None:
        return None
    raw: dict[str, msgspec.Raw] = {}
    for member in members:
        name = TOKEN.match(member)
        if name is None or name[0][:1] != b'"':
            return None
        rest = member[name.end() :].lstrip(_BLANK)
        if not rest.startswith(b":"):
            return None
        try:
            raw[msgspec.json.decode(name[0], type=str)] = msgspec.Raw(rest[1:].strip(_BLANK))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
    readings = _pieces(bytes(raw.pop(READINGS, b"")), b"[", b"]")
    return None if readings is None else (raw, readings)


def _pieces(text: bytes, begin: bytes, end: bytes) -> list[bytes] | None:
    """Cut what stands between two brackets at its commas; None where the brackets do not close."""
    text = text.strip(_BLANK)
    if not text.startswith(begin):
        return None
    depth, start = 0, 1
    pieces: list[bytes] = []
    for token in islice(TOKEN.finditer(text), TOKENS_MAX):
        depth += _DEEPER.get(token[0], 0)
        if token[0] == b"," and depth == 1:
            pieces.append(text[start : token.start()].strip(_BLANK))
            start = token.end()
        elif depth == 0:
            if token[0] != end or token.end() != len(text):
                return None
            pieces.append(text[start : token.start()].strip(_BLANK))
            if pieces == [b""]:
                return []
            return pieces if all(pieces) else None  # A comma too many is nobody's reading.
    return None


SPLITTERS: Final[dict[str, Decode]] = {
    "json": split_json,
    "msgpack": split_msgpack,
    "cbor": split_cbor,
}
"""By the name of the format; the others hold no batches."""
READING_DECODERS: Final[dict[str, Decode]] = {
    "json": decode_json,
    "msgpack": decode_msgpack,
    "cbor": decode_cbor,
}
"""For one reading that was cut out before."""
