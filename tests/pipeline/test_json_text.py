"""Our own table after the idea of JSONTestSuite: y_ must decode, n_ must not, and why."""

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, strategies as st

from bridge.pipeline.formats.batches import split_json
from bridge.pipeline.formats.json_text import DEPTH_MAX, decode_json, read_float
from bridge.pipeline.verdict import Reason, Rejected

ACCEPTED: list[tuple[str, bytes, Any]] = [
    ("white_space_around", b" \t\r\n{} \n", {}),
    ("escapes", rb'["\"\\\/\b\f\n\r\t\u00e9"]', ['"\\/\b\f\n\r\té']),
    ("surrogate_pair", rb'["\ud83d\ude00"]', ["\U0001f600"]),
    ("nul_escaped", rb'["\u0000"]', ["\0"]),
    ("noncharacter", b'["\xef\xbf\xbf"]', ["\uffff"]),
    ("delete_unescaped", b'["\x7f"]', ["\x7f"]),
    ("four_byte_utf8", b'["\xf0\x9f\x98\x80"]', ["\U0001f600"]),
    ("minus_zero", b"[-0]", [0]),
    ("exponents", b"[1E5,1e+5,1e-5]", [1e5, 1e5, 1e-5]),
    ("underflow_is_zero", b"[1e-400]", [0.0]),
    ("integer_of_65_bits", b"[18446744073709551616]", [18446744073709551616]),
    ("integer_of_4300_digits", b"[" + b"1" * 4_300 + b"]", [int("1" * 4_300)]),
    ("duplicate_key_last_wins", b'{"a":1,"a":2}', {"a": 2}),
    ("empty_key", b'{"":1}', {"": 1}),
    ("scalar_at_the_top", b"3", 3),
    ("brackets_in_a_string", b'["' + b"[" * 100 + b'"]', ["[" * 100]),
    ("brackets_after_an_escaped_quote", b'["\\"' + b"{[" * 50 + b'"]', ['"' + "{[" * 50]),
    ("brackets_after_escaped_backslashes", b'["\\\\","' + b"[" * 99 + b'"]', ["\\", "[" * 99]),
    ("many_siblings", b"[" + b"[]," * 99 + b"[]]", [[]] * 100),
]

SYNTAX = "JSON is malformed"
REFUSED: list[tuple[str, bytes, str]] = [
    ("white_space_only", b" \n", "payload of 2 bytes is white space only"),
    ("not_json", b"temperature=21", SYNTAX),
    ("cut_short", b'{"a":1', "Input data was truncated"),
    ("trailing_bytes", b"{}x", SYNTAX),
    ("trailing_nul", b"{}\0", SYNTAX),
    ("two_documents", b"{}{}", SYNTAX),
    ("two_lines", b"{}\n{}", SYNTAX),
    ("trailing_comma", b"[1,]", SYNTAX),
    ("single_quotes", b"{'a':1}", SYNTAX),
    ("comment", b"{}//", SYNTAX),
    ("key_without_quotes", b"{a:1}", SYNTAX),
    ("NaN", b'{"a":NaN}', SYNTAX),
    ("Infinity", b'{"a":Infinity}', SYNTAX),
    ("minus_Infinity", b'{"a":-Infinity}', SYNTAX),
    ("1e400", b'{"a":1e400}', "Number out of range"),
    ("10_to_the_5000", b'{"a":1' + b"0" * 5_000 + b"}", "out of range"),
    ("minus_10_to_the_5000", b'{"a":-1' + b"0" * 5_000 + b"}", "out of range"),
    ("1e400_in_a_large_payload", b"[1e400," + b" " * 9_999 + b"0]", "Number out of range"),
    ("leading_zero", b"[01]", SYNTAX),
    ("leading_plus", b"[+1]", SYNTAX),
    ("bare_point", b"[1.]", SYNTAX),
    ("hexadecimal", b"[0x1]", SYNTAX),
    ("True", b"[True]", SYNTAX),
    ("control_character", b'["a\nb"]', SYNTAX),
    ("bad_escape", rb'["\x41"]', SYNTAX),
    ("short_unicode_escape", rb'["\u12"]', SYNTAX),
    ("lone_high_surrogate", rb'["\ud800 and more of the text"]', "surrogate"),
    ("lone_high_surrogate_at_the_end", rb'["\ud800"]', "truncated"),
    ("lone_low_surrogate", rb'["text \udc00 more"]', "surrogate"),
    ("lone_surrogate_in_a_key", rb'{"k\ud800\ud800more text":1}', "surrogate"),
    ("surrogates_swapped", rb'["\ude00\ud83d and more"]', "surrogate"),
    ("ill_formed_utf8", b'{"a":"\xff"}', "text is not UTF-8: byte 0xff at offset 6"),
    ("ill_formed_utf8_in_a_key", b'{"\xff":1}', "byte 0xff at offset 2"),
    ("ill_formed_utf8_in_a_value_overwritten", b'{"x":["\xfe"],"x":1}', "byte 0xfe at offset 7"),
    ("overlong_utf8", b'["\xc0\xaf"]', "byte 0xc0 at offset 2"),
    ("surrogate_as_utf8", b'["\xed\xa0\x80"]', "byte 0xed at offset 2"),
    ("beyond_unicode", b'["\xf4\x90\x80\x80"]', "byte 0xf4 at offset 2"),
    ("utf16", '{"a":1}'.encode("utf-16"), SYNTAX),
    ("byte_order_mark", b"\xef\xbb\xbf{}", "payload starts with a byte order mark"),
    ("gzip", b"\x1f\x8b\x08\x00abc", "payload is gzip"),
    ("cbor", b"\xa1\x61a\x01", SYNTAX),
    ("no_break_space", b"\xc2\xa0{}", SYNTAX),
    ("33_levels", b"[" * 33 + b"]" * 33, "nested 33 levels deep, at most 32"),
    ("100_000_levels", b"[" * 100_000, "nested 100000 levels deep"),
    ("100_000_levels_of_objects", b'{"a":' * 100_000, "nested 100000 levels deep"),
]


@pytest.mark.parametrize(
    ("payload", "expected"), [case[1:] for case in ACCEPTED], ids=["y_" + c[0] for c in ACCEPTED]
)
def test_what_is_json_decodes_to_its_value(payload: bytes, expected: object) -> None:
    assert expected == decode_json(payload)


@pytest.mark.parametrize(
    ("payload", "detail"), [case[1:] for case in REFUSED], ids=["n_" + c[0] for c in REFUSED]
)
def test_what_is_not_json_is_refused_with_a_reason(payload: bytes, detail: str) -> None:
    rejected = decode_json(payload)

    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.NOT_DECODABLE
    assert detail in rejected.detail


def _depth(value: object) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_depth, value), default=0) if isinstance(value, list) else 0


_TEXTS = st.text('[]{}"\\,: a') | st.text()
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | _TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner),
)


@given(value=_JSON, levels=st.integers(0, 40), is_ascii=st.booleans())
def test_exactly_what_is_nested_deeper_than_the_bound_is_refused(
    value: object, levels: int, *, is_ascii: bool
) -> None:
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}

    decoded = decode_json(json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "replace"))

    assert (_depth(value) > DEPTH_MAX) == isinstance(decoded, Rejected)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_a_float_is_the_same_in_a_small_payload_and_in_a_large_one(floats: list[float]) -> None:
    payload = json.dumps(floats).encode()

    assert floats == decode_json(payload) == decode_json(payload + b" " * 4_096)


@given(st.binary() | st.text('[]{}"\\:,0').map(str.encode))
def test_no_bytes_make_decoding_raise_and_none_pass_that_python_refuses(payload: bytes) -> None:
    decoded = decode_json(payload)

    if not isinstance(decoded, Rejected):
        assert decoded == json.loads(payload)


def _reads_of_floats(decode: Callable[[], object]) -> int:
    """Count the floats that Python reads: never slow, where msgspec takes 12 us for 1e300."""
    reads = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal reads
        reads += event == "call" and frame.f_code is read_float.__code__

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        decode()
    finally:
        sys.setprofile(before)
    return reads


@pytest.mark.parametrize("number", ["1e300", "1E300", "1e+300", "8.98846567431158e307", "3e-310"])
@pytest.mark.parametrize("count", [10, 40, 43, 50, 90, 200, 350, 1_000])
def test_few_floats_are_left_to_who_is_slow_with_some_of_them(number: str, count: int) -> None:
    payload = f"[{','.join([number] * count)}]".encode()

    reads = _reads_of_floats(lambda: decode_json(payload))

    assert count - reads <= 50


def test_letters_that_are_no_exponents_send_no_message_the_longer_way() -> None:
    names = {f"temperature_of_the_engine_{number}": 20.5 for number in range(40)}
    payload = json.dumps(names).encode()

    assert 256 < len(payload) < 2_048
    assert 0 == _reads_of_floats(lambda: decode_json(payload))


def test_small_readings_of_a_large_batch_are_many_floats_together() -> None:
    reading = f"[{','.join(['1e300'] * 40)}]"
    payload = f'{{"batch_id":"x","readings":[{",".join([reading] * 50)}]}}'.encode()
    parts = split_json(payload)

    reads = _reads_of_floats(lambda: [parts.decode(each) for each in parts.payloads])

    assert 40 * 50 == reads
