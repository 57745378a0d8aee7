"""A record of the dead letter topic becomes a letter, and a letter the message it was made of."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from bridge.kafka.record import Headers, Instant
from bridge.kafka.rows import rfc3339
from bridge.pipeline.dead_letter import IS_RETRYABLE, SAID_BY_LETTER
from bridge.pipeline.enrich import ALWAYS_READ, IDEMPOTENCY_KEY
from bridge.pipeline.formats.json_text import decode_json
from bridge.pipeline.timestamps import Timestamp, read_timestamp
from bridge.pipeline.verdict import Reason
from bridge.pipeline.wording import escape

_DIGEST_CHARACTERS: Final = 16
_TRACE: Final[tuple[str, ...]] = ("traceparent", "tracestate")
_USER_PREFIX: Final = "mqtt.user."
_NUMBER_DIGITS_MAX: Final = 18
_LAST_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999."""


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Where a reading stood that came in a batch."""

    index: int
    head: dict[str, Any]
    """What stood beside the readings, `batch_id` at least."""
    written: bytes
    """The same as the letter has it."""


class Letter(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One record of the dead letter topic; whoever else writes there, no field of it raises."""

    kafka_topic: str
    """Where the letter lies, not where the message was meant to go."""
    partition: int
    offset: int
    key: bytes
    payload: bytes
    headers: Headers
    dlq_id: str = ""
    reason: str = ""
    """Empty: it is no dead letter of a bridge."""
    layer: str = ""
    detail: str = ""
    meant_for: str = ""
    mqtt_topic: str = ""
    """As received: not fit to be shown."""
    received: Instant
    attempt: int = 1
    is_copy: bool = False
    is_whole: bool = True
    """False: the payload was cut, or never kept whole."""
    is_said_retryable: bool = False
    """What the bridge said that wrote it."""
    batch: Batch | None = None

    @property
    def is_letter(self) -> bool:
        """Tell whether a bridge wrote it."""
        return bool(self.reason)

    @property
    def place(self) -> str:
        """Name where it lies, as `dlq.replay-of` does."""
        return f"{self.kafka_topic}/{self.partition}/{self.offset}"

    @property
    def device_id(self) -> str:
        """Name the device, as received: not fit to be shown."""
        return self.key.decode("utf-8", "backslashreplace")

    @property
    def is_retryable(self) -> bool:
        """Tell whether a replay may have another end; the table of today knows it best."""
        if not self.is_whole:
            return False
        try:
            reason = Reason(self.reason)
        except ValueError:
            return self.is_said_retryable
        if reason in SAID_BY_LETTER:
            return self.is_said_retryable
        return IS_RETRYABLE[reason]


class Message(msgspec.Struct, frozen=True, gc=False):
    """The PUBLISH that a letter was made of, as the flow takes it."""

    topic: str
    payload: bytes
    content_type: str | None
    user_properties: list[tuple[str, str]]
    retain: bool
    packet_id: int | None = None


def read_letter(  # noqa: PLR0913 - what Kafka gives of a record
    *,
    kafka_topic: str,
    partition: int,
    offset: int,
    key: bytes,
    payload: bytes,
    headers: Sequence[tuple[str, bytes | None]],
    timestamp_ms: int,
) -> Letter:
    """Read what a record of the dead letter topic says."""
    kept = [(name, value) for name, value in headers if value is not None]
    told = dict(kept)

    def text(name: str) -> str:
        return told.get(name, b"").decode("utf-8", "backslashreplace")

    return Letter(
        kafka_topic=kafka_topic,
        partition=partition,
        offset=offset,
        key=key,
        payload=payload,
        headers=kept,
        dlq_id=text("dlq.id"),
        reason=text("dlq.reason"),
        layer=text("dlq.layer"),
        detail=text("dlq.detail"),
        meant_for=text("dlq.kafka-topic"),
        mqtt_topic=text("dlq.mqtt-topic"),
        received=_instant(text("dlq.received-at"), timestamp_ms),
        attempt=max(1, _number(text("dlq.attempt"), 1)),
        is_copy=told.get("dlq.copy") == b"true",
        is_whole="dlq.payload-bytes" not in told,
        is_said_retryable=told.get("dlq.retryable") == b"true",
        batch=_batch(told),
    )


def message_of(letter: Letter) -> Message:
    """Give the message back; what named it goes along, so that its idempotency key is the same."""
    told = dict(letter.headers)
    properties: list[tuple[str, str]] = [
        (name, _text(told[name])) for name in _TRACE if name in told
    ]
    properties += [
        (name.removeprefix(_USER_PREFIX), _text(value))
        for name, value in letter.headers
        if name.startswith(_USER_PREFIX) and name.removeprefix(_USER_PREFIX) not in ALWAYS_READ
    ]  # What has a header of its own was given back from it: two parents of a trace are none.
    named = _name_in(told.get("idempotency-key", b""), letter)
    if named:
        properties.insert(0, (IDEMPOTENCY_KEY, named))
    content_type = told.get("content-type")
    return Message(
        topic=letter.mqtt_topic,
        payload=letter.payload,
        content_type=None if content_type is None else _text(content_type),
        user_properties=properties,
        retain=told.get("mqtt.retained") == b"true",
    )


def _name_in(idempotency_key: bytes, letter: Letter) -> str:
    """Read the id out of `<device_id>:<id>:<digest>`; either of its sides may have colons."""
    written = _text(idempotency_key)
    device_id = escape(letter.device_id, 6 * max(1, len(letter.key)))
    head, _, digest = written.rpartition(":")
    if len(digest) != _DIGEST_CHARACTERS or not head.startswith(device_id + ":"):
        return ""
    return head[len(device_id) + 1 :]


def _batch(told: Mapping[str, bytes]) -> Batch | None:
    if "dlq.reading-index" not in told:
        return None
    written = told.get("dlq.batch-head", b"")
    head = decode_json(written) if written else None
    if type(head) is not dict or "batch_id" not in head:
        head = {"batch_id": _text(told.get("dlq.batch-id", b""))}
        written = b""
    return Batch(_number(_text(told["dlq.reading-index"]), 0), head, written)


def _instant(text: str, timestamp_ms: int) -> Instant:
    """Read the time of receipt; where there is none, Kafka's own of the record stands for it."""
    read = read_timestamp(text)
    if isinstance(read, Timestamp) and read.text is not None:
        unix_us = read.measured_at_us
    else:
        unix_us = min(max(timestamp_ms, 0), _LAST_MS) * 1_000
    return Instant(unix_us=unix_us, monotonic_s=0.0, rfc3339=rfc3339(unix_us))


def _number(text: str, otherwise: int) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _NUMBER_DIGITS_MAX:
        return otherwise
    return int(text)


def _text(sent: bytes) -> str:
    return sent.decode("utf-8", "backslashreplace")
