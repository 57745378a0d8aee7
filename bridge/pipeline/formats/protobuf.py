"""Protobuf messages of the user's own: a descriptor set says what they are, a mapping what of them.

Needs the `protobuf` package, which is an extra: decode.py imports this where it is asked for.

- Fields that the mapping does not name are left out, and so are those that the descriptor set does
  not know, as Protobuf itself asks of a reader: newer firmware must not stop its own telemetry.
- A field that was not sent is left out. Without presence (plain proto3) nobody can tell that it was
  not: its default, 0 or "", is taken.
- An enum is its name; a number that has none stays a number. Integers stay exact.
"""

from collections.abc import Callable
from math import isfinite
from typing import Any, NamedTuple

import msgspec
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from bridge.config.protobuf_schema import (
    INTEGERS,
    Fields,
    device_id_field,
    find_message,
    map_field,
    timestamp_field,
    value_field,
)
from bridge.config.sections import ProtobufFields
from bridge.pipeline.formats.plain import (
    name_mistake,
    not_decodable,
    settle_plain,
    widen_single,
    write_instant,
)
from bridge.pipeline.timestamps import EXACT_BELOW

_US_OF_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NS_OF_US = 1_000
_ABSENT = object()

_Convert = Callable[[Any], Any]


class ProtobufMapping(msgspec.Struct, frozen=True):
    """What is needed to read a message: its descriptors, its name, and where its parts stand."""

    descriptor_set: bytes
    message: str
    fields: ProtobufFields


class _Reader(NamedTuple):
    """The way to one value: through these submessages, each there or not, to this field."""

    inside: tuple[str, ...]
    name: str
    has_presence: bool
    convert: _Convert | None

    def read(self, sent: Any) -> Any:  # noqa: ANN401 - a Protobuf message; its value
        """Give the value, or that there is none."""
        for name in self.inside:
            if not sent.HasField(name):
                return _ABSENT
            sent = getattr(sent, name)
        if self.has_presence and not sent.HasField(self.name):
            return _ABSENT
        value = getattr(sent, self.name)
        return value if self.convert is None else self.convert(value)


class ProtobufDecoder:
    """One mapping, made ready: each path is followed once, at the start.

    Raises SchemaError where the mapping does not fit, which the configuration has looked at.
    """

    def __init__(self, mapping: ProtobufMapping) -> None:
        fields = mapping.fields
        descriptor = find_message(mapping.descriptor_set, mapping.message)
        self._class: Any = message_factory.GetMessageClass(descriptor)
        timestamp = timestamp_field(descriptor, fields.timestamp, fields.timestamp_unit)
        self._timestamp = _reader(timestamp, _as_instant(timestamp[-1], fields.timestamp_unit))
        self._device_id: _Reader | None = None
        if fields.device_id is not None:
            self._device_id = _reader(device_id_field(descriptor, fields.device_id), None)
        self._metrics = _readers(descriptor, fields.metrics, may_repeat=False)
        self._metadata = _readers(descriptor, fields.metadata, may_repeat=True)

    def decode(self, payload: bytes) -> Any:  # noqa: ANN401 - a message, or Rejected
        """Decode one payload; never raises, because no device may be able to stop the bridge."""
        try:
            sent = self._class.FromString(payload)
        except DecodeError as error:
            return not_decodable(name_mistake(payload, "Protobuf") or str(error))
        message: dict[str, Any] = {}
        device_id = self._device_id.read(sent) if self._device_id is not None else _ABSENT
        if device_id is not _ABSENT and device_id:
            message["device_id"] = device_id
        timestamp = self._timestamp.read(sent)
        if timestamp is not _ABSENT:
            message["timestamp"] = timestamp
        message["metrics"] = _read_part(sent, self._metrics)
        metadata = _read_part(sent, self._metadata)
        if metadata:
            message["metadata"] = metadata
        return settle_plain(message)


def _read_part(sent: Any, readers: dict[str, _Reader] | _Reader) -> dict[str, Any]:  # noqa: ANN401
    if isinstance(readers, _Reader):
        values = readers.read(sent)
        return {} if values is _ABSENT else values
    part: dict[str, Any] = {}
    for name, reader in readers.items():
        value = reader.read(sent)
        if value is not _ABSENT:
            part[name] = value
    return part


def _readers(
    descriptor: Descriptor, paths: dict[str, str] | str, *, may_repeat: bool
) -> dict[str, _Reader] | _Reader:
    if isinstance(paths, str):
        fields = map_field(descriptor, paths)
        entry = fields[-1].message_type
        assert entry is not None, "a map field without entries"
        return _reader(fields, _as_dict(entry.fields_by_name["value"]))
    found = {
        name: value_field(descriptor, path, may_repeat=may_repeat) for name, path in paths.items()
    }
    return {name: _reader(fields, _as_value(fields[-1])) for name, fields in found.items()}


def _reader(fields: Fields, convert: _Convert | None) -> _Reader:
    last = fields[-1]
    has_presence = last.has_presence and not last.is_repeated
    return _Reader(tuple(each.name for each in fields[:-1]), last.name, has_presence, convert)


def _as_value(field: FieldDescriptor) -> _Convert | None:
    convert = _as_scalar(field)
    if not field.is_repeated:
        return convert
    return list if convert is None else lambda values: [convert(each) for each in values]


def _as_dict(value: FieldDescriptor) -> _Convert:
    convert = _as_scalar(value)
    if convert is None:
        return lambda entries: dict(entries.items())
    return lambda entries: {name: convert(each) for name, each in entries.items()}


def _as_scalar(field: FieldDescriptor) -> _Convert | None:
    if field.enum_type is not None:
        names = {each.number: each.name for each in field.enum_type.values}
        return lambda number: names.get(number, number)
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return lambda number: widen_single(number) if isfinite(number) else number
    return None


def _as_instant(field: FieldDescriptor, unit: str) -> _Convert | None:
    if field.message_type is not None:
        return lambda sent: write_instant(sent.seconds * 1_000_000 + sent.nanos // _NS_OF_US)
    if unit == "auto":
        return None
    is_integer = field.cpp_type in INTEGERS
    us_of_unit = _US_OF_UNIT.get(unit)

    def as_instant(sent: Any) -> Any:  # noqa: ANN401 - a number; the timestamp of a message
        if not isfinite(sent):
            return sent  # Refused with every other number that JSON cannot hold.
        if us_of_unit is None:
            return write_instant(int(sent) // _NS_OF_US)
        if is_integer or abs(sent) >= EXACT_BELOW:
            return write_instant(int(sent) * us_of_unit)  # No float overflows on the way.
        return write_instant(round(sent * us_of_unit))

    return as_instant
