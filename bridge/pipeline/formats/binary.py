"""Fixed binary layouts, for the smallest devices: the configuration says what each byte is."""

import struct
from collections.abc import Callable
from decimal import Decimal
from math import isfinite, isnan
from typing import Any, TypeAlias

from bridge.config.sections import BinaryField, BinaryLayout
from bridge.pipeline.formats.plain import not_decodable, widen_single, write_instant

_CODES = {
    "u8": "B",
    "i8": "b",
    "u16": "H",
    "i16": "h",
    "u24": "3s",
    "i24": "3s",
    "u32": "I",
    "i32": "i",
    "u64": "Q",
    "i64": "q",
    "f32": "f",
    "f64": "d",
    "bool": "?",
}
_US_OF_UNIT = {"s": 1_000_000, "ms": 1_000}

_Read: TypeAlias = Callable[[Any], Any]
"""Makes the value of the record from that on the wire."""


class BinaryDecoder:
    """One layout, made ready; a payload of any other length is not of it.

    No device id is in such a payload: the one of the MQTT topic is put in its place by decode.py.
    """

    def __init__(self, layout: BinaryLayout) -> None:
        order = "<" if layout.byte_order == "little" else ">"
        self._struct = struct.Struct(order + "".join(_CODES[each.type] for each in layout.fields))
        reads = [(_reader(each, layout.byte_order), each) for each in layout.fields]
        self._fields = [
            (index, each.to == "metadata", each.name, read)
            for index, (read, each) in enumerate(reads)
            if each.to in {"metrics", "metadata"}
        ]
        self._has_metadata = any(is_metadata for _, is_metadata, _, _ in self._fields)
        places = [index for index, each in enumerate(layout.fields) if each.to == "timestamp"]
        assert len(places) == 1, "a layout without its one timestamp passed the configuration"
        self._timestamp_at = places[0]
        unit = layout.fields[places[0]].unit
        assert unit is not None, "a timestamp without a unit passed the configuration"
        self._us_of_unit = _US_OF_UNIT[unit]

    def decode(self, payload: bytes) -> Any:  # noqa: ANN401 - a message, or Rejected
        """Decode one payload; never raises, because no device may be able to stop the bridge."""
        if len(payload) != self._struct.size:
            return not_decodable(
                f"payload has {len(payload)} bytes, the layout of this route {self._struct.size}"
            )
        values = self._struct.unpack(payload)
        metrics: dict[str, Any] = {}
        metadata: dict[str, Any] = {}
        for index, is_metadata, name, read in self._fields:
            value = values[index]
            if read is not None:
                value = read(value)
            if type(value) is float and not isfinite(value):
                return not_decodable(f"field {name} is {value}, which JSON cannot hold")
            if is_metadata:
                metadata[name] = value
            else:
                metrics[name] = value
        timestamp = write_instant(values[self._timestamp_at] * self._us_of_unit)
        message = {"timestamp": timestamp, "metrics": metrics}
        if self._has_metadata:
            message["metadata"] = metadata
        return message


def _reader(field: BinaryField, byte_order: str) -> _Read | None:
    """Give the steps from the value on the wire to that of the record; none for most fields."""
    read = _scaled(field)
    if field.type == "f32":
        read = _read_single
    if field.missing is not None:
        read = _or_missing(_on_the_wire(field.missing, field.type), read)
    if field.type in {"u24", "i24"}:
        read = _from_three_bytes(byte_order, read, is_signed=field.type == "i24")
    return read


def _scaled(field: BinaryField) -> _Read | None:
    """Scale by integers, divided once, so that the result is the float nearest to the decimal."""
    if field.scale == 1 and field.offset == 0:
        return None
    scale, offset = Decimal(str(field.scale)), Decimal(str(field.offset))
    digits = max(0, *(-int(each.normalize().as_tuple().exponent) for each in (scale, offset)))
    divisor = 10**digits
    factor, addend = int(scale * divisor), int(offset * divisor)
    if divisor == 1:
        return lambda raw: raw * factor + addend
    return lambda raw: (raw * factor + addend) / divisor


def _read_single(raw: float) -> float:
    return widen_single(raw) if isfinite(raw) else raw


def _on_the_wire(missing: float | str, kind: str) -> float | str:
    """Round as the device does: no 32-bit float is -999.9."""
    if kind != "f32" or isinstance(missing, str):
        return missing
    rounded: float = struct.unpack("<f", struct.pack("<f", missing))[0]
    return rounded


def _or_missing(missing: float | str, read: _Read | None) -> _Read:
    if missing == "nan":
        return lambda raw: None if isnan(raw) else read(raw) if read else raw
    return lambda raw: None if raw == missing else read(raw) if read else raw


def _from_three_bytes(byte_order: str, read: _Read | None, *, is_signed: bool) -> _Read:
    order: Any = byte_order

    def from_three_bytes(raw: bytes) -> Any:  # noqa: ANN401
        number = int.from_bytes(raw, order, signed=is_signed)
        return read(number) if read else number

    return from_three_bytes
