"""A message that cannot be telemetry becomes a dead letter: its bytes, and why.

Every header stands in the same order in every letter. `__connect.errors.topic` is the Kafka topic
that the record was meant for: Connect's tools read there the Kafka topic that a record came from,
and would look up an MQTT topic in vain.
"""

import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final, NamedTuple

import msgspec

from bridge.fleet.dedup_window import Kind, compact
from bridge.kafka.record import DeadLetter, Headers, Instant, Kept, Origin, Reading, Record
from bridge.mqtt.packets import Inbound, PoisonPublish
from bridge.pipeline.enrich import Identity, carried_headers, identify, origin_of
from bridge.pipeline.identity import Address
from bridge.pipeline.verdict import Layer, Reason, Rejected
from bridge.pipeline.wording import CONTENT_TYPE_BYTES_MAX, cut, escape

_TOPIC_BYTES_MAX = 1_024
_BATCH_ID_BYTES_MAX = 512
_LOGGED_CHARACTERS_MAX = 256
_UUID7_ENTROPY_BYTES = 10
_CARRIED = re.compile(r"traceparent|tracestate|mqtt\..*", re.DOTALL).fullmatch

IS_RETRYABLE = {
    Reason.EMPTY: False,
    Reason.NOT_DECODABLE: False,
    Reason.MALFORMED_PACKET: False,
    Reason.TOO_LARGE: True,  # A route's bound may be raised.
    Reason.UNSUPPORTED_FORMAT: True,  # A later version may read it.
    Reason.SCHEMA_MISMATCH: False,
    Reason.TIMESTAMP_FUTURE: True,  # Its time comes.
    Reason.TIMESTAMP_OLD: False,
    Reason.DEVICE_MISMATCH: True,  # Of a gateway's readings: the registry may assign the device.
    Reason.DEVICE_ID_INVALID: False,
    Reason.OUT_OF_RANGE: True,  # A range may be widened.
    Reason.DEVICE_UNKNOWN: True,  # It may be registered later; so with all that the registry says.
    Reason.DEVICE_DISABLED: True,
    Reason.LOCATION_UNEXPECTED: True,
    Reason.FIRMWARE_RECALLED: True,
    Reason.RATE_LIMITED: True,  # A replay goes at a rate of its own.
    Reason.KAFKA_REFUSED: True,  # A topic's bound may be raised.
    Reason.INTERNAL_ERROR: True,  # Our bug, mended in a later version.
}
"""Whether a replay may have another end; never, where the letter lacks part of the payload."""
SAID_BY_LETTER: Final = frozenset((Reason.DEVICE_MISMATCH,))
"""Of these it may only where the letter says so: the rest is wrong for good."""


class _Whole(NamedTuple):
    """Size and hash of a payload of which a letter holds only the head."""

    payload_bytes: int
    payload_sha256: str

    def headers(self) -> Headers:
        return [
            ("dlq.payload-bytes", str(self.payload_bytes).encode()),
            ("dlq.payload-sha256", self.payload_sha256.encode()),
        ]


class DeadLetters:
    """Writes dead letters; the payload stays byte for byte, everything beside it is bounded."""

    def __init__(self, *, kafka_topic: str, entropy: Callable[[int], bytes]) -> None:
        self._kafka_topic = kafka_topic
        self._entropy = entropy

    @staticmethod
    def identify(
        packet: Inbound | Reading,
        rejected: Rejected,
        address: Address,
        properties: Mapping[str, str],
    ) -> Identity:
        """Give the identity of a message that a layer rejected."""
        whole = _cut_before(packet)
        # What is left of a payload may be alike where the payloads were not: its hash tells them.
        digested = packet.payload + (whole.payload_sha256.encode() if whole else b"")
        # Every character may grow to six; cut here, two ids could become one key.
        device_id = escape(address.key.decode(), 6 * len(address.key))
        return identify(device_id, properties, rejected.timestamp, digested, Kind.DEAD_LETTER)

    def write(  # noqa: PLR0913, PLR0917 - what the flow knows of the message
        self,
        packet: Inbound | Reading,
        rejected: Rejected,
        address: Address,
        properties: Mapping[str, str],
        received: Instant,
        identity: Identity,
        suppressed: int | None = None,
    ) -> Record:
        """Write the letter of a message that a layer rejected, or the copy of one that was flagged.

        `suppressed` makes it a copy, and says how many were left out since the last.
        """
        route = address.route
        whole = _cut_before(packet)
        return self._letter(
            origin_of(packet),
            rejected,
            key=address.key,
            value=packet.payload,
            whole=whole,
            meant_for=route.kafka_topic if route else "",
            identity=identity,
            carried=carried_headers(
                properties, route.user_properties if route else (), is_retained=packet.retain
            ),
            received=received,
            suppressed=suppressed,
        )

    def refuse(self, record: Record, *, error: str, value_bytes_max: int) -> Record:
        """Write the letter of a record that Kafka will never take, or cut a letter that is one."""
        bytes_max = max(value_bytes_max, 0)
        if record.dead_letter is not None:
            return _shorten(record, bytes_max)
        payload = record.origin.payload
        header = dict(record.headers).get("idempotency-key") or _digest_key(record)
        return self._letter(
            record.origin,
            Rejected(
                Reason.KAFKA_REFUSED,
                Layer.KAFKA,
                f"Kafka topic {record.kafka_topic} refused the record"
                f" of {len(record.value)} bytes: {error}",
            ),
            key=record.key,
            value=payload[:bytes_max],
            whole=_measure(payload) if len(payload) > bytes_max else None,
            meant_for=record.kafka_topic,
            identity=Identity(header, compact(header, Kind.DEAD_LETTER)),
            carried=[header for header in record.headers if _CARRIED(header[0])],
            received=record.received,
        )

    def salvage(
        self, row: bytes, *, key: bytes, kafka_topic: str, error: str, received: Instant
    ) -> Record:
        """Write the letter of a row of the spool that cannot be read."""
        identity = identify(
            escape(key.decode("utf-8", "replace"), 6 * len(key)), {}, None, row, Kind.DEAD_LETTER
        )
        return self._letter(
            Kept("", row, None),
            Rejected(
                Reason.INTERNAL_ERROR,
                Layer.KAFKA,
                f"a row of the spool for Kafka topic {kafka_topic} cannot be read: {error}",
            ),
            key=key,
            value=row,
            whole=None,
            meant_for=kafka_topic,
            identity=identity,
            carried=[],
            received=received,
        )

    def _letter(  # noqa: PLR0913 - one place that knows the order of all headers
        self,
        origin: Origin,
        rejected: Rejected,
        *,
        key: bytes,
        value: bytes,
        whole: _Whole | None,
        meant_for: str,
        identity: Identity,
        carried: Headers,
        received: Instant,
        suppressed: int | None = None,
    ) -> Record:
        reason, layer = rejected.reason.value, rejected.layer.value
        detail = escape(rejected.detail)
        detail_bytes = detail.encode("utf-8", "backslashreplace")
        dlq_id = _uuid7(received.unix_us // 1_000, self._entropy(_UUID7_ENTROPY_BYTES))
        topic = cut(meant_for, _TOPIC_BYTES_MAX)
        headers: Headers = [
            ("dlq.id", dlq_id.encode()),
            ("dlq.reason", reason.encode()),
            ("dlq.layer", layer.encode()),
            ("dlq.detail", detail_bytes),
            ("dlq.retryable", _boolean(_is_retryable(rejected) and whole is None)),
            ("dlq.kafka-topic", topic),
            # As received, since a replay must find the same route; the log has it escaped.
            ("dlq.mqtt-topic", cut(origin.topic, _TOPIC_BYTES_MAX)),
            ("dlq.received-at", received.rfc3339.encode()),
            ("dlq.attempt", b"1"),
            ("dlq.copy", _boolean(suppressed is not None)),
            *((("dlq.suppressed", str(suppressed).encode()),) if suppressed else ()),
            *(whole.headers() if whole else ()),
            *(_batch_headers(origin) if isinstance(origin, Reading) else ()),
            ("idempotency-key", identity.header),
        ]
        if origin.content_type is not None:
            headers.append(("content-type", cut(origin.content_type, CONTENT_TYPE_BYTES_MAX)))
        headers += carried
        headers += [
            ("__connect.errors.topic", topic),
            ("__connect.errors.stage", layer.encode()),
            ("__connect.errors.exception.message", detail_bytes),
        ]
        return Record(
            kafka_topic=self._kafka_topic,
            key=key,
            value=value,
            headers=headers,
            received=received,
            origin=origin,
            dedup_key=identity.key,
            dead_letter=DeadLetter(
                dlq_id=dlq_id,
                reason=reason,
                layer=layer,
                detail=detail,
                device_id=escape(key.decode("utf-8", "replace"), _LOGGED_CHARACTERS_MAX),
                mqtt_topic=escape(origin.topic, _LOGGED_CHARACTERS_MAX),
                is_copy=suppressed is not None,
            ),
        )


def _is_retryable(rejected: Rejected) -> bool:
    reason = rejected.reason
    return IS_RETRYABLE[reason] and (reason not in SAID_BY_LETTER or rejected.is_by_registry)


def _batch_headers(reading: Reading) -> Headers:
    return [
        ("dlq.batch-id", cut(str(reading.batch_id), _BATCH_ID_BYTES_MAX)),
        ("dlq.reading-index", str(reading.index).encode()),
        *((("dlq.batch-head", reading.head),) if reading.head else ()),
    ]


def _digest_key(record: Record) -> bytes:
    """Name an opaque message whose publisher gave no key; refused again, it is the same letter."""
    device_id = escape(record.key.decode(), 6 * len(record.key))
    return identify(device_id, {}, None, record.origin.payload, Kind.DEAD_LETTER).header


def _shorten(record: Record, bytes_max: int) -> Record:
    """Cut the value of a dead letter; what was said of the whole payload stays said."""
    if len(record.value) <= bytes_max:
        return record
    names = [name for name, _ in record.headers]
    headers = [
        (name, b"false" if name == "dlq.retryable" else value) for name, value in record.headers
    ]
    if "dlq.payload-bytes" not in names:
        at = names.index("idempotency-key")
        headers[at:at] = _measure(record.value).headers()
    return msgspec.structs.replace(record, value=record.value[:bytes_max], headers=headers)


def _measure(payload: bytes) -> _Whole:
    return _Whole(len(payload), sha256(payload).hexdigest())


def _cut_before(packet: Inbound | Reading) -> _Whole | None:
    """Say what the codec left of a packet, where it did not keep all of it."""
    if isinstance(packet, PoisonPublish) and len(packet.payload) < packet.payload_bytes:
        return _Whole(packet.payload_bytes, packet.payload_sha256)
    return None


def _boolean(value: bool) -> bytes:  # noqa: FBT001 - it is the value, not a switch
    return b"true" if value else b"false"


def _uuid7(unix_ms: int, entropy: bytes) -> str:
    """Lay out a UUID of version 7 (RFC 9562 section 5.7): ids sort by time of receipt."""
    random = int.from_bytes(entropy)
    number = (max(unix_ms, 0) & 0xFFFF_FFFF_FFFF) << 80
    number |= 0x7 << 76 | (random >> 62 & 0xFFF) << 64
    number |= 0b10 << 62 | (random & 0x3FFF_FFFF_FFFF_FFFF)
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
