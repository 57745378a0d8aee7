"""W3C Trace Context in User Properties: what is sound goes on, what is not is counted and stays.

The MQTT packet is a carrier like any other: the bridge starts no trace and changes none, so what it
passes on is what came. A device that says which trace it means in two ways means none.
"""

import re
from collections.abc import MutableMapping
from typing import Final

import msgspec

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
STATE_CHARACTERS_MAX: Final = 512
"""What the specification asks a carrier to hold (section 3.3.1.5)."""
MEMBERS_MAX: Final = 32
_MEMBER_KEPT_CHARACTERS: Final = 128
"""Longer members leave first where there are too many characters, as the specification has it."""
_READ_CHARACTERS_MAX: Final = 4_096
_PARENT_CHARACTERS: Final = 55
_PARENT_CHARACTERS_MAX: Final = 512
"""A later version may go on after the four fields of version 00."""

_IS_PARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]*)?"
).fullmatch
_IS_MEMBER = re.compile(
    r"[a-z0-9][a-z0-9_*/@-]{0,255}=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
).fullmatch


class TraceTally(msgspec.Struct):
    """How many messages said it wrongly."""

    traceparent: int = 0
    tracestate: int = 0


def add_repeated(properties: MutableMapping[str, str], name: str, value: str) -> None:
    """Take a second property of a name: a list goes on, a parent is none any more."""
    if name == TRACESTATE:
        if len(properties[name]) <= _READ_CHARACTERS_MAX:
            properties[name] += f",{value}"
    elif name == TRACEPARENT:
        properties[name] = ""


def keep_sound(properties: MutableMapping[str, str], tally: TraceTally) -> None:
    """Take what is malformed away, and cut a list that is too long."""
    parent, state = properties.get(TRACEPARENT), properties.pop(TRACESTATE, None)
    if parent is None:
        return  # A state of no trace means nothing, and harms nobody.
    if not is_traceparent(parent):
        del properties[TRACEPARENT]
        tally.traceparent += 1
        return
    if state is None:
        return
    sound = sound_state(state)
    if sound is None:
        tally.tracestate += 1
    elif sound:
        properties[TRACESTATE] = sound


def is_traceparent(text: str) -> bool:
    """Tell whether a text is a traceparent of version 00, or what a later one begins with."""
    if len(text) > _PARENT_CHARACTERS_MAX or _IS_PARENT(text) is None:
        return False
    return not text.startswith("00-") or len(text) == _PARENT_CHARACTERS


def sound_state(text: str) -> str | None:
    """Return a tracestate that fits, empty where nothing is left; None where it is malformed."""
    if len(text) > _READ_CHARACTERS_MAX:
        return None
    text = text.strip(" \t")
    members = [each for each in (one.strip(" \t") for one in text.split(",")) if each]
    if len(members) > MEMBERS_MAX or not all(map(_IS_MEMBER, members)):
        return None
    if len(text) <= STATE_CHARACTERS_MAX:
        return text if members else ""
    return _shortened(members)


def _shortened(members: list[str]) -> str:
    """Let whole members go until the rest fits: large ones first, then from the right."""
    kept = list(members)
    for members_min in (_MEMBER_KEPT_CHARACTERS, 0):
        for position in range(len(kept) - 1, -1, -1):
            if len(",".join(kept)) <= STATE_CHARACTERS_MAX:
                return ",".join(kept)
            if len(kept[position]) > members_min:
                del kept[position]
    return ",".join(kept)
