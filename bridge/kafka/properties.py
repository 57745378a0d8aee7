"""The producer's configuration: what the promise rests on, what is tuned, what is added."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from bridge.config.librdkafka_properties import LINGER, LINGERS
from bridge.config.sections import KafkaSection
from bridge.kafka.pace import CALM_LINGER_MS
from bridge.kafka.record import Headers

MESSAGE_BYTES_MAX: Final = 1_000_000
"""librdkafka's own default of `message.max.bytes`; a record above it is refused locally."""
RECORD_OVERHEAD_BYTES: Final = 512
"""Framing of a record beside key, value and headers, rounded up generously."""

Value: TypeAlias = str | int | float | bool
Properties: TypeAlias = Mapping[str, Value]
"""What librdkafka is built with."""


def producer_properties(
    section: KafkaSection,
    *,
    client_id: str,
    password: str | None,
    secrets: Mapping[str, str],
    records_max: int,
) -> dict[str, Value]:
    """Build librdkafka's configuration; `secrets` are the values of `kafka.properties` tables."""
    properties: dict[str, Value] = {
        "client.id": client_id,
        # Tuned. What is read together is produced together, so nothing waits for more: at 100
        # messages a second a record is 5 ms younger than with a linger of 5. In a backlog a second
        # producer lingers, unless the section says how long (`pace`).
        LINGER: CALM_LINGER_MS,
        "batch.num.messages": 10_000,
        # Well above what can be unsettled, so that the bound of the bridge is the one reached.
        "queue.buffering.max.messages": 2 * records_max + 1_000,
        "queue.buffering.max.kbytes": 1_048_576,
        # A missing topic is reported in seconds, not after librdkafka's half minute.
        "topic.metadata.propagation.max.ms": 5_000,
        "topic.metadata.refresh.interval.ms": 30_000,
        "reconnect.backoff.max.ms": 2_000,
        "socket.keepalive.enable": True,
        "enable.metrics.push": False,
    }
    if section.username is not None:
        properties |= {
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": section.username,
        }
    for name, value in section.properties.items():
        if isinstance(value, Value):
            properties[name] = value
    properties |= secrets
    if password is not None:
        properties["sasl.password"] = password
    # What the promise rests on comes last, so that nothing above can change it.
    properties |= {
        "bootstrap.servers": section.bootstrap_servers,
        "enable.idempotence": True,
        "acks": "all",
        "max.in.flight.requests.per.connection": section.requests_in_flight_max,
        "partitioner": "murmur2_random",
        "message.timeout.ms": 0,
    }
    return properties


def is_linger_fixed(section: KafkaSection) -> bool:
    """Tell whether the configuration says how long librdkafka waits for more records."""
    return any(name in section.properties for name in LINGERS)


def value_bytes_max(section: KafkaSection) -> int:
    """Tell how long a value may be in a record without headers."""
    limit = section.properties.get("message.max.bytes", MESSAGE_BYTES_MAX)
    allowed = int(limit) if isinstance(limit, (int, float, str)) else MESSAGE_BYTES_MAX
    return max(0, allowed - RECORD_OVERHEAD_BYTES)


def headers_bytes(headers: Headers) -> int:
    """Tell what headers take of a record: two lengths of five bytes at most beside each."""
    return sum(10 + len(name.encode()) + len(value) for name, value in headers)
