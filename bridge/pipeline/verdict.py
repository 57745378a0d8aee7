"""What becomes of a message, as values: no stage raises because of what a device sent."""

import enum
from collections.abc import Sequence
from typing import Any, TypeAlias, final

import msgspec

from bridge.kafka.record import Record


class Reason(enum.StrEnum):
    """Why a message became a dead letter; also a metric label, so the set is closed."""

    EMPTY = "empty"
    NOT_DECODABLE = "not_decodable"
    MALFORMED_PACKET = "malformed_packet"
    TOO_LARGE = "too_large"
    UNSUPPORTED_FORMAT = "unsupported_format"
    SCHEMA_MISMATCH = "schema_mismatch"
    TIMESTAMP_FUTURE = "timestamp_future"
    TIMESTAMP_OLD = "timestamp_old"
    DEVICE_MISMATCH = "device_mismatch"
    DEVICE_ID_INVALID = "device_id_invalid"
    OUT_OF_RANGE = "out_of_range"
    DEVICE_UNKNOWN = "device_unknown"
    DEVICE_DISABLED = "device_disabled"
    LOCATION_UNEXPECTED = "location_unexpected"
    FIRMWARE_RECALLED = "firmware_recalled"
    RATE_LIMITED = "rate_limited"
    KAFKA_REFUSED = "kafka_refused"
    INTERNAL_ERROR = "internal_error"


class Layer(enum.StrEnum):
    """Which layer of validation spoke."""

    PROTOCOL = "protocol"
    SCHEMA = "schema"
    SEMANTIC = "semantic"
    BUSINESS = "business"
    POLICY = "policy"
    KAFKA = "kafka"


@final
class Telemetry(msgspec.Struct, eq=False, gc=False):
    """One reading that passed layers 1 and 2."""

    message: dict[str, Any]
    """The device's own message, whole; enrichment writes the server's fields into it."""
    measured_at_us: int
    """The device's timestamp, microseconds since 1970, UTC."""
    timestamp: str
    """The same in the record's one form: RFC 3339, UTC, `Z`."""
    warnings: list[str] | None = None


@final
class Flag(msgspec.Struct, frozen=True, gc=False):
    """Something is wrong with a reading that could be telemetry all the same: layers 3 and 4."""

    reason: Reason
    layer: Layer
    detail: str
    """What was found and what the bound is; readable, escaped, and short already."""

    @property
    def warning(self) -> str:
        """The same as one of the `warnings` of a record."""
        return f"{self.reason.value}: {self.detail}"


@final
class Rejected(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The message goes to the dead letter topic: its original bytes with this explanation."""

    reason: Reason
    layer: Layer
    detail: str
    """Readable; may quote what the device sent, so it is escaped and cut before it leaves."""
    timestamp: str | None = None
    """The device's timestamp in the record's form where it could be read; part of the key."""
    is_by_registry: bool = False
    """The registry decided a `device_mismatch`, and may decide otherwise another day."""


@final
class Duplicate(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The message is known already, so no record is made of it."""

    key: bytes
    """The compact idempotency key (bridge/fleet/dedup_window.py)."""
    is_under_way: bool
    """Kafka does not have it yet: the PUBACK waits for the record that is on its way."""


@final
class Dropped(msgspec.Struct, frozen=True, eq=False, gc=False):
    """No record is made of the message, because the operator chose so; it is counted."""

    reason: Reason


@final
class Passed(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Nothing is judged of the message as a whole: it is opaque, or a batch."""


@final
class Several(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A record, and copies of its message that owe nothing to anybody."""

    records: list[Record]


Single: TypeAlias = Record | Duplicate | Several | Dropped
"""What becomes of one message, or of one reading of a batch."""


@final
class Readings(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A batch was taken apart: what becomes of each of its readings, in their order."""

    outcomes: list[Single]
    verdicts: "list[Verdict]"
    keys: list[bytes]
    """Of each the key of its device; that of the sender, where it may not speak for another."""


Verdict: TypeAlias = Telemetry | Rejected
"""What validation says; whether the message is known already is asked after it."""
Said: TypeAlias = Rejected | Dropped | Sequence[Flag]
"""What limits and layers 3 and 4 say of a message: mostly nothing."""
