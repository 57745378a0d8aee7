"""The effective configuration as TOML that could be loaded again, each value with its origin."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from bridge.config.layers import DEFAULT
from bridge.config.loading import LoadedConfig
from bridge.config.paths import KeyPath, key_text, looks_secret
from bridge.config.sections import Secret

_ORIGIN_COLUMN = 60
_HIDDEN = '"(not shown)"'


def render(loaded: LoadedConfig) -> str:
    """Write every key in force; a comment behind it says who set it."""
    tree = msgspec.json.decode(msgspec.json.encode(loaded.config))
    lines: list[str] = []
    for section, value in tree.items():
        if value is None:
            lines += ["", f"# [{section}] is not set"]
        elif isinstance(value, list):
            for index, element in enumerate(value):
                lines += ["", f"[[{section}]]"]
                lines += _pairs(element, (section, index), loaded.origins)
        else:
            lines += ["", f"[{section}]", *_pairs(value, (section,), loaded.origins)]
    return "\n".join(lines[1:]) + "\n"


def _pairs(
    table: Mapping[str, Any], path: KeyPath, origins: Mapping[str, str], prefix: str = ""
) -> Iterator[str]:
    for key, value in table.items():
        here = (*path, key)
        name = prefix + key_text((key,))
        if isinstance(value, dict) and value:
            # Dotted keys keep one value a line, and so one origin a line.
            yield from _pairs(value, here, origins, f"{name}.")
        elif isinstance(value, list) and any(isinstance(element, dict) for element in value):
            yield f"{name} = ["
            yield from (_element(each, (*here, index), origins) for index, each in enumerate(value))
            yield "]"
        elif value is not None:
            text = f"{name} = {_literal(value, here, table)}"
            yield f"{text:<{_ORIGIN_COLUMN}} # {origins.get(key_text(here), DEFAULT)}"
        elif not _is_source(here, table):
            yield f"# {name} is not set"


def _element(table: Mapping[str, Any], path: KeyPath, origins: Mapping[str, str]) -> str:
    """Write a table of an array on one line; whoever set one of its keys set the table."""
    pairs = [(key, value) for key, value in table.items() if value is not None]
    text = ", ".join(
        f"{key_text((key,))} = {_literal(value, (*path, key), table)}" for key, value in pairs
    )
    found = (origins.get(key_text((*path, key)), DEFAULT) for key, _ in pairs)
    origin = next((each for each in found if each != DEFAULT), DEFAULT)
    return f"{f'  {{ {text} }},':<{_ORIGIN_COLUMN}} # {origin}"


def _is_source(path: KeyPath, table: Mapping[str, Any]) -> bool:
    """Tell whether this key is one of the three sources of a secret."""
    return path[-1] in Secret.__struct_fields__ and set(table) == set(Secret.__struct_fields__)


def _literal(value: Any, path: KeyPath, table: Mapping[str, Any]) -> str:  # noqa: ANN401
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_literal(element, path, table) for element in value) + "]"
    if isinstance(value, str):
        if looks_secret(path) and not _is_source(path, table):
            return _HIDDEN
        return _basic_string(value)
    return str(value)


def _basic_string(text: str) -> str:
    """Write a TOML basic string; unlike in messages nothing is cut."""
    return '"' + "".join(_character(character) for character in text) + '"'


def _character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08X}"
