"""A message becomes the record for its route's Kafka topic."""

from collections.abc import Mapping

import msgspec

from bridge.kafka.record import Headers, Instant, Origin, Reading, Record
from bridge.mqtt.packets import Publish
from bridge.pipeline.enrich import Identity, carried_headers, origin_of
from bridge.pipeline.identity import Address
from bridge.pipeline.verdict import Telemetry
from bridge.pipeline.wording import CONTENT_TYPE_BYTES_MAX, cut

encode = msgspec.json.Encoder().encode
CONTENT_TYPE = ("content-type", b"application/json")
_OCTET_STREAM = b"application/octet-stream"


def write_telemetry(  # noqa: PLR0913, PLR0917 - what the flow knows of the message
    telemetry: Telemetry,
    packet: Publish | Reading,
    address: Address,
    properties: Mapping[str, str],
    received: Instant,
    identity: Identity,
) -> Record:
    """Write the record of an enriched message."""
    route = address.route
    assert route is not None, "telemetry without a route"
    headers: Headers = [CONTENT_TYPE, ("idempotency-key", identity.header)]
    is_retained = packet.retain
    origin: Origin = packet
    if packet.user_properties:
        origin = origin_of(packet)
    if properties or is_retained:
        headers += carried_headers(properties, route.user_properties, is_retained=is_retained)
    return Record(
        route.kafka_topic,
        address.key,
        encode(telemetry.message),
        headers,
        received,
        origin,
        None,
        telemetry.warnings is not None,
        identity.key,
    )


def write_opaque(
    packet: Publish,
    address: Address,
    properties: Mapping[str, str],
    received: Instant,
    identity: Identity | None,
) -> Record:
    """Write the record of bytes that are carried as they are."""
    route = address.route
    assert route is not None, "a message without a route"
    content_type = packet.content_type
    headers: Headers = [
        (
            "content-type",
            cut(content_type, CONTENT_TYPE_BYTES_MAX) if content_type else _OCTET_STREAM,
        )
    ]
    if identity is not None:
        headers.append(("idempotency-key", identity.header))
    headers += carried_headers(properties, route.user_properties, is_retained=packet.retain)
    return Record(
        route.kafka_topic,
        address.key,
        packet.payload,
        headers,
        received,
        origin_of(packet),
        None,
        is_flagged=False,
        dedup_key=b"" if identity is None else identity.key,
    )
