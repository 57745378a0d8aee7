"""The last dead letters of each reason, for people: `ops.examples` turns them on."""

from collections import deque
from typing import Any, Final

import msgspec

from bridge.kafka.record import DeadLetter, Record
from bridge.observe.text import printable

KEPT: Final = 3
"""Of each reason; the reasons are a closed set, so all of them are some fifty."""
HEAD_BYTES: Final = 256
"""Of a payload, copied: the rest of it is not to be held. Enough to see what a device sent."""
_TEXT_CHARACTERS: Final = 256
_PAYLOAD_CHARACTERS: Final = 4 * HEAD_BYTES + 64
"""An escape is `\\x1b`, four characters for a byte; and room for the mark of a cut."""


class _Example(msgspec.Struct, frozen=True):
    """What is kept of a letter; escaped only when somebody asks."""

    letter: DeadLetter
    received_at: str
    head: bytes
    payload_bytes: int


class Examples:
    """Keeps a few letters of each reason, and of each only the head: under 300 kB in all."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[_Example]] = {}

    def note(self, record: Record) -> None:
        """Keep this letter; the oldest of its reason goes."""
        letter = record.dead_letter
        assert letter is not None, "telemetry is no example of a dead letter"
        kept = self._kept.get(letter.reason)
        if kept is None:
            kept = self._kept[letter.reason] = deque(maxlen=KEPT)
        kept.append(
            _Example(letter, record.received.rfc3339, record.value[:HEAD_BYTES], len(record.value))
        )

    def as_tree(self) -> dict[str, list[dict[str, Any]]]:
        """Write them by reason, the last first, with nothing in them that is not printable."""
        return {
            reason: [_write(each) for each in reversed(kept)] for reason, kept in self._kept.items()
        }


def _write(example: _Example) -> dict[str, Any]:
    letter = example.letter
    return {
        "dlq_id": letter.dlq_id,
        "received_at": example.received_at,
        "layer": letter.layer,
        "detail": printable(letter.detail),
        "device_id": printable(letter.device_id, _TEXT_CHARACTERS),
        "mqtt_topic": printable(letter.mqtt_topic, _TEXT_CHARACTERS),
        "is_copy": letter.is_copy,
        "payload_bytes": example.payload_bytes,
        "payload": _readable(example.head),
        "is_cut": example.payload_bytes > len(example.head),
    }


def _readable(head: bytes) -> str:
    r"""Write bytes as the text that they probably are; what is no UTF-8 as `\xff`."""
    return printable(head.decode("utf-8", "backslashreplace"), _PAYLOAD_CHARACTERS)
