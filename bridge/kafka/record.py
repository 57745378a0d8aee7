"""What is handed to Kafka."""

from typing import ClassVar, Protocol

import msgspec

Headers = list[tuple[str, bytes]]


class Instant(msgspec.Struct, frozen=True, gc=False):
    """When a batch of PUBLISHes was read; one for all of them, so a batch costs one clock read."""

    unix_us: int
    """Wall clock, microseconds since 1970, UTC."""
    monotonic_s: float
    """The same moment on the clock that never steps; for ages and latencies only."""
    rfc3339: str
    """The wall clock as written into records: UTC, microseconds, `Z`."""


class Origin(Protocol):
    """The received packet, kept until Kafka has the record: a dead letter needs its bytes."""

    @property
    def topic(self) -> str:
        """MQTT Topic Name."""

    @property
    def payload(self) -> bytes:
        """The Application Message as the device sent it."""

    @property
    def content_type(self) -> str | None:
        """MQTT 5 Content Type, if the device gave one."""


class Kept(msgspec.Struct, frozen=True, gc=False):
    """What is kept of a packet whose User Properties may be megabytes: an `Origin`."""

    topic: str
    payload: bytes
    content_type: str | None


class Reading(msgspec.Struct, frozen=True, gc=False):
    """One reading of a batch: what is received of it alone, and an `Origin`."""

    topic: str
    payload: bytes
    """The bytes of the reading, not of the batch."""
    content_type: str | None
    batch_id: str | int
    index: int
    """Its place in the batch, from 0."""
    retain: bool = False
    head: bytes = b""
    """What stands beside the readings, JSON: without it a replay could not make the same record."""
    user_properties: ClassVar[list[tuple[str, str]]] = []
    """Those of the batch are read once, for all of its readings."""


class DeadLetter(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What the log and the metrics say of a dead letter; the same words stand in its headers."""

    dlq_id: str
    reason: str
    layer: str
    detail: str
    device_id: str
    mqtt_topic: str
    is_copy: bool = False
    """The message was also forwarded."""


class Record(msgspec.Struct, frozen=True, eq=False, gc=False):
    """One Kafka record, complete; `runtime/kafka_producer.py` adds nothing to it."""

    kafka_topic: str
    key: bytes
    value: bytes
    headers: Headers
    received: Instant
    """Gives the record its timestamp."""
    origin: Origin
    dead_letter: DeadLetter | None = None
    """Present on a dead letter, absent on telemetry."""
    is_flagged: bool = False
    """Telemetry that carries `warnings`."""
    dedup_key: bytes = b""
    """The compact idempotency key; empty where nothing is to be recognised."""
