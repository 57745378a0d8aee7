"""Binary layouts: every type, both byte orders, decimals as people write them."""

import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, strategies as st

from bridge.config.sections import BinaryField, BinaryLayout
from bridge.pipeline.formats.binary import BinaryDecoder
from bridge.pipeline.formats.plain import widen_single
from bridge.pipeline.verdict import Rejected

TIME = BinaryField(name="time", type="u32", to="timestamp", unit="s")


def decode(payload: bytes, *fields: BinaryField, byte_order: Any = "little") -> Any:
    """Decode fields behind a timestamp of 0."""
    decoder = BinaryDecoder(BinaryLayout(byte_order=byte_order, fields=(TIME, *fields)))
    return decoder.decode(b"\0" * 4 + payload)


def metric(payload: bytes, *, byte_order: str = "little", **field: Any) -> Any:
    return decode(payload, BinaryField(name="a", **field), byte_order=byte_order)["metrics"]["a"]


@pytest.mark.parametrize(
    ("kind", "hexadecimal", "little", "big"),
    [
        ("u8", "ff", 255, 255),
        ("i8", "fe", -2, -2),
        ("u16", "0180", 0x8001, 0x0180),
        ("i16", "0180", -32_767, 0x0180),
        ("u24", "010080", 0x800001, 0x010080),
        ("i24", "010080", -8_388_607, 0x010080),
        ("u32", "01000080", 0x80000001, 0x01000080),
        ("i32", "01000080", -2_147_483_647, 0x01000080),
        ("u64", "0100000000000080", 2**63 + 1, 2**56 + 128),
        ("i64", "0100000000000080", 1 - 2**63, 2**56 + 128),
        ("f32", "00002040", 2.5, struct.unpack(">f", b"\0\0\x20\x40")[0]),
        ("f64", "0000000000000440", 2.5, struct.unpack(">d", b"\0\0\0\0\0\0\x04\x40")[0]),
        ("bool", "00", False, False),
        ("bool", "01", True, True),
        ("bool", "7f", True, True),
    ],
)
def test_every_type_is_read_in_both_byte_orders(
    kind: str, hexadecimal: str, little: object, big: object
) -> None:
    payload = bytes.fromhex(hexadecimal)

    read = metric(payload, type=kind)
    swapped = metric(payload, type=kind, byte_order="big")

    assert (type(little), little) == (type(read), read)
    if kind != "f32":
        assert (type(big), big) == (type(swapped), swapped)


@pytest.mark.parametrize(
    ("raw", "scale", "offset", "expected"),
    [
        (215, 0.1, 0, 21.5),
        (2_153, 0.01, 0, 21.53),
        (3, 0.1, 0, 0.3),  # 3 * 0.1 is 0.30000000000000004.
        (1_013, 0.1, 0.05, 101.35),
        (7, 0.5, -40, -36.5),
        (7, 2, 0, 14),
        (7, 1, -40, -33),
        (7, 10.0, 0, 70),
        (5, 0.0625, 0, 0.3125),
        (5, 1e-6, 0, 0.000005),
        (5, -0.1, 0, -0.5),
    ],
)
def test_a_scaled_integer_is_the_number_that_people_write(
    raw: int, scale: float, offset: float, expected: float
) -> None:
    read = metric(struct.pack("<h", raw), type="i16", scale=scale, offset=offset)

    assert (type(expected), expected) == (type(read), read)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 9))
def test_a_decimal_scale_gives_the_float_nearest_to_the_decimal(raw: int, digits: int) -> None:
    read = metric(struct.pack("<q", raw), type="i64", scale=float(f"1e-{digits}"))

    assert float(f"{raw}e-{digits}") == read


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_a_32_bit_float_is_the_shortest_decimal_that_gives_it_back(single: float) -> None:
    widened = widen_single(single)

    assert struct.pack("<f", single) == struct.pack("<f", widened)
    assert _digits(widened) <= _digits(single)
    assert _digits(widened) <= 9


def _digits(number: float) -> int:
    return len(Decimal(repr(number)).normalize().as_tuple().digits)


def test_a_32_bit_float_reads_as_it_was_meant() -> None:
    assert 45.2 == metric(struct.pack("<f", 45.2), type="f32")


@pytest.mark.parametrize(
    ("kind", "missing", "payload", "other"),
    [
        ("i16", -32_768, b"\0\x80", b"\1\x80"),
        ("u8", 255, b"\xff", b"\xfe"),
        ("u24", 0xFFFFFF, b"\xff\xff\xff", b"\xfe\xff\xff"),
        ("f32", "nan", b"\0\0\xc0\x7f", b"\0\0\0\0"),
        ("f32", -999.9, struct.pack("<f", -999.9), struct.pack("<f", -999.8)),
        ("f64", -999.5, struct.pack("<d", -999.5), struct.pack("<d", 0)),
    ],
)
def test_the_value_that_means_missing_is_null(
    kind: str, missing: Any, payload: bytes, other: bytes
) -> None:
    assert metric(payload, type=kind, missing=missing) is None
    assert metric(other, type=kind, missing=missing) is not None


def test_missing_is_compared_on_the_wire_before_the_scale() -> None:
    field: dict[str, Any] = {"type": "u16", "scale": 0.1, "missing": 65_535}

    assert metric(b"\xff\xff", **field) is None
    assert 6_553.4 == metric(b"\xfe\xff", **field)


@pytest.mark.parametrize(
    ("kind", "unit", "raw", "text"),
    [
        ("u32", "s", 1_795_455_324, "2026-11-23T17:35:24Z"),
        ("u64", "ms", 1_795_455_324_123, "2026-11-23T17:35:24.123Z"),
        ("i64", "ms", -1, "1969-12-31T23:59:59.999Z"),
        ("u64", "ms", 1_795_455_324, "1970-01-21T18:44:15.324Z"),  # Never taken for seconds.
        ("u64", "s", 253_402_300_800, 253_402_300_800_000),  # The year 10000 has no RFC 3339.
    ],
)
def test_a_timestamp_has_the_unit_that_the_layout_says(
    kind: Any, unit: Any, raw: int, text: object
) -> None:
    field = BinaryField(name="t", type=kind, to="timestamp", unit=unit)
    layout = BinaryLayout(byte_order="big", fields=(field, BinaryField(name="a", type="u8")))
    payload = raw.to_bytes(4 if kind == "u32" else 8, signed=kind == "i64") + b"\7"

    assert {"timestamp": text, "metrics": {"a": 7}} == BinaryDecoder(layout).decode(payload)


def test_fields_go_where_they_are_told() -> None:
    message = decode(
        b"\1\2\3",
        BinaryField(name="a", type="u8"),
        BinaryField(name="reserved", type="u8", to="ignored"),
        BinaryField(name="a", type="i8", to="metadata"),
    )

    assert {
        "timestamp": "1970-01-01T00:00:00Z",
        "metrics": {"a": 1},
        "metadata": {"a": 3},
    } == message


@given(st.binary(max_size=12))
def test_a_payload_of_another_length_is_refused_whatever_it_is(payload: bytes) -> None:
    decoded = decode(payload, BinaryField(name="a", type="f32"))

    assert len(payload) == 4 or isinstance(decoded, Rejected)
