"""The same hostile cases for every format: dead-lettered with their bytes, and nothing raised."""

import gzip
import math
import struct
from collections.abc import Callable
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given, strategies as st

from bridge.pipeline.decode import Decoding
from bridge.pipeline.formats.published import TELEMETRY
from bridge.pipeline.identity import Address
from bridge.pipeline.verdict import Reason, Rejected
from tests.pipeline.formats.given import FORMATS, OWN, Reading, carry_as, decoder_for, encode
from tests.pipeline.given import DEVICE, MESSAGE, verdict

GOOD = {name: encode(Reading(), name) for name in FORMATS}
PACK: dict[str, Callable[[object], bytes]] = {
    "msgpack": msgspec.msgpack.encode,
    "cbor": cbor2.dumps,
}


def _with(metric: object) -> dict[str, Any]:
    return MESSAGE | {"metrics": {"a": metric}}


def _number(number: float) -> bytes:
    sent = TELEMETRY(timestamp_ms=1)
    sent.metrics["a"].number = number
    encoded: bytes = sent.SerializeToString()
    return encoded


def _binary(flow: float) -> bytes:
    return struct.pack("<BQhQdBb", 1, 1, 1, 1, flow, 1, 1)


def _not_finite() -> list[tuple[str, str, bytes, str]]:
    cases = []
    for number in (math.nan, math.inf, -math.inf):
        detail = f"{number}, which JSON cannot hold"
        cases += [(name, f"{number}", pack(_with(number)), detail) for name, pack in PACK.items()]
        cases += [
            ("json", f"{number}", f'{{"a":{number}}}'.encode(), "JSON is malformed"),
            ("protobuf", f"{number}", _number(number), detail),
            (OWN, f"{number}", b"\x21" + struct.pack("<d", number), detail),
            ("binary", f"{number}", _binary(number), f"field flow is {detail}"),
        ]
    return cases


CASES: list[tuple[str, str, bytes, str]] = [
    # cut short, and bytes left behind
    *(
        (name, "cut short", GOOD[name][:-1], detail)
        for name, detail in {
            "json": "truncated",
            "msgpack": "truncated",
            "cbor": "premature end of stream",
            "protobuf": "Wire format was corrupt",
            OWN: "Wire format was corrupt",
            "binary": "payload has 28 bytes, the layout of this route 29",
        }.items()
    ),
    *(
        (name, "trailing NUL", GOOD[name] + b"\0", detail)
        for name, detail in {
            "json": "trailing characters",
            "msgpack": "trailing characters",
            "cbor": "1 bytes are left behind the value",
            "protobuf": "Wire format was corrupt",
            OWN: "Wire format was corrupt",
            "binary": "payload has 30 bytes, the layout of this route 29",
        }.items()
    ),
    *(
        (name, "two documents", GOOD[name] * 2, detail)
        for name, detail in {
            "json": "trailing characters",
            "msgpack": "trailing characters",
            "cbor": "bytes are left behind the value",
            "binary": "payload has 58 bytes",
        }.items()
    ),
    ("protobuf", "a field left behind", GOOD["protobuf"] + b"\x48\x01", "field 9 is not in"),
    ("protobuf", "a value of a newer kind", b"\x22\x07\x0a\x01a\x12\x02\x30\x01", "of a kind that"),
    (
        "protobuf",
        "a value with more than its kind",
        b"\x22\x09\x0a\x01a\x12\x04\x10\x02\x78\x01",
        "field 15 of a value is not in",
    ),
    (
        "protobuf",
        "a map entry with more than a value",
        b"\x22\x09\x0a\x01a\x12\x02\x10\x02\x78\x01",
        "field 4 is not in",
    ),
    # depth
    ("json", "33 levels", b"[" * 33 + b"]" * 33, "nested 33 levels deep, at most 32"),
    ("msgpack", "33 levels", b"\x91" * 32 + b"\x90", "nested more than 32 levels deep"),
    ("msgpack", "33 levels of maps", b"\x81\xa1a" * 32 + b"\x80", "nested more than 32"),
    ("msgpack", "33 levels, array 16", b"\xdc\0\1" * 33 + b"\1", "nested more than 32"),
    ("msgpack", "33 levels, map 32", b"\xdf\0\0\0\1\xa0" * 33 + b"\1", "nested more than 32"),
    ("msgpack", "33 levels behind an extension", b"\x92\xc7\1\5x" + b"\x91" * 32, "more than 32"),
    ("msgpack", "33 levels behind text", b"\x92\xd9\1x" + b"\x91" * 32 + b"\1", "more than 32"),
    ("msgpack", "100,000 levels", b"\x91" * 100_000, "nested more than 32 levels deep"),
    ("cbor", "33 levels", b"\x81" * 32 + b"\x80", "nested more than 32 levels deep"),
    ("cbor", "33 levels of maps", b"\xa1\x61a" * 33 + b"\1", "nesting depth (32) exceeded"),
    ("cbor", "100,000 levels", b"\x81" * 100_000, "nesting depth (32) exceeded"),
    ("cbor", "100,000 levels without an end", b"\x9f" * 100_000, "nesting depth (32) exceeded"),
    ("cbor", "100,000 tags", b"\xc1" * 100_000, "nesting depth (32) exceeded"),
    ("protobuf", "100,000 groups", b"\x6b" * 100_000, "Error parsing message"),
    (OWN, "a message in itself 200 times", b"\x5a\x7f" * 200, "Error parsing message"),
    # size that is only declared
    ("msgpack", "an array of 2^32", b"\xdd\xff\xff\xff\xff", "truncated"),
    ("msgpack", "a map of 2^32", b"\xdf\xff\xff\xff\xff", "truncated"),
    ("msgpack", "text of 2^32", b"\xdb\xff\xff\xff\xffx", "truncated"),
    ("msgpack", "arrays of 2^32 in each other", b"\xdd\xff\xff\xff\xff" * 30, "truncated"),
    ("cbor", "an array of 2^64", b"\x9b" + b"\xff" * 8, "premature end"),
    ("cbor", "a map of 2^40", b"\xbb\0\0\1\0\0\0\0\0", "premature end"),
    ("cbor", "text of 2^40", b"\x81\x7b\0\0\1\0\0\0\0\0x", "premature end"),
    ("cbor", "arrays of 2^32 in each other", b"\x9a\xff\xff\xff\xff" * 30, "premature end"),
    ("cbor", "text without an end", b"\x7f" + b"\x61a" * 1_000, "premature end"),
    ("protobuf", "text of 2^31", b"\x0a\xff\xff\xff\xff\x07x", "Error parsing message"),
    # keys
    *(
        ("msgpack", f"key {name}", b"\x81" + key + b"\1", "a map has a key that is no text, at")
        for name, key in {
            "number": b"\1",
            "null": b"\xc0",
            "bytes": b"\xc4\1x",
            "array": b"\x91\1",
            "map": b"\x80",
            "extension": b"\xd4\1x",
        }.items()
    ),
    ("msgpack", "key number, deep", b"\x91" * 9 + b"\x81\1\1", "no text, at offset 10"),
    ("msgpack", "key number, second", b"\x82\xa1a\1\1\1", "no text, at offset 4"),
    *(
        ("cbor", f"key {name}", b"\xa1" + key + b"\1", "map key must be a text string or byte")
        for name, key in {
            "number": b"\1",
            "null": b"\xf6",
            "array": b"\x81\1",
            "map": b"\xa0",
            "float": b"\xf9\x3c\0",
            "large integer": b"\xc2\x41\1",
        }.items()
    ),
    ("cbor", "key bytes", b"\xa1\x41x\1", "a map has the key 1 bytes, expected text"),
    # types
    ("msgpack", "bytes", b"\x81\xa1a\xc4\1x", "a value is 1 bytes, which JSON cannot hold"),
    ("msgpack", "extension", b"\x81\xa1a\xd4\5x", "a value is a Ext, which JSON cannot hold"),
    ("msgpack", "time elsewhere", b"\x81\xa1a\xd6\xff\0\0\0\1", "a time elsewhere than under"),
    ("msgpack", "time alone", b"\xd6\xff\0\0\0\1", "a time elsewhere than under"),
    (
        "msgpack",
        "time of no calendar",
        b"\x81\xa9timestamp\xc7\x0c\xff\0\0\0\0\x7f" + b"\xff" * 7,
        "Timestamp is out of range",
    ),
    ("msgpack", "time of 1 byte", b"\x81\xa9timestamp\xd4\xff\1", "Invalid MessagePack timestamp"),
    ("msgpack", "the byte that is never used", b"\xc1", "invalid opcode"),
    ("cbor", "bytes", b"\xa1\x61a\x41x", "a value is 1 bytes, which JSON cannot hold"),
    ("cbor", "undefined", b"\xa1\x61a\xf7", "a value is a UndefinedType"),
    ("cbor", "simple value", b"\xa1\x61a\xf8\x20", "a value is a CBORSimpleValue"),
    ("cbor", "reserved length", b"\x1c", "error decoding unsigned integer"),
    ("cbor", "break alone", b"\xff", "break code encountered"),
    ("cbor", "map of one", b"\xbf\x61a\xff", "missing value for key"),
    *(
        ("cbor", f"tag of {name}", payload, "has a tag that is not taken")
        for name, payload in {
            "a shared value": b"\xd8\x1c\x81\xd8\x1d\0",
            "a string reference": b"\xd9\1\0\x82\x63abc\xd8\x19\0",
            "a regular expression": b"\xd8\x23\x61a",
            "a set": b"\xd9\1\2\x81\1",
            "a decimal": b"\xc4\x82\x21\x19\x6a\xb3",
            "a decimal of gigabytes": b"\xc4\x82\x1b\x0f" + b"\xff" * 7 + b"\1",
            "an address": b"\xd8\x34\x44\1\1\1\1",
            "a MIME message": b"\xd8\x24\x61a",
        }.items()
    ),
    ("cbor", "tag unknown", b"\xd9\x99\x99\1", "a value has a tag 39321 that is not taken"),
    ("cbor", "tag 0 on a number", b"\xc0\1", "tag 0 is on something that is no text"),
    ("cbor", "tag 1 on text", b"\xc1\x61a", "tag 1 is on something that is no number"),
    ("cbor", "tag 2 on text", b"\xc2\x61a", "bignum value must be a byte string"),
    *_not_finite(),
    # integers that Python would not write
    ("json", "4,301 digits", b"[1" + b"0" * 4_300 + b"]", "out of range"),
    (
        "cbor",
        "4,301 digits",
        b"\x81\xc2\x59\x06\xfa" + (10**4_300).to_bytes(1_786),
        "an integer has more than 4300 digits",
    ),
    (
        "cbor",
        "4,301 digits below zero, in a map",
        b"\xa1\x61a\xc3\x59\x06\xfa" + (10**4_300).to_bytes(1_786),
        "an integer has more than 4300 digits",
    ),
    # text that is no UTF-8
    ("json", "ill-formed UTF-8", b'{"a":"\xff"}', "text is not UTF-8"),
    ("msgpack", "ill-formed UTF-8", b"\x81\xa1a\xa1\xff", "text is not UTF-8"),
    ("msgpack", "ill-formed UTF-8 in a key", b"\x81\xa1\xff\1", "text is not UTF-8"),
    ("msgpack", "ill-formed UTF-8, deep", b"\x91" * 9 + b"\xa1\xff", "text is not UTF-8"),
    ("msgpack", "surrogate", b"\xa3\xed\xa0\x80", "text is not UTF-8"),
    ("cbor", "ill-formed UTF-8", b"\xa1\x61a\x61\xff", "'utf-8' codec can't decode byte 0xff"),
    ("cbor", "ill-formed UTF-8 in a key", b"\xa1\x61\xff\1", "'utf-8' codec can't decode"),
    ("cbor", "a character in two chunks", b"\x7f\x61\xc3\x61\xa9\xff", "'utf-8' codec can't"),
    ("cbor", "surrogate", b"\x63\xed\xa0\x80", "'utf-8' codec can't decode"),
    ("protobuf", "ill-formed UTF-8", b"\x0a\1\xff", "Error parsing message"),
    ("protobuf", "ill-formed UTF-8 in a key", b"\x22\3\x0a\1\xff", "Error parsing message"),
    (OWN, "ill-formed UTF-8", b"\x0a\3\x0a\1\xff", "Error parsing message"),
    # something else entirely
    *(
        (name, "gzip", gzip.compress(GOOD[name]), "payload is gzip (bytes 1f 8b), not")
        for name in FORMATS
        if name != "binary"
    ),
    *(
        (name, "JSON", GOOD["json"], 'payload starts with "{" as JSON text does, not with')
        for name in ("msgpack", "cbor", "protobuf", OWN)
    ),
    ("binary", "JSON", GOOD["json"], "the layout of this route 29"),
]


@pytest.mark.parametrize(
    ("format_name", "payload", "detail"),
    [(name, payload, detail) for name, _, payload, detail in CASES],
    ids=[f"{name}: {case}" for name, case, _, _ in CASES],
)
def test_a_hostile_payload_is_a_dead_letter_of_its_bytes(
    format_name: str, payload: bytes, detail: str
) -> None:
    record = carry_as(format_name, payload)

    reason, layer, said = verdict(record)
    assert ("not_decodable", "protocol") == (reason, layer)
    assert detail in said
    assert payload == record.value


@pytest.mark.parametrize("format_name", FORMATS)
def test_no_bytes_at_all_are_empty_in_every_format(format_name: str) -> None:
    assert ("empty", "protocol") == verdict(carry_as(format_name, b""))[:2]


@pytest.mark.parametrize(
    ("format_name", "payload"),
    [
        ("msgpack", b"\x91" * 31 + b"\x90"),
        ("msgpack", b"\x91" * 32 + b"\1"),
        ("msgpack", b"\x81\xa1a" * 32 + b"\xa1x"),
        ("cbor", b"\x81" * 31 + b"\x80"),
        ("cbor", b"\x81" * 32 + b"\1"),
        ("cbor", b"\x9f" * 32 + b"\1" + b"\xff" * 32),
    ],
)
def test_32_levels_are_decoded(format_name: str, payload: bytes) -> None:
    assert not isinstance(_decode(format_name, payload), Rejected)


@pytest.mark.parametrize("format_name", ["json", "msgpack", "cbor"])
def test_of_duplicate_keys_the_last_wins_in_every_format(format_name: str) -> None:
    payload = {
        "json": b'{"a":1,"a":2}',
        "msgpack": b"\x82\xa1a\1\xa1a\2",
        "cbor": b"\xa2\x61a\1\x61a\2",
    }[format_name]

    assert {"a": 2} == _decode(format_name, payload)


_HEADS = st.sampled_from(
    [bytes([head]) for head in (*range(0x80, 0xA8), *range(0xC0, 0xE0), 0xF6, 0xF9, 0xFB, 0xFF)]
)


@given(
    st.sampled_from([name for name in FORMATS if name != "json"]),
    st.binary(max_size=40) | st.lists(_HEADS | st.binary(max_size=3), max_size=20).map(b"".join),
)
def test_no_bytes_make_a_decoder_raise(format_name: str, payload: bytes) -> None:
    decoded = _decode(format_name, payload)

    if not isinstance(decoded, Rejected):
        assert decoded == msgspec.json.decode(msgspec.json.encode(decoded))


@given(st.sampled_from(FORMATS), st.data(), st.lists(st.tuples(st.integers(0, 200), st.binary())))
def test_no_damage_to_a_good_payload_makes_a_decoder_raise(
    format_name: str, data: st.DataObject, damage: list[tuple[int, bytes]]
) -> None:
    payload = GOOD[format_name]
    for place, written in damage:
        cut = data.draw(st.integers(0, 4))
        payload = payload[:place] + written + payload[place + cut :]

    decoded = _decode(format_name, payload)

    if isinstance(decoded, Rejected):
        assert decoded.reason in {Reason.NOT_DECODABLE, Reason.EMPTY}
    else:
        assert decoded == msgspec.json.decode(msgspec.json.encode(decoded))


_DECODING: dict[str, tuple[Address, Decoding]] = {}


def _decode(format_name: str, payload: bytes) -> Any:
    if format_name not in _DECODING:
        route, decoding = decoder_for(format_name)
        address = Address(route=route, device_id=DEVICE, key=b"", is_valid=True)
        _DECODING[format_name] = address, decoding
    address, decoding = _DECODING[format_name]
    return decoding.decode(payload, None, address)
