"""`dlq show`: dead letters in full, and what today's rules say of them; nothing is sent."""

import argparse
import base64
import heapq
import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import msgspec

from bridge.cli.dead_letters.options import Prepared, prepare, selection_from
from bridge.cli.dead_letters.reading import read_letters
from bridge.cli.telling import Known, row, shown, tell_layers
from bridge.config.paths import quoted
from bridge.errors import ExitCode, UsageError
from bridge.kafka.record import Record
from bridge.pipeline.decode import decoding_of
from bridge.pipeline.letters.letter import Letter
from bridge.pipeline.letters.rejudging import Judged, Rejudging
from bridge.pipeline.letters.selection import Selection
from bridge.pipeline.verdict import Duplicate, Readings, Several, Single
from bridge.pipeline.wording import escape
from bridge.runtime.clock import instant
from bridge.runtime.known_telemetry import read_registry

SHOWN_MAX: Final = 100
"""Letters kept until the end is reached: a payload may have a megabyte."""
_BATCH: Final = 500
_TEXT_CHARACTERS_MAX: Final = 16_384
_HEX_BYTES_MAX: Final = 4_096
_HEX_WIDTH: Final = 16
_UUID7_TIME_DIGITS: Final = 12
_NO_REGISTRY: Final = Known(why_not="off: the configuration has no [registry]")

DESCRIPTION = """\
Show dead letters in full: where each lies, why, its headers, the payload as text or hex (escaped:
nothing in it can move the cursor), and what today's rules say of it, as explain does. Nothing is
sent. Of the letters that match, the newest --limit are shown, the newest last.
"""


class _Found:
    """The newest of the letters that match; partitions are read side by side."""

    def __init__(self, kept_max: int) -> None:
        self._kept_max = kept_max
        self._heap: list[tuple[tuple[int, int, int], Letter]] = []
        self.matching = 0

    def add(self, letter: Letter) -> None:
        """Keep a letter while it is among the newest."""
        self.matching += 1
        age = (letter.received.unix_us, letter.partition, letter.offset)
        if len(self._heap) < self._kept_max:
            heapq.heappush(self._heap, (age, letter))
        elif age > self._heap[0][0]:
            heapq.heapreplace(self._heap, (age, letter))

    @property
    def letters(self) -> list[Letter]:
        """Give those kept, the newest last."""
        return [letter for _, letter in sorted(self._heap, key=lambda each: each[0])]


def execute(arguments: argparse.Namespace) -> int:
    """Show.

    Raises:
        ConfigError: The configuration is wrong.
        UsageError: A filter cannot be meant, or nothing matches the id.
        UnavailableError: Kafka does not answer, or refuses.
    """
    selection = _with_id(selection_from(arguments))
    prepared = prepare(arguments)
    found = _find(prepared, selection, arguments.limit)
    if selection.dlq_id is not None and not found.matching:
        raise UsageError(
            f"--id {quoted(selection.dlq_id)}: Kafka topic {quoted(prepared.kafka_topic)} has no"
            " such dead letter; it may be past its retention, or the id cut short"
        )
    registry = read_registry(prepared.config, prepared.properties)
    known = _NO_REGISTRY if prepared.config.registry is None else Known(registry)
    rejudging = Rejudging(
        prepared.config,
        decoding=decoding_of(prepared.config),
        registry=registry,
        entropy=os.urandom,
        window=None,
    )
    rejudging.begin(instant())
    letters = found.letters
    first = found.matching - len(letters) + 1
    for number, letter in enumerate(letters, start=first):
        if arguments.json:
            sys.stdout.write(json.dumps(_as_json(letter, rejudging)) + "\n")
            continue
        lines = _as_text(letter, prepared, rejudging, known, payload_as=arguments.payload)
        sys.stdout.write(f"dead letter {number} of {found.matching} that match\n")
        sys.stdout.writelines(f"{line}\n" for line in lines)
        sys.stdout.write("\n")
    if not letters and not arguments.json:
        sys.stdout.write(f"Kafka topic {quoted(prepared.kafka_topic)}: none matches\n")
    return ExitCode.OK


def _find(prepared: Prepared, selection: Selection, limit: int) -> _Found:
    found = _Found(limit)
    with closing(read_letters(prepared, selection, batch=_BATCH)) as letters:
        for letter in letters:
            if letter.is_letter and selection.matches(letter):
                found.add(letter)
                if selection.dlq_id is not None:
                    break
    return found


def _with_id(selection: Selection) -> Selection:
    """Begin where the id says: a UUID of version 7 begins with its time."""
    if selection.dlq_id is None or selection.since_us is not None:
        return selection
    digits = selection.dlq_id.replace("-", "")[:_UUID7_TIME_DIGITS]
    try:
        unix_ms = int(digits, 16) if len(digits) == _UUID7_TIME_DIGITS else 0
    except ValueError:
        return selection
    return msgspec.structs.replace(selection, since_us=unix_ms * 1_000)


def _as_text(
    letter: Letter, prepared: Prepared, rejudging: Rejudging, known: Known, *, payload_as: str
) -> Iterator[str]:
    yield row("id", escape(letter.dlq_id) or "(none)")
    yield row("lies at", letter.place)
    yield row("why", f"{escape(letter.reason)} ({escape(letter.layer)}): {escape(letter.detail)}")
    yield row("received", letter.received.rfc3339)
    yield row("device", escape(letter.device_id) or "(empty)")
    yield row("MQTT topic", escape(letter.mqtt_topic) or "(none)")
    yield row("meant for", escape(letter.meant_for) or "(no Kafka topic)")
    yield row("attempt", str(letter.attempt))
    if letter.is_copy:
        yield row("copy", "yes: the message was forwarded too; dlq replay leaves it out")
    yield row("headers", str(len(letter.headers)))
    for name, value in letter.headers:
        yield f"  {escape(name)}: {shown(value)}"
    yield from _tell_payload(letter, payload_as)
    yield "today's rules"
    yield from (f"  {line}" for line in _tell_today(letter, prepared, rejudging, known))


def _tell_payload(letter: Letter, payload_as: str) -> Iterator[str]:
    payload = letter.payload
    text = None if payload_as == "hex" else _text_of(payload)
    if text is None and payload_as == "text":
        text = payload.decode("utf-8", "backslashreplace")
    size = f"{len(payload)} bytes, {'hex' if text is None else 'text'}"
    if not letter.is_whole:
        told = dict(letter.headers)
        size += f"; cut, the whole had {shown(told['dlq.payload-bytes'])} bytes"
    yield row("payload", size if payload else "0 bytes")
    if text is not None:
        if text:
            yield f"  {escape(text, _TEXT_CHARACTERS_MAX)}"
        return
    for at in range(0, min(len(payload), _HEX_BYTES_MAX), _HEX_WIDTH):
        piece = payload[at : at + _HEX_WIDTH]
        letters = "".join(chr(each) if 0x20 <= each < 0x7F else "." for each in piece)  # noqa: PLR2004
        yield f"  {at:08x}  {piece.hex(' '):<{3 * _HEX_WIDTH}} {letters}"
    if len(payload) > _HEX_BYTES_MAX:
        yield f"  and {len(payload) - _HEX_BYTES_MAX} bytes more (--json has all)"


def _text_of(payload: bytes) -> str | None:
    """Read a payload as text; None where it is none: not UTF-8, or a tenth of it is controls."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        return None
    controls = sum(not each.isprintable() and each not in "\r\n\t" for each in text)
    return None if controls * 10 > len(text) else text


def _tell_today(
    letter: Letter, prepared: Prepared, rejudging: Rejudging, known: Known
) -> Iterator[str]:
    if rejudging.find_route(letter) is None:
        yield "no route of this configuration matches its MQTT topic; dlq replay leaves it out"
        return
    if not letter.is_whole:
        yield "not asked: part of the payload is not in the letter; dlq replay leaves it out"
        return
    verdict, outcome = rejudging.carry(letter)
    if isinstance(outcome, Readings):
        for index, each in enumerate(zip(outcome.verdicts, outcome.outcomes, strict=True)):
            yield row("reading", str(index))
            yield from tell_layers(each[0], prepared.config.validation, known)
            yield _tell_outcome(each[1])
        return
    yield from tell_layers(verdict, prepared.config.validation, known)
    yield _tell_outcome(outcome)


def _tell_outcome(outcome: Single) -> str:
    record = outcome.records[0] if isinstance(outcome, Several) else outcome
    if isinstance(record, Duplicate):
        return row("outcome", "duplicate of another reading of this batch")
    assert isinstance(record, Record), "a flow without limits dropped a message"
    if record.dead_letter is not None:
        again = f"a dead letter again: {record.dead_letter.reason}: {record.dead_letter.detail}"
        return row("outcome", again)
    return row("outcome", f"telemetry record for Kafka topic {quoted(record.kafka_topic)}")


def _as_json(letter: Letter, rejudging: Rejudging) -> dict[str, Any]:
    judged = rejudging.judge(letter) if letter.is_whole else Judged(letter=letter)
    failed = None if judged.failed is None else judged.failed.dead_letter
    return {
        "id": letter.dlq_id,
        "place": letter.place,
        "reason": letter.reason,
        "layer": letter.layer,
        "detail": letter.detail,
        "received_at": letter.received.rfc3339,
        "device_id": letter.device_id,
        "mqtt_topic": letter.mqtt_topic,
        "kafka_topic": letter.meant_for,
        "attempt": letter.attempt,
        "copy": letter.is_copy,
        "whole": letter.is_whole,
        "headers": [
            [name, value.decode("utf-8", "backslashreplace")] for name, value in letter.headers
        ],
        "payload_base64": base64.b64encode(letter.payload).decode(),
        "today": {
            "kafka_topics": [each.kafka_topic for each in judged.records],
            "reason": failed.reason if failed else None,
            "detail": failed.detail if failed else None,
            "left_out": "payload_cut" if not letter.is_whole else judged.left_out,
        },
    }
