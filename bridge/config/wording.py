"""What msgspec says of a wrong value, in the words of the file and with a remedy."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from bridge.config import shape
from bridge.config.paths import KeyPath, at, looks_secret, quoted, shown
from bridge.config.sections import BridgeConfig, Section

_NEVER_INLINE = 'a secret is never inline; write {key} = {{ file = "..." }}, or env or credential'
PROPERTIES: KeyPath = ("kafka", "properties")

_WRONG_WORD = "Invalid enum value"
_BOUND = re.compile(r"[<>]|of length")
_IS_BARE = re.compile(r"[-+]?[0-9_]+(\.[0-9_]+)?|true|false").fullmatch

# Why a bound stands where it does, where the bare bound would only make people wonder.
_REASONS: Mapping[KeyPath, str] = {
    ("mqtt", "client_id"): (
        "the session, and every message that waits in it, hangs on a client id that stays the"
        ' same; write a fixed name such as "mqtt-kafka-bridge"'
    ),
    ("mqtt", "session_expiry_s"): (
        "with 0 the MQTT broker forgets the session at each disconnect, and with it every message"
        " that came meanwhile; write seconds, longer than the longest outage, such as 604800"
    ),
    ("shutdown", "drain_timeout_s"): (
        "a stop keeps 5 s of it for itself, the flush to Kafka gets the rest; 30 is the default"
    ),
}


def explain_unknown(path: KeyPath, root: type[Section] = BridgeConfig) -> str:
    """Say that there is no such key, and which one may be meant."""
    name = str(path[-1])
    known = shape.keys_at(path[:-1], root)
    close = difflib.get_close_matches(name.lower(), known, n=1)
    if close:
        return f'unknown key; meant "{close[0]}"?'
    elsewhere = [text for text in shape.all_keys(root) if text.rpartition(".")[2] == name]
    if elsewhere:
        return f'unknown key; meant "{elsewhere[0]}"?'
    return f"unknown key; known here: {', '.join(known)}"


def explain_property(path: KeyPath) -> str:
    """Say what a table among the properties may be, and what was probably meant."""
    # In TOML an unquoted dot makes a table, and librdkafka's names are full of dots.
    name = ".".join(str(level) for level in path[len(PROPERTIES) :])
    return (
        f"a property name with dots needs quotes; write {quoted(name)} = ...,"
        " or for a secret a table with file, env or credential"
    )


def explain_value(
    message: str, path: KeyPath, tree: Mapping[str, Any], root: type[Section] = BridgeConfig
) -> str:
    """Say what was expected, what is there, and what to write instead."""
    value = at(tree, path)
    key = str(path[-1])
    if shape.is_secret(path, root) and not isinstance(value, dict):
        return _NEVER_INLINE.format(key=key)
    choices = shape.choices_at(path, root)
    if choices:
        close = difflib.get_close_matches(str(value).lower(), choices, n=1)
        hint = f'; meant "{close[0]}"?' if close and not looks_secret(path) else ""
        listed = ", ".join(f'"{choice}"' for choice in choices)
        return f"Expected one of {listed}, got {shown(value, path)}{hint}"
    words = shape.words_at(path, root)
    if words and message.startswith(_WRONG_WORD):
        listed = " or ".join(f'"{word}"' for word in words)
        return f"Expected a number or {listed}, got {shown(value, path)}"
    expected = message.replace("`", "").replace(" | null", "").partition(", got ")[0]
    expected = re.sub(r"\bobject\b", "table", expected)
    text = f"{expected}, got {shown(value, path)}"
    reason = _REASONS.get(path)
    if reason is not None and _BOUND.search(expected):
        return f"{text}: {reason}"
    return text + _type_hint(expected, value, path)


def _type_hint(expected: str, value: object, path: KeyPath) -> str:
    if isinstance(value, dict) and expected.startswith("Expected array"):
        return f"; write [[{path[-1]}]]"
    if isinstance(value, str) and (kind := re.match("Expected (int|float|bool)", expected)):
        if _IS_BARE(value):
            return "; write it without quotes"
        return "; write true or false" if kind[1] == "bool" else "; write a number"
    if isinstance(value, bool | int | float) and expected.startswith("Expected str"):
        return "; write it in quotes"
    if isinstance(value, str) and expected.startswith("Expected array"):
        return "; write it in brackets"
    return ""
