"""Nearly every message, many at once: a few calls for all of them, instead of twenty for each.

Telemetry in JSON that passes layers 1 and 2 is looked at by functions of C over lists. What is not
usual in any respect comes to nothing here and is judged one by one, where the reasons stand:
`decode.py`, `validate.py` and `enrich.py` say the same of one message.
"""

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any

import msgspec

from bridge.kafka.record import Headers, Instant, Record
from bridge.mqtt.packets import Inbound, PoisonPublish, Publish
from bridge.pipeline.enrich import enrich_all, identify_all
from bridge.pipeline.formats.json_text import decode_json, decode_tiny
from bridge.pipeline.identity import Address
from bridge.pipeline.route import CONTENT_TYPE, encode
from bridge.pipeline.timestamps import read_canonical
from bridge.pipeline.validate import METRICS_MAX, NAME_CHARACTERS_MAX, SCALARS, TimeBounds
from bridge.pipeline.verdict import Telemetry


class Usual(msgspec.Struct, frozen=True, eq=False, gc=False):
    """Messages that passed layers 1 and 2, and how each is recognised if it comes again."""

    packets: Sequence[Publish]
    addresses: Sequence[Address]
    telemetries: list[Telemetry]
    headers: list[bytes]
    """The `idempotency-key` of each."""
    keys: list[bytes]
    """The same, compact."""

    def only(self, places: Sequence[int]) -> "Usual":
        """Give those in some places."""
        return Usual(*([each[place] for place in places] for each in msgspec.structs.astuple(self)))


def decode_all(packets: Sequence[Publish]) -> list[Any]:
    """Decode plain packets; what cannot be read is Rejected."""
    payloads = [packet.payload for packet in packets]
    messages = decode_tiny(payloads)
    return [decode_json(each) for each in payloads] if messages is None else messages


def read_usual(
    messages: Sequence[Any],
    packets: Sequence[Publish],
    addresses: Sequence[Address],
    received_us: int,
    bounds: TimeBounds,
) -> Usual | None:
    """Read decoded messages, which stay as they are; None where one is not usual.

    Whatever makes whole fleets unusual, such as timestamps in another form, is asked first.
    """
    if set(map(type, messages)) != {dict}:
        return None
    device_ids = [address.device_id for address in addresses]
    try:
        timestamps = [message["timestamp"] for message in messages]
        measured_us = read_canonical(timestamps)
        if (
            measured_us is None
            or not bounds.hold(min(measured_us), received_us)
            or not bounds.hold(max(measured_us), received_us)
            or [message["device_id"] for message in messages] != device_ids
            or not _are_metrics([message["metrics"] for message in messages])
        ):
            return None
    except KeyError:
        return None
    if not {type(message["metadata"]) for message in messages if "metadata" in message} <= {dict}:
        return None
    telemetries = list(map(Telemetry, messages, measured_us, timestamps))
    payloads = [packet.payload for packet in packets]
    headers, keys = identify_all(device_ids, timestamps, payloads)
    return Usual(packets, addresses, telemetries, headers, keys)


def are_plain(packets: Sequence[Inbound], addresses: Sequence[Address]) -> list[bool]:
    """Tell of each whether it is usual as far as can be told without decoding it."""
    return [
        address.is_plain
        and type(packet) is not PoisonPublish
        and packet.content_type is None
        and not packet.user_properties
        and not packet.retain
        and 0 < len(packet.payload) <= address.payload_bytes_max
        for packet, address in zip(packets, addresses, strict=True)
    ]


def _are_metrics(metrics: list[Any]) -> bool:
    if set(map(type, metrics)) != {dict}:
        return False
    counts = set(map(len, metrics))
    if min(counts) < 1 or max(counts) > METRICS_MAX:
        return False
    lengths = set(map(len, set().union(*metrics)))
    if min(lengths) < 1 or max(lengths) > NAME_CHARACTERS_MAX:
        return False
    values = chain.from_iterable([each.values() for each in metrics])
    return SCALARS.issuperset(map(type, values))


def write_usual(usual: Usual, received: Instant) -> list[Record]:
    """Enrich and write them; raises whatever a fault of ours raises."""
    telemetries = usual.telemetries
    enrich_all(telemetries, received)
    headers: list[Headers] = [
        [CONTENT_TYPE, ("idempotency-key", header)] for header in usual.headers
    ]
    return list(
        map(
            Record,
            [address.route.kafka_topic for address in usual.addresses],  # type: ignore[union-attr]
            [address.key for address in usual.addresses],
            [encode(telemetry.message) for telemetry in telemetries],
            headers,
            repeat(received),
            usual.packets,
            repeat(None),
            [telemetry.warnings is not None for telemetry in telemetries],
            usual.keys,
        )
    )
