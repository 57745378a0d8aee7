"""A batch: many readings in one message, taken apart into messages that are judged one by one.

A gateway sends for devices that are not its own: each reading then names its device, and the
registry must say that this device is assigned to that gateway. Else whoever may publish under one
device id could speak for all.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from bridge.fleet.registry import Registry
from bridge.kafka.record import Instant, Reading
from bridge.mqtt.packets import Publish
from bridge.pipeline.decode import decode_reading, split
from bridge.pipeline.formats.batches import READINGS, Parts
from bridge.pipeline.identity import DEVICE_ID_RULE, Address, is_device_id
from bridge.pipeline.timestamps import Timestamp, read_timestamp
from bridge.pipeline.validate import TimeBounds
from bridge.pipeline.verdict import Layer, Reason, Rejected
from bridge.pipeline.wording import quote

READINGS_MAX: Final = 1_000
BATCH_ID_CHARACTERS_MAX: Final = 128
SHARED_BYTES_MAX: Final = 4_096
"""What may stand beside the readings: each of a thousand records carries it."""

_INTEGERS = range(-(2**63), 2**63)
_MISSING: Final = object()
_OWN = frozenset(("device_id", "batch_id"))


class Piece(msgspec.Struct, frozen=True, gc=False):
    """One reading of a batch."""

    reading: Reading
    address: Address
    """Of the device that it is from."""
    message: Any
    """As telemetry would be decoded; or the Rejected that says why not."""


def open_batch(packet: Publish, address: Address, registry: Registry | None) -> Any:  # noqa: ANN401
    """Give the Pieces of a batch, or the Rejected of the whole; nothing in them is judged yet."""
    parts = split(packet.payload, packet.content_type, address)
    if type(parts) is Rejected:
        return parts
    if type(parts) is not Parts:
        return _explain(parts)
    rejected = _judge_head(parts, address)
    if rejected is not None:
        return rejected
    head = parts.head
    shared = {name: value for name, value in head.items() if name not in _OWN}
    if shared and len(msgspec.json.encode(shared)) > SHARED_BYTES_MAX:
        return _mismatch(
            f"what stands beside the readings is larger than {SHARED_BYTES_MAX} bytes,"
            " and each of their records would carry it"
        )
    batch_id, is_own = head["batch_id"], "device_id" in head
    written = msgspec.json.encode(head)
    pieces = []
    for index, payload in enumerate(parts.payloads):
        reading = Reading(
            packet.topic, payload, packet.content_type, batch_id, index, packet.retain, written
        )
        message = parts.decode(payload)
        pieces.append(_piece(reading, message, address, registry, shared, is_own=is_own))
    return pieces


def reopen_reading(  # noqa: PLR0913 - what is known of one reading
    packet: Publish,
    address: Address,
    registry: Registry | None,
    *,
    head: Mapping[str, Any],
    written: bytes,
    index: int,
) -> Piece:
    """Give the Piece of one reading whose batch was taken apart before: a replay has it alone.

    `head` is what stood beside the readings, and `written` the same as its letter has it.
    """
    reading = Reading(
        packet.topic,
        packet.payload,
        packet.content_type,
        head["batch_id"],
        index,
        packet.retain,
        written,
    )
    message = decode_reading(packet.payload, packet.content_type, address)
    shared = {name: value for name, value in head.items() if name not in _OWN}
    return _piece(reading, message, address, registry, shared, is_own="device_id" in head)


def newest_of(
    pieces: Sequence[Piece],
    received: Instant,
    bounds: TimeBounds,
    is_known: Callable[[Piece, str], bool],
) -> tuple[bool, int | None]:
    """Tell whether anything in a batch is new, and the newest time that validation will take.

    What validation will refuse pays for nothing, and sets no mark that would lie ahead.
    """
    newest_us, is_new = None, False
    for piece in pieces:
        timestamp = None
        if type(piece.message) is dict:
            timestamp = read_timestamp(piece.message.get("timestamp"))
        if type(timestamp) is not Timestamp or timestamp.text is None:
            is_new = True
            continue
        measured_at_us = timestamp.measured_at_us
        if bounds.is_judged and bounds.hold(measured_at_us, received.unix_us):
            newest_us = max(newest_us or measured_at_us, measured_at_us)
        is_new = is_new or not is_known(piece, timestamp.text)
    return is_new, newest_us


def _piece(  # noqa: PLR0913 - what is known of one reading
    reading: Reading,
    message: Any,  # noqa: ANN401 - as decoded, or Rejected
    address: Address,
    registry: Registry | None,
    shared: Mapping[str, Any],
    *,
    is_own: bool,
) -> Piece:
    """Find the sender of a reading, and make of it what a message of its own would be."""
    sender: Address | Rejected = address
    if type(message) is dict:
        sender = _sender_of(message, address, registry, is_own=is_own)
    elif type(message) is not Rejected:
        sender = _mismatch(f"reading is {quote(message)}, expected an object")
    if isinstance(sender, Rejected):
        return Piece(reading, address, sender)
    if type(message) is dict:
        message = {**shared, **message}
        message["device_id"] = sender.device_id
        message["batch_id"] = reading.batch_id
        message["batch_index"] = reading.index
    return Piece(reading, sender, message)


def _judge_head(parts: Parts, address: Address) -> Rejected | None:
    head, count = parts.head, len(parts.payloads)
    if head.get("device_id", address.device_id) != address.device_id:
        return _refuse_sender(head["device_id"], address)
    if "batch_id" not in head:
        return _mismatch("batch_id is missing")
    batch_id = head["batch_id"]
    is_text = type(batch_id) is str and 1 <= len(batch_id) <= BATCH_ID_CHARACTERS_MAX
    if not is_text and (type(batch_id) is not int or batch_id not in _INTEGERS):
        return _mismatch(
            f"batch_id is {quote(batch_id)}, expected a string of 1 to {BATCH_ID_CHARACTERS_MAX}"
            " characters, or an integer of 64 bits"
        )
    if not 1 <= count <= READINGS_MAX:
        return _mismatch(f"readings has {count} elements, expected 1 to {READINGS_MAX}")
    return None


def _sender_of(
    message: dict[str, Any], address: Address, registry: Registry | None, *, is_own: bool
) -> Address | Rejected:
    """Tell of which device a reading is: of the one in the topic, or of one assigned to it."""
    named = message.get("device_id", _MISSING)
    if named == address.device_id:
        return address
    if named is _MISSING:
        return address if is_own else _mismatch("device_id is missing, in reading and batch alike")
    if type(named) is not str or is_device_id(named) is None:
        return _mismatch(f"device_id is {quote(named)}, expected {DEVICE_ID_RULE}")
    entry = registry.look_up(named) if registry is not None else None
    if entry is None or entry.gateway != address.device_id:
        # No message waits for the registry, and who may speak for others is not guessed meanwhile.
        who = (
            "the registry does not assign" if entry is not None else "no registry known yet assigns"
        )
        return Rejected(
            Reason.DEVICE_MISMATCH,
            Layer.SCHEMA,
            f"device_id is {quote(named)}, which {who} to"
            f" {quote(address.device_id)}, the sender by the MQTT topic",
            is_by_registry=True,
        )
    return Address(address.route, named, named.encode(), is_valid=True)


def _refuse_sender(named: object, address: Address) -> Rejected:
    if type(named) is not str or is_device_id(named) is None:
        return _mismatch(f"device_id is {quote(named)}, expected {DEVICE_ID_RULE}")
    return Rejected(
        Reason.DEVICE_MISMATCH,
        Layer.SCHEMA,
        f"device_id is {quote(named)}, but the MQTT topic is that of {quote(address.device_id)}",
    )


def _explain(message: object) -> Rejected:
    if type(message) is not dict:
        return _mismatch(f"message is {quote(message)}, expected an object")
    if READINGS not in message:
        return _mismatch(f"{READINGS} is missing")
    return _mismatch(f"{READINGS} is {quote(message[READINGS])}, expected an array")


def _mismatch(detail: str) -> Rejected:
    return Rejected(Reason.SCHEMA_MISMATCH, Layer.SCHEMA, detail)
