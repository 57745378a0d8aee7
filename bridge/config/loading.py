"""From a file, the environment and arguments to one checked configuration, or to every problem."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bridge.config import (
    format_rules,
    kafka_rules,
    on_disk,
    rules,
    shadow_rules,
    silence_rules,
    validation_rules,
)
from bridge.config.converting import Conversion
from bridge.config.layers import Layers
from bridge.config.paths import KeyPath, key_text, leaves
from bridge.config.problems import Problem
from bridge.config.sections import BridgeConfig
from bridge.errors import ConfigError

BATCH_BYTES_MAX: Final = 1_048_576
"""`payload_bytes_max` of a batch route that names none."""

_LINE = re.compile(r'config file "(?:[^"\\]|\\.)*" line (\d+)')


class LoadedConfig(msgspec.Struct, frozen=True):
    """A configuration that passed every rule, and what should be said of it."""

    config: BridgeConfig
    origins: Mapping[str, str]
    """Of each key, written as `route[0].filter`: `default`, or the line, variable or argument."""
    warnings: tuple[str, ...]
    """What works but is probably not meant; one line each, like a problem."""


def load(
    path: Path,
    *,
    environment: Mapping[str, str],
    overrides: Sequence[str] = (),
    reads_files: bool = True,
) -> LoadedConfig:
    """Load the file and what overrides it; without `reads_files` secrets and keys may be absent.

    Raises:
        ConfigError: with every problem there is, one line each.
    """
    layers = Layers()
    layers.add_file(path)
    layers.add_environment(environment)
    layers.add_overrides(overrides)

    conversion = Conversion(layers.tree, BridgeConfig)
    config = _fill_batch_routes(conversion.convert(), layers.tree)
    findings = [
        *rules.check(config),
        *kafka_rules.check(config.kafka),
        *validation_rules.check(config),
        *shadow_rules.check(config),
        *silence_rules.check(config),
        *format_rules.check(config),
    ]
    if reads_files:
        findings += on_disk.check(config, environment)
    findings = _still_true(findings, conversion)

    problems = [*conversion.problems, *(found for found in findings if not found.is_warning)]
    texts = layers.problems + [layers.render(problem) for problem in problems]
    if texts:
        raise ConfigError(sorted(dict.fromkeys(texts), key=_place))
    return LoadedConfig(
        config=config,
        origins=_origins(config, layers),
        warnings=tuple(layers.render(found) for found in findings),
    )


def _fill_batch_routes(config: BridgeConfig, tree: Mapping[str, Any]) -> BridgeConfig:
    """Give batch routes the bound that is theirs where they name none."""
    written = tree.get("route")
    if not isinstance(written, list) or len(written) != len(config.route):
        return config
    routes = tuple(
        msgspec.structs.replace(route, payload_bytes_max=BATCH_BYTES_MAX)
        if route.kind == "batch" and "payload_bytes_max" not in table
        else route
        for route, table in zip(config.route, written, strict=True)
    )
    return msgspec.structs.replace(config, route=routes)


def _still_true(findings: Sequence[Problem], conversion: Conversion[BridgeConfig]) -> list[Problem]:
    """Leave out what was found of a default that only stands where a wrong value stood."""
    wrong = {problem.path for problem in conversion.problems}
    kept = []
    for found in findings:
        paths = [conversion.original(path) for path in (found.path, *found.also)]
        if not any(_is_under(path, wrong) or _holds(path, wrong) for path in paths):
            kept.append(msgspec.structs.replace(found, path=paths[0]))
    return kept


def _is_under(path: KeyPath, wrong: set[KeyPath]) -> bool:
    return any(path[:length] in wrong for length in range(1, len(path) + 1))


def _holds(path: KeyPath, wrong: set[KeyPath]) -> bool:
    """Tell whether something in this array or table was wrong, and so taken out of it."""
    return any(each[: len(path)] == path for each in wrong)


def _origins(config: BridgeConfig, layers: Layers) -> dict[str, str]:
    tree = msgspec.json.decode(msgspec.json.encode(config))
    return {key_text(path): layers.origin(path) for path, _ in leaves(tree)}


def _place(problem: str) -> tuple[bool, int]:
    """Sort as a reader goes through the file; what is not of the file comes last."""
    match = _LINE.match(problem)
    return (match is None, int(match[1]) if match else 0)
