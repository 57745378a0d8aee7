"""One reading in every format, and a flow whose routes take them."""

import struct
from typing import Any, Final

import cbor2
import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from bridge.config.sections import BinaryField, BinaryLayout, ProtobufFields, Route
from bridge.kafka.record import Record
from bridge.pipeline.decode import Decoding, FormatChoice
from bridge.pipeline.formats.protobuf import ProtobufMapping
from bridge.pipeline.formats.published import TELEMETRY
from bridge.pipeline.stages import Stages
from bridge.pipeline.timestamps import write_timestamp
from tests.pipeline.given import DEVICE, TOPIC, Packet, carry

_Field = descriptor_pb2.FieldDescriptorProto
OWN: Final = "protobuf, own"
"""As a name of a format: `protobuf` with a mapping."""
FORMATS: Final = ("json", "msgpack", "cbor", "protobuf", OWN, "binary")

LAYOUT = BinaryLayout(
    byte_order="little",
    fields=(
        BinaryField(name="version", type="u8", to="ignored"),
        BinaryField(name="time", type="u64", to="timestamp", unit="ms"),
        BinaryField(name="temperature", type="i16", scale=0.1, missing=-32_768),
        BinaryField(name="energy", type="u64"),
        BinaryField(name="flow", type="f64"),
        BinaryField(name="is_open", type="bool"),
        BinaryField(name="signal_strength", type="i8", to="metadata"),
    ),
)


class Reading(msgspec.Struct, frozen=True):
    """What a small device measures; temperature in tenths, as it has it."""

    measured_at_ms: int = 1_795_455_324_123
    tenths: int | None = 215
    energy: int = 2**53 + 1
    flow: float = 0.1
    is_open: bool = True
    signal_strength: int = -67

    def message(self) -> dict[str, Any]:
        """Write it as the guide has it."""
        return {
            "device_id": DEVICE,
            "timestamp": write_timestamp(self.measured_at_ms * 1_000),
            "metrics": {
                "temperature": None if self.tenths is None else self.tenths / 10,
                "energy": self.energy,
                "flow": self.flow,
                "is_open": self.is_open,
            },
            "metadata": {"signal_strength": self.signal_strength},
        }


def own_descriptor_set() -> bytes:
    """Make what protoc would make of a small .proto of some user."""
    file = descriptor_pb2.FileDescriptorProto(name="acme.proto", package="acme", syntax="proto3")
    mode = file.enum_type.add(name="Mode")
    mode.value.add(name="IDLE", number=0)
    mode.value.add(name="PUMPING", number=1)
    header = file.message_type.add(name="Header")
    _add(header, "id", 1, _Field.TYPE_STRING)
    _add(header, "sent_at_ms", 2, _Field.TYPE_INT64)
    _add(header, "signal", 3, _Field.TYPE_SINT32)
    reading = file.message_type.add(name="Reading")
    _add(reading, "header", 1, _Field.TYPE_MESSAGE, type_name=".acme.Header")
    _add(reading, "temperature", 2, _Field.TYPE_DOUBLE, is_optional=True)
    _add(reading, "energy", 3, _Field.TYPE_UINT64)
    _add(reading, "flow", 4, _Field.TYPE_DOUBLE)
    _add(reading, "is_open", 5, _Field.TYPE_BOOL)
    _add(reading, "mode", 6, _Field.TYPE_ENUM, type_name=".acme.Mode", is_optional=True)
    _add(reading, "level", 7, _Field.TYPE_FLOAT, is_optional=True)
    _add(reading, "raw", 8, _Field.TYPE_BYTES)
    _add(reading, "samples", 9, _Field.TYPE_SINT32, is_repeated=True)
    _add_map(reading, "counts", 10, _Field.TYPE_INT64)
    _add(reading, "child", 11, _Field.TYPE_MESSAGE, type_name=".acme.Reading")
    _add(reading, "note", 12, _Field.TYPE_STRING)
    _add(reading, "children", 13, _Field.TYPE_MESSAGE, type_name=".acme.Header", is_repeated=True)
    return descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString()


def _add(
    message: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    kind: "descriptor_pb2.FieldDescriptorProto.Type.ValueType",
    *,
    type_name: str | None = None,
    is_optional: bool = False,
    is_repeated: bool = False,
) -> None:
    field = message.field.add(name=name, number=number, type=kind, type_name=type_name)
    field.label = _Field.LABEL_REPEATED if is_repeated else _Field.LABEL_OPTIONAL
    if is_optional:
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")


def _add_map(
    message: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    kind: "descriptor_pb2.FieldDescriptorProto.Type.ValueType",
) -> None:
    entry = message.nested_type.add(name=f"{name.title()}Entry")
    entry.options.map_entry = True
    _add(entry, "key", 1, _Field.TYPE_STRING)
    _add(entry, "value", 2, kind)
    kind_name = f".acme.{message.name}.{entry.name}"
    _add(message, name, number, _Field.TYPE_MESSAGE, type_name=kind_name, is_repeated=True)


def own_class() -> Any:
    """Give the class of the user's messages."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(own_descriptor_set()).file:
        pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("acme.Reading"))


def mapping(**changes: Any) -> ProtobufMapping:
    """Say where in the user's message the parts of a record are."""
    fields: dict[str, Any] = {
        "timestamp": "header.sent_at_ms",
        "timestamp_unit": "ms",
        "device_id": "header.id",
        "metrics": {
            "temperature": "temperature",
            "energy": "energy",
            "flow": "flow",
            "is_open": "is_open",
        },
        "metadata": {"signal_strength": "header.signal"},
    }
    return ProtobufMapping(own_descriptor_set(), "acme.Reading", ProtobufFields(**fields | changes))


def encode(reading: Reading, format_name: str) -> bytes:
    """Write a reading as a device with this format does."""
    match format_name:
        case "json":
            return msgspec.json.encode(reading.message())
        case "msgpack":
            return msgspec.msgpack.encode(reading.message())
        case "cbor":
            return cbor2.dumps(reading.message())
        case "protobuf":
            return _as_published(reading)
        case "binary":
            tenths = -32_768 if reading.tenths is None else reading.tenths
            return struct.pack(
                "<BQhQd?b",
                1,
                reading.measured_at_ms,
                tenths,
                reading.energy,
                reading.flow,
                reading.is_open,
                reading.signal_strength,
            )
        case _:
            return _as_own(reading)


def _as_published(reading: Reading) -> bytes:
    sent = TELEMETRY(timestamp_ms=reading.measured_at_ms)
    if reading.tenths is None:
        sent.metrics["temperature"].SetInParent()
    else:
        sent.metrics["temperature"].number = reading.tenths / 10
    sent.metrics["energy"].unsigned = reading.energy
    sent.metrics["flow"].number = reading.flow
    sent.metrics["is_open"].flag = reading.is_open
    sent.metadata["signal_strength"].integer = reading.signal_strength
    encoded: bytes = sent.SerializeToString()
    return encoded


def _as_own(reading: Reading) -> bytes:
    sent = own_class()(energy=reading.energy, flow=reading.flow, is_open=reading.is_open)
    sent.header.sent_at_ms = reading.measured_at_ms
    sent.header.signal = reading.signal_strength
    if reading.tenths is not None:
        sent.temperature = reading.tenths / 10
    encoded: bytes = sent.SerializeToString()
    return encoded


def decoder_for(format_name: str) -> tuple[Route, Decoding]:
    """Give a route of this format, and what decodes its payloads."""
    name: Any = "protobuf" if format_name == OWN else format_name
    route = Route(format=name)
    own = mapping() if format_name == OWN else None
    choice = FormatChoice(name=name, layout=LAYOUT, protobuf=own)
    return route, Decoding({route.filter: choice})


def carry_as(format_name: str, payload: bytes, *, content_type: str | None = None) -> Record:
    """Send a payload through a flow whose one route has this format."""
    route, decoding = decoder_for(format_name)
    packet = Packet(payload=payload, topic=TOPIC, content_type=content_type)
    return carry(packet, routes=(route,), stages=Stages(decode=decoding.decode))
