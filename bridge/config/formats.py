"""The tables that describe payloads which do not describe themselves: binary, and Protobuf."""

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, field

from bridge.config.sections import NonEmpty, Section

FieldName: TypeAlias = Annotated[str, Meta(min_length=1, max_length=128)]
FieldType: TypeAlias = Literal[
    "u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "u64", "i64", "f32", "f64", "bool"
]


class BinaryField(Section, frozen=True):
    """One field of a binary layout; it begins where the one before it ends."""

    name: FieldName
    """Name in the record."""
    type: FieldType
    """Type on the wire: u, i and f with their bits, or bool, a byte that is 0 or not."""
    to: Literal["metrics", "metadata", "timestamp", "ignored"] = "metrics"
    """Where the value goes; `ignored` leaves reserved bytes out."""
    unit: Literal["s", "ms"] | None = None
    """Of the timestamp only: seconds or milliseconds since 1970."""
    scale: int | float = 1
    """The record has integer * scale + offset, exact in decimal: 215 and 0.1 give 21.5."""
    offset: int | float = 0
    """Added after the scale."""
    missing: int | float | Literal["nan"] | None = None
    """The value on the wire that means there is none; the record has null."""


class BinaryLayout(Section, frozen=True):
    """A fixed layout: every payload has exactly the bytes of its fields, without padding."""

    byte_order: Literal["little", "big"]
    """Order of the bytes of one number; no default, since a wrong one goes unnoticed."""
    field: Annotated[tuple[BinaryField, ...], Meta(min_length=1)]
    """The fields, in their order; one of them is the timestamp."""


class ProtobufFields(Section, frozen=True):
    """Where in a Protobuf message the parts of a record stand: paths such as `header.sent_at`."""

    timestamp: NonEmpty
    """A string, a number, or a google.protobuf.Timestamp."""
    metrics: dict[FieldName, NonEmpty] | NonEmpty
    """A table of names and paths, or the path of a map field."""
    timestamp_unit: Literal["auto", "s", "ms", "us", "ns"] = "auto"
    """Unit of a number; `auto` is seconds below 1e11, else milliseconds."""
    device_id: NonEmpty | None = None
    """A string that must equal the device id of the MQTT topic; left out: that one is taken."""
    metadata: dict[FieldName, NonEmpty] | NonEmpty = field(default_factory=dict)
    """The same for the metadata; here a field may also be repeated."""


class ProtobufSection(Section, frozen=True):
    """How the user's own Protobuf messages are read; left out: as telemetry.proto has it."""

    descriptor_set: NonEmpty
    """File that `protoc --include_imports --descriptor_set_out=FILE` writes."""
    message: NonEmpty
    """Full name of the message, such as `acme.v1.Reading`."""
    fields: ProtobufFields
    """Where in it the parts of a record stand."""
