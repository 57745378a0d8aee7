"""Letters as the flow writes them, read back, and what judges them anew."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from bridge.config.sections import BridgeConfig, DeadLetterSection, Route, ValidationSection
from bridge.fleet.dedup_window import DedupWindow
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.kafka.record import Instant, Record
from bridge.mqtt.packets import Inbound
from bridge.pipeline.decode import Decoding
from bridge.pipeline.flow import Flow
from bridge.pipeline.letters.letter import Letter, read_letter
from bridge.pipeline.letters.rejudging import Rejudging
from bridge.pipeline.policy import Policy
from bridge.pipeline.verdict import Readings, Several
from tests.pipeline.given import RECEIVED

DLQ = "telemetry-dlq"
RECALL: Mapping[str, Any] = {"firmware_recalled": ("1.2.3",), "business": "dlq"}
LATER = Instant(
    unix_us=RECEIVED.unix_us + 3_600_000_000, monotonic_s=9.0, rfc3339="2026-11-23T18:35:25.000000Z"
)


def registry_of(**devices: DeviceEntry) -> Registry:
    """Make a registry that knows dev-0001, and others."""
    registry = Registry()
    registry.replace({"dev-0001": DeviceEntry(), **devices})
    return registry


def records_by(
    packets: Sequence[Inbound],
    *,
    routes: tuple[Route, ...] = (Route(),),
    registry: Registry | None = None,
    **validation: Any,
) -> list[Record]:
    """Give all records that a bridge with these rules makes of packets."""
    section = ValidationSection(**validation)
    flow = Flow(
        routes=routes,
        dead_letter_topic=DLQ,
        validation=section,
        entropy=lambda size: b"\xff" * size,
        policy=Policy.of(section, registry or registry_of()),
    )
    records: list[Record] = []
    for outcome in flow.process(packets, RECEIVED):
        singles = outcome.outcomes if isinstance(outcome, Readings) else [outcome]
        for single in singles:
            if isinstance(single, Several):
                records += single.records
            elif isinstance(single, Record):
                records.append(single)
    return records


def letters_of(records: Sequence[Record], **changes: Any) -> list[Letter]:
    """Read the dead letters among records, as Kafka would give them back."""
    letters = [
        read_letter(
            kafka_topic=DLQ,
            partition=3,
            offset=offset,
            key=record.key,
            payload=record.value,
            headers=record.headers,
            timestamp_ms=record.received.unix_us // 1_000,
        )
        for offset, record in enumerate(each for each in records if each.dead_letter is not None)
    ]
    return [msgspec.structs.replace(each, **changes) for each in letters]


def rejudging(
    *,
    routes: tuple[Route, ...] = (Route(),),
    registry: Registry | None = None,
    known: Sequence[bytes] | None = None,
    now: Instant = LATER,
    **validation: Any,
) -> Rejudging:
    """Make one that knows these compact keys; None: deduplication is off."""
    window = None
    if known is not None:
        window = DedupWindow(ttl_s=float("inf"), keys_max=1_000, keys_min=0)
        window.note(known, 0.0)
    config = BridgeConfig(
        route=routes,
        validation=ValidationSection(**validation),
        dead_letter=DeadLetterSection(kafka_topic=DLQ),
    )
    judging = Rejudging(
        config,
        decoding=Decoding(),
        registry=registry or registry_of(),
        entropy=lambda size: b"\xee" * size,
        window=window,
    )
    judging.begin(now)
    return judging
