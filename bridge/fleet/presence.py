"""What a device, or its will, says of being there: one word, or a JSON object that has it."""

from typing import Final

import msgspec

PAYLOAD_BYTES_MAX: Final = 4_096
"""A longer message is no presence; most are one word."""

_WORDS: Final = {
    **dict.fromkeys(("online", "connected", "up", "true", "1"), True),
    **dict.fromkeys(("offline", "disconnected", "lost", "down", "false", "0"), False),
}
_KEYS: Final = ("status", "state", "presence", "online", "connected")
"""The first of them that an object has is asked."""
_DECODER: Final = msgspec.json.Decoder(float_hook=float)
"""No word is a float; without the hook 4 KB of 1e300 would take 8 ms (json_text.py)."""


def read_presence(payload: bytes) -> bool | None:
    """Tell whether a message says `online` (True) or `offline`; None, it says neither."""
    if len(payload) > PAYLOAD_BYTES_MAX:
        return None
    try:
        said = _DECODER.decode(payload)
    except (ValueError, RecursionError):  # msgspec's errors are among the former.
        said = payload.decode("utf-8", "replace")
    if isinstance(said, dict):
        said = next((said[key] for key in _KEYS if key in said), None)
    if isinstance(said, bool | int):
        said = str(int(said))
    return _WORDS.get(said.strip().lower()) if isinstance(said, str) else None
