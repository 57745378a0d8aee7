"""Telemetry becomes the record for its route's Kafka topic."""

from collections.abc import Mapping

import msgspec

from bridge.kafka.record import Headers, Instant, Origin, Record
from bridge.mqtt.packets import Publish
from bridge.pipeline.enrich import Identity, carried_headers, origin_of
from bridge.pipeline.identity import Address
from bridge.pipeline.verdict import Telemetry

_ENCODER = msgspec.json.Encoder()
_CONTENT_TYPE = ("content-type", b"application/json")


def write_telemetry(  # noqa: PLR0913, PLR0917 - what the flow knows of the message
    telemetry: Telemetry,
    packet: Publish,
    address: Address,
    properties: Mapping[str, str],
    received: Instant,
    identity: Identity,
) -> Record:
    """Write the record of an enriched message."""
    route = address.route
    assert route is not None, "telemetry without a route"
    headers: Headers = [_CONTENT_TYPE, ("idempotency-key", identity.header)]
    is_retained = packet.retain
    origin: Origin = packet
    if packet.user_properties:
        origin = origin_of(packet)
    if properties or is_retained:
        headers += carried_headers(properties, route.user_properties, is_retained=is_retained)
    return Record(
        route.kafka_topic,
        address.key,
        _ENCODER.encode(telemetry.message),
        headers,
        received,
        origin,
        None,
        telemetry.warnings is not None,
        identity.key,
    )
