"""`explain`: what would become of one message, layer by layer; nothing is sent anywhere."""

import argparse
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bridge.cli.arguments import add_config, load_from, print_warnings
from bridge.config.sections import BridgeConfig, ValidationSection
from bridge.errors import ExitCode, UsageError
from bridge.fleet.registry import Registry
from bridge.kafka.record import Instant, Record
from bridge.mqtt.packets import Inbound, PoisonPublish
from bridge.pipeline.decode import decoding_of
from bridge.pipeline.flow import Flow, Stages
from bridge.pipeline.judge import Judge
from bridge.pipeline.verdict import (
    Duplicate,
    Layer,
    Passed,
    Readings,
    Rejected,
    Single,
    Telemetry,
    Verdict,
)
from bridge.pipeline.wording import escape, quote
from bridge.runtime.clock import instant
from bridge.runtime.registry_disk import read_registry_file

_LAYERS = (Layer.PROTOCOL, Layer.SCHEMA)
_JUDGED_LAYERS = (Layer.SEMANTIC, Layer.BUSINESS)
_HEAD_BYTES = 65_536
_MQTT_PAYLOAD_BYTES_MAX = 268_435_455
"""What the Remaining Length of MQTT can say: more cannot be a message [MQTT-1.5.5]."""
_SHOWN_CHARACTERS_MAX = 16_384
_LABEL = 13

DESCRIPTION = """\
Show what would happen to one message: the verdict of each layer, the Kafka topic, the key, the
headers and the value of the record. Nothing is sent. The payload is that of FILE, or of standard
input. A message that would be rejected is explained too, so the exit code is 0 for it.
"""


class _Registry(msgspec.Struct, frozen=True):
    """What is known of the devices, or why nothing is."""

    registry: Registry | None = None
    why_not: str = ""


class _Message(msgspec.Struct, frozen=True):
    """The PUBLISH that is asked about."""

    topic: str
    payload: bytes
    content_type: str | None
    user_properties: list[tuple[str, str]]
    packet_id: int | None = 1
    retain: bool = False


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Say what `explain` takes."""
    parser = subparsers.add_parser(
        "explain",
        help="show what would happen to one message; sends nothing",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(parser)
    parser.add_argument(
        "--mqtt-topic", metavar="TOPIC", required=True, help="the topic it is published to"
    )
    parser.add_argument(
        "--content-type", metavar="TYPE", help="the MQTT 5 Content Type it is published with"
    )
    parser.add_argument(
        "--user-property",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        dest="user_properties",
        help="an MQTT 5 User Property it is published with; repeatable",
    )
    parser.add_argument(
        "file", metavar="FILE", nargs="?", default="-", help="the payload; - is standard input"
    )
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Explain; secrets and keys need not be there for it."""
    loaded = load_from(arguments, reads_files=False)
    print_warnings(loaded.warnings)
    message = _Message(
        topic=_check_topic(arguments.mqtt_topic),
        payload=_read_payload(arguments.file),
        content_type=arguments.content_type,
        user_properties=[_split_property(text) for text in arguments.user_properties],
    )
    registry = _read_registry(loaded.config)
    sys.stdout.write("\n".join(explain(message, loaded.config, instant(), registry)) + "\n")
    return ExitCode.OK


def explain(
    message: _Message, config: BridgeConfig, received: Instant, known: _Registry
) -> list[str]:
    """Give the lines that `explain` prints."""
    flow = Flow(
        stages=Stages(decode=decoding_of(config).decode),
        routes=config.route,
        dead_letter_topic=config.dead_letter.kafka_topic,
        validation=config.validation,
        entropy=os.urandom,
        registry=known.registry,
    )
    verdict, outcome = flow.carry(_as_packet(message, config), received)
    lines = [
        _row("MQTT topic", escape(message.topic)),
        _row("payload", f"{len(message.payload)} bytes"),
    ]
    if not isinstance(outcome, Readings):
        return [*lines, "", *_tell_one(verdict, outcome, config.validation, known)]
    for index, each in enumerate(zip(outcome.verdicts, outcome.outcomes, strict=True)):
        lines += ["", _row("reading", str(index)), *_tell_one(*each, config.validation, known)]
    return lines


def _tell_one(
    verdict: Verdict | Passed, outcome: Single, validation: ValidationSection, known: _Registry
) -> Iterator[str]:
    """Explain one message, or one reading of a batch."""
    if isinstance(verdict, Passed):
        yield _row("layers", "none: the route is opaque")
    else:
        yield from _tell_layers(verdict)
        yield from _tell_judgement(verdict, validation, known)
    yield ""
    if isinstance(outcome, Record):
        yield from _tell_record(outcome)
        return
    assert isinstance(outcome, Duplicate), "a flow without a policy dropped or copied"
    yield _row("outcome", "duplicate of another reading of this batch")


def _tell_layers(verdict: Verdict) -> Iterator[str]:
    """Give one line a layer; behind the one that rejected, none was asked."""
    is_reached = True
    for layer in _LAYERS:
        if not is_reached:
            yield _row(layer, "not reached")
        elif isinstance(verdict, Rejected) and verdict.layer is layer:
            yield _row(layer, f"rejected: {verdict.reason}: {escape(verdict.detail)}")
            is_reached = False
        elif isinstance(verdict, Telemetry) and layer is Layer.SCHEMA:
            drift = verdict.message["time_drift_seconds"]
            yield _row(layer, f"ok, timestamp {verdict.timestamp}, server minus device {drift} s")
        else:
            yield _row(layer, "ok")
    if isinstance(verdict, Telemetry) and verdict.warnings:
        yield _row("flagged", ", ".join(verdict.warnings))


def _tell_judgement(
    verdict: Verdict, validation: ValidationSection, known: _Registry
) -> Iterator[str]:
    """Give a line for each flag of layers 3 and 4, which accept the message all the same."""
    if not isinstance(verdict, Telemetry):
        yield from (_row(layer, "not reached") for layer in _JUDGED_LAYERS)
        return
    device_id = verdict.message["device_id"]
    entry = known.registry.look_up(device_id) if known.registry is not None else None
    flags = Judge(validation).judge(verdict.message, device_id, entry)
    for layer in _JUDGED_LAYERS:
        found = [flag for flag in flags if flag.layer is layer]
        if layer is Layer.BUSINESS and entry is None:
            yield _row(layer, known.why_not)
        elif not found:
            yield _row(layer, "ok")
        for flag in found:
            yield _row(layer, f"flagged: {flag.reason}: {flag.detail}")


def _tell_record(record: Record) -> Iterator[str]:
    outcome = "dead letter" if record.dead_letter else "telemetry record"
    yield _row("outcome", outcome)
    yield _row("Kafka topic", record.kafka_topic)
    yield _row("key", _show(record.key) or "(empty)")
    yield _row("headers", str(len(record.headers)))
    for name, value in record.headers:
        yield f"  {escape(name)}: {_show(value)}"
    yield _row("value", f"{len(record.value)} bytes")
    if record.value:
        yield f"  {_show(record.value)}"


def _row(label: str, text: str) -> str:
    return f"{label:<{_LABEL}}{text}"


def _show(sent: bytes) -> str:
    """Write bytes so that they cannot move the cursor of whoever reads them."""
    head = sent[: _SHOWN_CHARACTERS_MAX * 4]  # Enough, since a character has 4 bytes at most.
    return escape(head.decode("utf-8", "backslashreplace"), _SHOWN_CHARACTERS_MAX)


def _read_registry(config: BridgeConfig) -> _Registry:
    """Read the registry where it is a file; nothing is asked of Kafka here."""
    section = config.registry
    if section is None:
        return _Registry(why_not="off: the configuration has no [registry]")
    if section.file is None:
        topic = section.kafka_topic or ""
        return _Registry(why_not=f"not judged: the registry is in Kafka topic {quote(topic)}")
    registry = Registry()
    registry.replace(read_registry_file(Path(section.file)))
    return _Registry(registry)


def _as_packet(message: _Message, config: BridgeConfig) -> Inbound:
    """Let a payload that no packet may hold be the poison that the codec would make of it."""
    size, bytes_max = len(message.payload), config.mqtt.packet_bytes_max
    if size <= bytes_max:
        return message
    return PoisonPublish(
        topic=message.topic,
        payload=message.payload[:_HEAD_BYTES],
        packet_id=message.packet_id,
        is_too_large=True,
        detail=f"payload of {size} bytes, over packet_bytes_max {bytes_max}",
        payload_bytes=size,
        payload_sha256=hashlib.sha256(message.payload).hexdigest(),
    )


def _check_topic(topic: str) -> str:
    if not topic or any(letter in topic for letter in "+#\0"):
        raise UsageError(
            f'--mqtt-topic "{escape(topic)}" is no topic to publish to:'
            " one character at least, and none of + # NUL"
        )
    return topic


def _split_property(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise UsageError(f'--user-property "{escape(text)}" is not NAME=VALUE')
    return name, value


def _read_payload(file: str) -> bytes:
    try:
        if file == "-":
            payload = sys.stdin.buffer.read(_MQTT_PAYLOAD_BYTES_MAX + 1)
        else:
            with Path(file).open("rb") as stream:
                payload = stream.read(_MQTT_PAYLOAD_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f'cannot read payload file "{escape(file)}": {error.strerror}') from error
    if len(payload) > _MQTT_PAYLOAD_BYTES_MAX:
        raise UsageError(f"payload is larger than MQTT can carry: {_MQTT_PAYLOAD_BYTES_MAX} bytes")
    return payload
