"""The bytes of a TOML file, read with a bound and parsed; what is wrong is said with its line."""

import re
import tomllib
from pathlib import Path
from typing import Any

from bridge.config.paths import key_text, too_deep
from bridge.config.regular_files import open_regular
from bridge.errors import ConfigError

_SYNTAX_LINE = re.compile(r" \(at line (\d+), column (\d+)\)$")
_TOO_DEEP = "is nested too deeply; a few levels are all there are"
_KEY_LEVELS_MAX = 256
"""More than `LEVELS_MAX`, since text that is no key, such as an OID, may look like one."""
_LONG_KEY = re.compile(
    r"""(?<![\w.-])(?:(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')[ \t]*\.[ \t]*)"""
    rf"{{{_KEY_LEVELS_MAX}}}"
)


def read(path: Path, where: str, *, bytes_max: int, remedy: str) -> bytes:
    """Read a whole file; `where` names it in messages.

    Raises:
        ConfigError: it cannot be read, or is longer than anybody's file would be.
    """
    try:
        with open_regular(path) as file:
            content = file.read(bytes_max + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is no path"
        raise ConfigError([f"{where} could not be read: {reason}; {remedy}"]) from error
    if len(content) > bytes_max:
        raise ConfigError([f"{where} is longer than {bytes_max} bytes; is it the right file?"])
    return content


def decode(content: bytes, where: str) -> str:
    """Decode a file's bytes.

    Raises:
        ConfigError: they are not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [f"{where} line {line}: is not UTF-8; save the file in that encoding"]
        ) from None


def parse(text: str, where: str) -> dict[str, Any]:
    """Parse a file's text.

    Raises:
        ConfigError: it is no TOML.
    """
    _see_that_no_key_is_long(text, where)
    try:
        tree = tomllib.loads(text)
    except RecursionError:
        raise ConfigError([f"{where}: {_TOO_DEEP}"]) from None
    except ValueError as error:
        raise ConfigError([_explain(str(error), text, where)]) from None
    path = too_deep(tree)
    if path is not None:
        raise ConfigError([f"{where}: {key_text(path[:2])}: {_TOO_DEEP}"])
    return tree


def _see_that_no_key_is_long(text: str, where: str) -> None:
    """Refuse a key of very many levels, on which tomllib would spend minutes."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") >= _KEY_LEVELS_MAX and _LONG_KEY.search(line):
            raise ConfigError([f"{where} line {number}: {_TOO_DEEP}"])


def _explain(reason: str, text: str, where: str) -> str:
    place = _SYNTAX_LINE.search(reason)
    if place is None:
        last = text.count("\n") + 1
        return f"{where} line {last}: is no valid TOML: {reason}"
    line, column = place[1], place[2]
    return (
        f"{where} line {line}: is no valid TOML: {reason[: place.start()]}, column {column};"
        " a line is key = value, and text stands in quotes"
    )
