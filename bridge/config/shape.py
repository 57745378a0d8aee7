"""What structs such as those of sections.py declare, asked by path: keys, types, choices.

`root` is the struct of the whole file: the configuration, or another file of the same style.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin, get_type_hints

from bridge.config.paths import KeyPath, children
from bridge.config.sections import BridgeConfig, Secret, Section


def keys_at(path: KeyPath, root: type[Section] = BridgeConfig) -> Sequence[str]:
    """Return the keys that a table may have; none where any key is allowed."""
    struct = struct_of(_type_at(path, root))
    return struct.__struct_fields__ if struct is not None else ()


def choices_at(path: KeyPath, root: type[Section] = BridgeConfig) -> Sequence[str]:
    """Return the words a key can be, where only certain words are allowed."""
    options = _options_at(path, root)
    words = [option for option in options if isinstance(option, str)]
    return words if len(words) == len(options) else []


def words_at(path: KeyPath, root: type[Section] = BridgeConfig) -> Sequence[str]:
    """Return the words a key can be, also where numbers are allowed beside them."""
    return [option for option in _options_at(path, root) if isinstance(option, str)]


def _options_at(path: KeyPath, root: type[Section]) -> list[Any]:
    """List the words, and the types, of which a key's value is one."""
    options: list[Any] = []
    for part in get_args(_type_at(path, root)):
        if part is not type(None):
            options += [part] if get_origin(part) is None else get_args(part)
    return options


def is_secret(path: KeyPath, root: type[Section] = BridgeConfig) -> bool:
    """Tell whether this key takes a secret and nothing else."""
    kind = _type_at(path, root)
    return kind is Secret or Secret in get_args(kind)[:1]


def unknown_keys(
    tree: object, path: KeyPath = (), root: type[Section] = BridgeConfig
) -> Iterator[KeyPath]:
    """Yield the path of each key that no struct declares, outermost only."""
    known = keys_at(path, root) if isinstance(tree, dict) else ()
    for level, value in children(tree):
        if known and level not in known:
            yield (*path, level)
        else:
            yield from unknown_keys(value, (*path, level), root)


def struct_of(kind: Any) -> type[Section] | None:  # noqa: ANN401 - a type, of any form
    """Return the struct that a type is, or may be, or has as elements; of any keys it is none."""
    if get_origin(kind) is dict:
        return None
    for candidate in (kind, *get_args(kind)):
        if isinstance(candidate, type) and issubclass(candidate, Section):
            return candidate
    return None


@functools.cache
def _hints(struct: type[Section]) -> dict[str, Any]:
    return get_type_hints(struct)


def _type_at(path: KeyPath, root: type[Section]) -> Any:  # noqa: ANN401
    kind: Any = root
    for level in path:
        if isinstance(level, int):
            kind = get_args(kind)[0] if get_origin(kind) is tuple else None
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
        else:
            struct = struct_of(kind)
            kind = _hints(struct).get(level) if struct is not None else None
    return kind


def _list_keys(struct: type[Section], prefix: str) -> Iterator[str]:
    for name, kind in get_type_hints(struct).items():
        inner = struct_of(kind)
        if inner is None or inner is Secret:
            yield prefix + name
        else:
            yield from _list_keys(inner, f"{prefix}{name}.")


@functools.cache
def all_keys(root: type[Section]) -> Sequence[str]:
    """List every key of a file, written with its tables; a route's without its index."""
    return tuple(_list_keys(root, ""))


ALL_KEYS = all_keys(BridgeConfig)
"""Every key of the configuration."""
