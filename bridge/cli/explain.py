"""`explain`: what would become of one message, layer by layer; nothing is sent anywhere."""

import argparse
import hashlib
import os
import sys
from pathlib import Path
from typing import BinaryIO

import msgspec

from bridge.cli.arguments import add_config, load_from, print_warnings
from bridge.cli.telling import Known, row, tell_one
from bridge.cli.telling_shadow import tell_shadow
from bridge.config.regular_files import open_regular
from bridge.config.sections import BridgeConfig
from bridge.errors import ExitCode, UsageError
from bridge.fleet.registry import Registry
from bridge.kafka.record import Instant
from bridge.mqtt.packets import Inbound, PoisonPublish
from bridge.pipeline.decode import decoding_of
from bridge.pipeline.flow import Flow
from bridge.pipeline.stages import Stages
from bridge.pipeline.verdict import Readings
from bridge.pipeline.wording import escape, quote
from bridge.runtime.clock import instant
from bridge.runtime.registry_disk import read_registry_file

_HEAD_BYTES = 65_536
_MQTT_PAYLOAD_BYTES_MAX = 268_435_455
"""What the Remaining Length of MQTT can say: more cannot be a message [MQTT-1.5.5]."""

DESCRIPTION = """\
Show what would happen to one message: the verdict of each layer, the Kafka topic, the key, the
headers and the value of the record. Nothing is sent. The payload is that of FILE, or of standard
input. A message that would be rejected is explained too, so the exit code is 0 for it.
"""


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


def explain(message: _Message, config: BridgeConfig, received: Instant, known: Known) -> list[str]:
    """Give the lines that `explain` prints."""
    flow = Flow(
        stages=Stages(decode=decoding_of(config).decode),
        routes=config.route,
        dead_letter_topic=config.dead_letter.kafka_topic,
        validation=config.validation,
        entropy=os.urandom,
        registry=known.registry,
    )
    packet = _as_packet(message, config)
    verdict, outcome = flow.carry(packet, received)
    lines = [
        row("MQTT topic", escape(message.topic)),
        row("payload", f"{len(message.payload)} bytes"),
    ]
    shadow = list(tell_shadow(packet, config, received, known))
    if not isinstance(outcome, Readings):
        return [*lines, "", *tell_one(verdict, outcome, config.validation, known), *shadow]
    for index, each in enumerate(zip(outcome.verdicts, outcome.outcomes, strict=True)):
        lines += ["", row("reading", str(index)), *tell_one(*each, config.validation, known)]
    return [*lines, *shadow]


def _read_registry(config: BridgeConfig) -> Known:
    """Read the registry where it is a file; nothing is asked of Kafka here."""
    section = config.registry
    if section is None:
        return Known(why_not="off: the configuration has no [registry]")
    if section.file is None:
        topic = section.kafka_topic or ""
        return Known(why_not=f"not judged: the registry is in Kafka topic {quote(topic)}")
    registry = Registry()
    registry.replace(read_registry_file(Path(section.file)))
    return Known(registry)


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


def _open_payload(path: Path) -> BinaryIO:
    """Open a file; what the shell or the system gives, such as /dev/stdin, as it stands."""
    return path.open("rb") if path.is_relative_to("/dev") else open_regular(path)


def _read_payload(file: str) -> bytes:
    try:
        if file == "-":
            payload = sys.stdin.buffer.read(_MQTT_PAYLOAD_BYTES_MAX + 1)
        else:
            with _open_payload(Path(file)) as stream:
                payload = stream.read(_MQTT_PAYLOAD_BYTES_MAX + 1)
    except OSError as error:
        raise UsageError(f'cannot read payload file "{escape(file)}": {error.strerror}') from error
    if len(payload) > _MQTT_PAYLOAD_BYTES_MAX:
        raise UsageError(f"payload is larger than MQTT can carry: {_MQTT_PAYLOAD_BYTES_MAX} bytes")
    return payload
