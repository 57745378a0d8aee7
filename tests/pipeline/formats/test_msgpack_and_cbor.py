"""What MessagePack and CBOR have beyond JSON, and what becomes of it."""

from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given, strategies as st

from bridge.pipeline.formats.cbor import decode_cbor
from bridge.pipeline.formats.msgpack import decode_msgpack
from bridge.pipeline.verdict import Rejected
from tests.pipeline.formats.given import carry_as
from tests.pipeline.given import MESSAGE, TIMESTAMP, value, verdict

SECONDS = 1_795_455_324
EXTENSIONS = [
    ("32 bits", b"\xd6\xff" + SECONDS.to_bytes(4), "2026-11-23T17:35:24Z"),
    ("64 bits", b"\xd7\xff" + (123_000_000 << 34 | SECONDS).to_bytes(8), TIMESTAMP),
    ("96 bits", b"\xc7\x0c\xff" + (123_000_000).to_bytes(4) + SECONDS.to_bytes(8), TIMESTAMP),
]


@pytest.mark.parametrize(
    ("extension", "text"), [case[1:] for case in EXTENSIONS], ids=[case[0] for case in EXTENSIONS]
)
def test_the_timestamp_extension_of_messagepack_is_a_timestamp(extension: bytes, text: str) -> None:
    marked = msgspec.msgpack.encode(MESSAGE | {"timestamp": "@"})

    record = value(carry_as("msgpack", marked.replace(b"\xa1@", extension)))

    assert text == record["timestamp"]
    assert "timestamp_sent" not in record


def test_the_timestamps_of_readings_further_inside_may_be_extensions_too() -> None:
    payload = b"\x81\xa8readings\x91\x81\xa9timestamp" + EXTENSIONS[0][1]

    assert {"readings": [{"timestamp": EXTENSIONS[0][2]}]} == decode_msgpack(payload)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param(b"\xc0\x61a", "a", id="tag 0, a time as text"),
        pytest.param(b"\xc1\x1a\x6b\x04\x33\x9c", 0x6B04339C, id="tag 1, a time as a number"),
        pytest.param(b"\xc1\xfb\x3f\xf8\0\0\0\0\0\0", 1.5, id="tag 1, a time with a fraction"),
        pytest.param(b"\xc2\x49\1" + b"\0" * 8, 2**64, id="tag 2, a large integer"),
        pytest.param(b"\xc3\x49\1" + b"\0" * 8, -1 - 2**64, id="tag 3, one below zero"),
        pytest.param(b"\xd9\xd9\xf7\xa0", {}, id="tag 55799, CBOR itself"),
        pytest.param(b"\x3b" + b"\xff" * 8, -(2**64), id="an integer of 65 bits"),
        pytest.param(b"\xf9\x3c\0", 1.0, id="a float of 16 bits"),
        pytest.param(b"\x7f\x61a\x61b\xff", "ab", id="text in chunks"),
        pytest.param(b"\xbf\x61a\x9f\1\xff\xff", {"a": [1]}, id="a map without a length"),
        pytest.param(
            b"\xc2\x59\x06\xfa" + (10**4_300 - 1).to_bytes(1_786), 10**4_300 - 1, id="4300 digits"
        ),
        pytest.param(b"\x78\x02\xc3\xa9", "é", id="the bytes of a tag in text"),
    ],
)
def test_what_cbor_has_a_tag_or_a_form_of_its_own_for(payload: bytes, expected: object) -> None:
    decoded = decode_cbor(payload)

    assert (type(expected), expected) == (type(decoded), decoded)


def test_a_tagged_time_is_the_timestamp_of_a_record() -> None:
    payload = cbor2.dumps(MESSAGE | {"timestamp": cbor2.CBORTag(1, SECONDS)})

    record = value(carry_as("cbor", payload))

    assert ("2026-11-23T17:35:24Z", SECONDS) == (record["timestamp"], record["timestamp_sent"])


@pytest.mark.parametrize("tag", [*range(4, 300), 1004, 43000, *range(55790, 55799), 2**32])
def test_every_other_tag_is_refused_whatever_it_is_on(tag: int) -> None:
    insides: list[object] = ["a", 1, b"a", [1, 2], {}, [b"\1\1\1\1", 8], -1.5]
    payloads = [cbor2.dumps({"a": cbor2.CBORTag(tag, inside)}) for inside in insides]

    assert all(isinstance(decode_cbor(payload), Rejected) for payload in payloads)


@pytest.mark.parametrize("format_name", ["msgpack", "cbor"])
def test_these_formats_carry_the_device_id_themselves(format_name: str) -> None:
    message = {name: sent for name, sent in MESSAGE.items() if name != "device_id"}
    payload = {"msgpack": msgspec.msgpack.encode, "cbor": cbor2.dumps}[format_name](message)  # type: ignore[operator]

    assert ("schema_mismatch", "schema", "device_id is missing") == verdict(
        carry_as(format_name, payload)
    )


_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"))
)
_TEXTS = st.text(st.characters(codec="utf-8"))
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner), max_leaves=20
)


@given(_VALUES, st.integers(0, 40))
def test_both_decode_what_json_can_hold_down_to_the_bound_and_no_further(
    sent: Any, levels: int
) -> None:
    for level in range(levels):
        sent = [sent, [], {}] if level % 2 else {"": [], "a": sent}
    is_too_deep = _depth(sent) > 32

    for decoded in (
        decode_msgpack(msgspec.msgpack.encode(sent)),
        decode_cbor(cbor2.dumps(sent)),
        decode_cbor(cbor2.dumps(sent, indefinite_containers=True)),
    ):
        assert is_too_deep == isinstance(decoded, Rejected)
        assert is_too_deep or msgspec.json.encode(sent) == msgspec.json.encode(decoded)


def _depth(sent: Any) -> int:
    if isinstance(sent, dict):
        sent = list(sent.values())
    return 1 + max(map(_depth, sent), default=0) if isinstance(sent, list) else 0
