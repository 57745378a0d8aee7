"""Routes that the configuration had before: what the MQTT broker queued for them still comes.

A message that was published before its filter was left is carried as it would have been then: to
the same Kafka topic and with the same key, so that one that is there already is known. For that the
session memory keeps the routes of the session; one that needs a table which is gone as well
(`layout`, `protobuf`) cannot be kept.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from bridge.config.sections import BridgeConfig, Route
from bridge.runtime.session_memory import Remembered

LEFT_MAX: Final = 64
"""The newest ones; each costs messages without a route a comparison, and those with one nothing."""


def left_behind(
    config: BridgeConfig, before: Sequence[Route], left: Sequence[Route]
) -> list[Route]:
    """List the routes of earlier configurations, newest first, that this one has no filter of."""
    known = {each.filter for each in config.route}
    kept: list[Route] = []
    for route in (*before, *left):
        if route.filter not in known and _can_be_read(route, config):
            known.add(route.filter)
            kept.append(route)
    return kept[:LEFT_MAX]


def recall(memory: Remembered, config: BridgeConfig) -> list[Route]:
    """List those that the process before had; what cannot be understood is left out."""
    before: list[Route] = []
    for each in memory.routes:
        try:
            before.append(msgspec.convert(each, Route))
        except msgspec.ValidationError:
            continue  # Of a version that knew more.
    return left_behind(config, before, ())


def remember(memory: Remembered, config: BridgeConfig, left: Sequence[Route]) -> None:
    """Let the next process know what this one carries; written with the next save."""
    memory.routes = [msgspec.to_builtins(each) for each in (*config.route, *left)]


def _can_be_read(route: Route, config: BridgeConfig) -> bool:
    return (route.layout is None or route.layout in config.layout) and (
        route.protobuf is None or route.protobuf in config.protobuf
    )
