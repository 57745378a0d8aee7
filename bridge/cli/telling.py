"""How the commands tell what would become of a message: layer by layer, then the record."""

from collections.abc import Iterator
from typing import Final

import msgspec

from bridge.config.sections import ValidationSection
from bridge.fleet.registry import Registry
from bridge.kafka.record import Record
from bridge.pipeline.judge import Judge
from bridge.pipeline.verdict import (
    Duplicate,
    Layer,
    Passed,
    Rejected,
    Single,
    Telemetry,
    Verdict,
)
from bridge.pipeline.wording import escape

_LAYERS: Final = (Layer.PROTOCOL, Layer.SCHEMA)
_JUDGED_LAYERS: Final = (Layer.SEMANTIC, Layer.BUSINESS)
_SHOWN_CHARACTERS_MAX: Final = 16_384
_LABEL: Final = 13


class Known(msgspec.Struct, frozen=True):
    """What is known of the devices, or why nothing is."""

    registry: Registry | None = None
    why_not: str = ""


def tell_one(
    verdict: Verdict | Passed, outcome: Single, validation: ValidationSection, known: Known
) -> Iterator[str]:
    """Explain one message, or one reading of a batch."""
    yield from tell_layers(verdict, validation, known)
    yield ""
    if isinstance(outcome, Record):
        yield from _tell_record(outcome)
        return
    assert isinstance(outcome, Duplicate), "a flow without a policy dropped or copied"
    yield row("outcome", "duplicate of another reading of this batch")


def tell_layers(
    verdict: Verdict | Passed, validation: ValidationSection, known: Known
) -> Iterator[str]:
    """Give one line a layer."""
    if isinstance(verdict, Passed):
        yield row("layers", "none: the route is opaque")
        return
    yield from _tell_layers(verdict)
    yield from _tell_judgement(verdict, validation, known)


def _tell_layers(verdict: Verdict) -> Iterator[str]:
    """Give one line a layer; behind the one that rejected, none was asked."""
    is_reached = True
    for layer in _LAYERS:
        if not is_reached:
            yield row(layer, "not reached")
        elif isinstance(verdict, Rejected) and verdict.layer is layer:
            yield row(layer, f"rejected: {verdict.reason}: {escape(verdict.detail)}")
            is_reached = False
        elif isinstance(verdict, Telemetry) and layer is Layer.SCHEMA:
            drift = verdict.message["time_drift_seconds"]
            yield row(layer, f"ok, timestamp {verdict.timestamp}, server minus device {drift} s")
        else:
            yield row(layer, "ok")
    if isinstance(verdict, Telemetry) and verdict.warnings:
        yield row("flagged", ", ".join(verdict.warnings))


def _tell_judgement(verdict: Verdict, validation: ValidationSection, known: Known) -> Iterator[str]:
    """Give a line for each flag of layers 3 and 4, which accept the message all the same."""
    if not isinstance(verdict, Telemetry):
        is_reached = verdict.layer in _JUDGED_LAYERS  # Where a flag is a reason to reject.
        for layer in _JUDGED_LAYERS:
            if is_reached and verdict.layer is layer:
                yield row(layer, f"rejected: {verdict.reason}: {escape(verdict.detail)}")
                is_reached = False
            else:
                yield row(layer, "ok" if is_reached else "not reached")
        return
    device_id = verdict.message["device_id"]
    entry = known.registry.look_up(device_id) if known.registry is not None else None
    flags = Judge(validation).judge(verdict.message, device_id, entry)
    for layer in _JUDGED_LAYERS:
        found = [flag for flag in flags if flag.layer is layer]
        if layer is Layer.BUSINESS and entry is None:
            yield row(layer, known.why_not)
        elif not found:
            yield row(layer, "ok")
        for flag in found:
            yield row(layer, f"flagged: {flag.reason}: {flag.detail}")


def _tell_record(record: Record) -> Iterator[str]:
    outcome = "dead letter" if record.dead_letter else "telemetry record"
    yield row("outcome", outcome)
    yield row("Kafka topic", record.kafka_topic)
    yield row("key", shown(record.key) or "(empty)")
    yield row("headers", str(len(record.headers)))
    for name, value in record.headers:
        yield f"  {escape(name)}: {shown(value)}"
    yield row("value", f"{len(record.value)} bytes")
    if record.value:
        yield f"  {shown(record.value)}"


def row(label: str, text: str) -> str:
    """Write one line of a table of two columns."""
    return f"{label:<{_LABEL}}{text}"


def shown(sent: bytes) -> str:
    """Write bytes so that they cannot move the cursor of whoever reads them."""
    head = sent[: _SHOWN_CHARACTERS_MAX * 4]  # Enough, since a character has 4 bytes at most.
    return escape(head.decode("utf-8", "backslashreplace"), _SHOWN_CHARACTERS_MAX)
