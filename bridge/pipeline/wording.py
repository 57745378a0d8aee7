"""What a device sent, made fit to be read: escaped, bounded, and cut between characters.

Details travel to terminals, logs and dashboards, so nothing in them may move a cursor, start a
line or turn the direction of the text.
"""

import re

DETAIL_CHARACTERS_MAX = 512
"""Length of `dlq.detail`: some lines of a terminal, whatever the device sent."""
CONTENT_TYPE_BYTES_MAX = 1_024
"""Of a Content Type as it goes along in a header."""
_QUOTED_CHARACTERS_MAX = 64
"""How much of one value is quoted: enough to recognise it."""
_INTEGER_BITS_MAX = 256
"""Larger integers are described, not written: Python refuses to write them from 4,300 digits."""

# C0, DEL and C1 controls, line and paragraph separators, bidirectional controls, lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _as_escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004


def escape(text: str, characters_max: int = DETAIL_CHARACTERS_MAX) -> str:
    """Write control characters as backslash escapes and end a text that is too long with `…`."""
    # Cut first as well: escaping megabytes to throw them away would be the device's choice.
    escaped = _UNSAFE.sub(_as_escape, text[: characters_max + 1])
    if len(escaped) <= characters_max:
        return escaped
    return escaped[: characters_max - 1] + "…"


def quote(value: object) -> str:  # noqa: PLR0911 - one for each type
    """Name a JSON value in a sentence, in little space whatever its size."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f'"{escape(value, _QUOTED_CHARACTERS_MAX)}"'
        case int():
            if value.bit_length() > _INTEGER_BITS_MAX:
                return f"an integer of {value.bit_length()} bits"
            return str(value)
        case float():
            return repr(value)
        case list():
            return f"a list of {len(value)}"
        case dict():
            return f"an object of {len(value)}"
        case _:
            return f"a {type(value).__name__}"


def cut(text: str, bytes_max: int) -> bytes:
    """Encode as UTF-8, at most `bytes_max` bytes, never ending inside a character."""
    encoded = text[:bytes_max].encode("utf-8", "backslashreplace")
    if len(encoded) <= bytes_max:
        return encoded
    return encoded[:bytes_max].decode("utf-8", "ignore").encode()
