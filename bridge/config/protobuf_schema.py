"""The user's own Protobuf messages: a FileDescriptorSet, and the fields that paths lead to.

Needs the `protobuf` package, which is an extra: import it where a [protobuf] table is known.
"""

import difflib
from collections.abc import Iterable
from typing import TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from bridge.config.paths import quoted
from bridge.config.protobuf_rules import PROTOC

TIMESTAMP = "google.protobuf.Timestamp"
FLOATS = frozenset((FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE))
INTEGERS = frozenset(
    (
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_INT64,
        FieldDescriptor.CPPTYPE_UINT32,
        FieldDescriptor.CPPTYPE_UINT64,
    )
)
_CHOICES_SHOWN = 8

Fields: TypeAlias = tuple[FieldDescriptor, ...]
"""The fields on the way from a message to a value, the value's last."""


class SchemaError(Exception):
    """A descriptor set, a message or a path that cannot serve, and what to write instead."""


def read_descriptor_set(descriptor_set: bytes) -> descriptor_pool.DescriptorPool:
    """Make the descriptors of a file as protoc writes it.

    Raises:
        SchemaError: it is no such file, or it lacks what its messages import.
    """
    try:
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file
    except DecodeError:
        raise SchemaError(f"holds no FileDescriptorSet; write it with {PROTOC}") from None
    if not files:
        raise SchemaError(f"holds no message at all; write it with {PROTOC}")
    pool = descriptor_pool.DescriptorPool()
    there: set[str] = set()
    for file in files:
        missing = [name for name in file.dependency if name not in there]
        if missing:
            raise SchemaError(
                f"lacks {quoted(missing[0])}, which {quoted(file.name)} imports;"
                f" write it with {PROTOC}"
            )
        try:
            pool.Add(file)
        except (TypeError, ValueError) as error:
            raise SchemaError(
                f"holds {quoted(file.name)}, which cannot be used ({error});"
                f" write it anew with {PROTOC}"
            ) from None
        there.add(file.name)
    return pool


def find_message(descriptor_set: bytes, name: str) -> Descriptor:
    """Find a message by its full name.

    Raises:
        SchemaError: there is none.
    """
    pool = read_descriptor_set(descriptor_set)
    try:
        return pool.FindMessageTypeByName(name)
    except KeyError:
        files = descriptor_pb2.FileDescriptorSet.FromString(descriptor_set).file
        known = [(file.package, each.name) for file in files for each in file.message_type]
        names = [f"{package}.{each}".lstrip(".") for package, each in known]
        raise SchemaError(f"{quoted(name)} is no message of it; {_suggest(name, names)}") from None


def follow(message: Descriptor, path: str) -> Fields:
    """Follow a path such as `header.sent_at` from a message to a field.

    Raises:
        SchemaError: it ends nowhere, or leads through what has several values.
    """
    fields: list[FieldDescriptor] = []
    inside: Descriptor | None = message
    for name in path.split("."):
        if inside is None:
            raise SchemaError(
                f"{quoted(path)} goes on behind {quoted(fields[-1].name)}, which is no message;"
                " end it there"
            )
        if fields and fields[-1].is_repeated:
            raise SchemaError(
                f"{quoted(path)} leads through {quoted(fields[-1].name)}, which has several values;"
                " name a field that has one"
            )
        field = inside.fields_by_name.get(name)
        if field is None:
            raise SchemaError(
                f"{quoted(path)}: {inside.full_name} has no field {quoted(name)};"
                f" {_suggest(name, inside.fields_by_name)}"
            )
        fields.append(field)
        inside = field.message_type
    return tuple(fields)


def timestamp_field(message: Descriptor, path: str, unit: str) -> Fields:
    """Follow the path of the timestamp.

    Raises:
        SchemaError: what is there cannot be one.
    """
    fields = follow(message, path)
    last = fields[-1]
    is_number = last.cpp_type in INTEGERS | FLOATS
    is_instant = last.message_type is not None and last.message_type.full_name == TIMESTAMP
    if last.is_repeated or not (is_number or is_instant or _is_text(last)):
        raise SchemaError(
            f"{quoted(path)} is {_kind(last)}; a timestamp is a string, a number or a {TIMESTAMP}"
        )
    if unit != "auto" and not is_number:
        raise SchemaError(
            f"{quoted(path)} is {_kind(last)}, which needs no unit; remove timestamp_unit"
        )
    return fields


def device_id_field(message: Descriptor, path: str) -> Fields:
    """Follow the path of the device id.

    Raises:
        SchemaError: what is there cannot be one.
    """
    fields = follow(message, path)
    if fields[-1].is_repeated or not _is_text(fields[-1]):
        raise SchemaError(
            f"{quoted(path)} is {_kind(fields[-1])}; a device id is a string, and where none is"
            " named, the MQTT topic has it"
        )
    return fields


def value_field(message: Descriptor, path: str, *, may_repeat: bool) -> Fields:
    """Follow the path of one metric, or of one entry of the metadata.

    Raises:
        SchemaError: what is there has no place in a record.
    """
    fields = follow(message, path)
    last = fields[-1]
    if not _is_scalar(last):
        inner = last.message_type.fields if last.message_type is not None else ()
        hint = f"; name one of its fields: {_list(each.name for each in inner)}" if inner else ""
        raise SchemaError(f"{quoted(path)} is {_kind(last)}, which JSON has no value for{hint}")
    if last.is_repeated and not may_repeat:
        raise SchemaError(
            f"{quoted(path)} has several values, and a metric has one; metadata may take it"
        )
    return fields


def map_field(message: Descriptor, path: str) -> Fields:
    """Follow the path of a map that has all metrics, or all metadata.

    Raises:
        SchemaError: it is no map from text to what JSON has values for.
    """
    fields = follow(message, path)
    last = fields[-1]
    entry = _entry_of(last)
    if entry is None or not _is_text(entry.fields_by_name["key"]):
        raise SchemaError(
            f"{quoted(path)} is {_kind(last)}, not a map with text for keys;"
            " write a table of names and paths"
        )
    value = entry.fields_by_name["value"]
    if not _is_scalar(value):
        raise SchemaError(
            f"{quoted(path)} is a map of {_kind(value)}; a metric is a number, text, bool or enum"
        )
    return fields


def _is_text(field: FieldDescriptor) -> bool:
    return field.type == FieldDescriptor.TYPE_STRING


def _is_scalar(field: FieldDescriptor) -> bool:
    return field.message_type is None and field.type != FieldDescriptor.TYPE_BYTES


def _entry_of(field: FieldDescriptor) -> Descriptor | None:
    """Give the key and value of a map field."""
    kind = field.message_type
    return kind if kind is not None and kind.GetOptions().map_entry else None


def _kind(field: FieldDescriptor) -> str:
    if _entry_of(field) is not None:
        return "a map"
    prefix = "repeated " if field.is_repeated else ""
    if field.message_type is not None:
        return f"{prefix}message {field.message_type.full_name}"
    if field.enum_type is not None:
        return f"{prefix}enum {field.enum_type.full_name}"
    names: dict[int, str] = {
        number: name.removeprefix("TYPE_").lower()
        for name, number in descriptor_pb2.FieldDescriptorProto.Type.items()
    }
    return f"{prefix}{names[field.type]}"


def _suggest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    if not close:
        close = [each for each in names if each.rpartition(".")[2] == name.rpartition(".")[2]][:1]
    return f"meant {quoted(close[0])}?" if close else f"there is: {_list(names)}"


def _list(names: Iterable[str]) -> str:
    listed = list(names)
    more = ", ..." if len(listed) > _CHOICES_SHOWN else ""
    return (", ".join(map(quoted, listed[:_CHOICES_SHOWN])) or "none") + more
