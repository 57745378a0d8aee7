"""Our own Protobuf messages, as telemetry.proto has them: made here, so that nothing is generated.

A test compares the two.
"""

from typing import TYPE_CHECKING, Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from bridge.pipeline.formats.plain import name_mistake, not_decodable, settle_plain, write_instant
from bridge.pipeline.verdict import Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGE: Final = "mqtt_kafka_bridge.v1"
_Field = descriptor_pb2.FieldDescriptorProto
_KINDS: Final = (
    ("number", _Field.TYPE_DOUBLE),
    ("integer", _Field.TYPE_SINT64),
    ("unsigned", _Field.TYPE_UINT64),
    ("text", _Field.TYPE_STRING),
    ("flag", _Field.TYPE_BOOL),
)
_MAPS: Final = (("metrics", 4), ("metadata", 5))


def describe() -> descriptor_pb2.FileDescriptorProto:
    """Give the descriptor that protoc would give for telemetry.proto."""
    file = descriptor_pb2.FileDescriptorProto(
        name="mqtt_kafka_bridge/v1/telemetry.proto", package=PACKAGE, syntax="proto3"
    )
    telemetry = file.message_type.add(name="Telemetry")
    telemetry.oneof_decl.add(name="time")
    _add(telemetry, "device_id", 1, _Field.TYPE_STRING)
    _add(telemetry, "timestamp", 2, _Field.TYPE_STRING, oneof_index=0)
    _add(telemetry, "timestamp_ms", 3, _Field.TYPE_INT64, oneof_index=0)
    for name, number in _MAPS:
        entry = telemetry.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add(entry, "key", 1, _Field.TYPE_STRING)
        _add(entry, "value", 2, _Field.TYPE_MESSAGE, type_name=f".{PACKAGE}.Value")
        telemetry.field.add(
            name=name,
            number=number,
            label=_Field.LABEL_REPEATED,
            type=_Field.TYPE_MESSAGE,
            type_name=f".{PACKAGE}.Telemetry.{entry.name}",
        )
    value = file.message_type.add(name="Value")
    value.oneof_decl.add(name="kind")
    for number, (name, kind) in enumerate(_KINDS, start=1):
        _add(value, name, number, kind, oneof_index=0)
    return file


def _add(
    message: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    kind: "descriptor_pb2.FieldDescriptorProto.Type.ValueType",
    **more: Any,  # noqa: ANN401 - fields of FieldDescriptorProto
) -> None:
    message.field.add(name=name, number=number, type=kind, label=_Field.LABEL_OPTIONAL, **more)


def _make() -> type[Message]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(describe())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Telemetry"))


TELEMETRY: Final[Any] = _make()
"""The class of our messages; its attributes are known at run time only."""


def decode_published(payload: bytes) -> Any:  # noqa: ANN401 - a message, or Rejected
    """Decode one payload; never raises, because no device may be able to stop the bridge."""
    try:
        sent = TELEMETRY.FromString(payload)
    except DecodeError as error:
        return not_decodable(name_mistake(payload, "Protobuf") or str(error))
    unknown = UnknownFieldSet(sent)
    if len(unknown):
        # Bytes left behind a message look so, and so does a message of somebody else's.
        return not_decodable(f"field {unknown[0].field_number} is not in telemetry.proto")
    message: dict[str, Any] = {}
    if sent.device_id:
        message["device_id"] = sent.device_id
    time = sent.WhichOneof("time")
    if time == "timestamp":
        message["timestamp"] = sent.timestamp
    elif time is not None:
        message["timestamp"] = write_instant(sent.timestamp_ms * 1_000)
    metrics = _read_values(sent.metrics)
    if type(metrics) is Rejected:
        return metrics
    message["metrics"] = metrics
    if sent.metadata:
        metadata = _read_values(sent.metadata)
        if type(metadata) is Rejected:
            return metadata
        message["metadata"] = metadata
    return settle_plain(message)


def _read_values(values: "Mapping[str, Any]") -> dict[str, Any] | Rejected:
    read: dict[str, Any] = {}
    for name, value in values.items():
        kind = value.WhichOneof("kind")
        unknown = UnknownFieldSet(value)  # Of a map entry they are among those of the message.
        if len(unknown):
            if kind is None:
                return not_decodable("a value is of a kind that is not in telemetry.proto")
            number = unknown[0].field_number
            return not_decodable(f"field {number} of a value is not in telemetry.proto")
        read[name] = None if kind is None else getattr(value, kind)
    return read
