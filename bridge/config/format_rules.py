"""Rules of what payloads are: the kind of a route, its format, and the tables that both need."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from bridge.config.layout_rules import check_layouts, layout_bytes
from bridge.config.paths import KeyPath, quoted
from bridge.config.problems import Problem
from bridge.config.protobuf_rules import check_mappings, check_package
from bridge.config.sections import BridgeConfig, Route

BATCH_FORMATS: Final = frozenset(("json", "msgpack", "cbor"))
_TABLES: Final = ("layout", "protobuf")
"""Keys of a route, and the tables that describe payloads which do not describe themselves."""


def check(config: BridgeConfig) -> Iterator[Problem]:
    """Yield what keeps payloads from being read, and what is said of them but never used."""
    yield from check_layouts(config.layout)
    yield from check_mappings(config.protobuf)
    for index, route in enumerate(config.route):
        path: KeyPath = ("route", index)
        yield from _check_kind(path, route)
        yield from _check_route(path, route, config)
    if config.protobuf:
        yield from check_package(("protobuf",))
    for name in _TABLES:
        yield from _check_use(name, config)


def _check_kind(path: KeyPath, route: Route) -> Iterator[Problem]:
    kind: tuple[KeyPath, ...] = ((*path, "kind"),)
    if route.kind == "batch" and route.format not in BATCH_FORMATS:
        yield Problem(
            (*path, "format"),
            f"{quoted(route.format)} cannot hold a batch; write json, msgpack or cbor,"
            " or let each reading be a message of its own",
            also=kind,
        )
    if route.kind == "opaque" and route.format != "json":
        yield Problem(
            (*path, "format"),
            "is never read on an opaque route, whose payloads are carried as they are; remove it",
            also=kind,
            is_warning=True,
        )
    for name in _TABLES:
        if route.kind != "telemetry" and getattr(route, name) is not None:
            yield Problem(
                (*path, name),
                f"is never read on a route of kind {route.kind}; remove it, or write"
                ' kind = "telemetry"',
                also=kind,
            )


def _check_route(path: KeyPath, route: Route, config: BridgeConfig) -> Iterator[Problem]:
    if route.kind != "telemetry":
        return
    yield from _check_layout_of_route(path, route.format, route.layout, config.layout)
    layout = config.layout.get(route.layout or "")
    if layout is not None and layout_bytes(layout) > route.payload_bytes_max:
        yield Problem(
            (*path, "payload_bytes_max"),
            f"{route.payload_bytes_max} is less than the {layout_bytes(layout)} bytes of layout"
            f" {quoted(route.layout or '')}, so every payload would be too large; raise it",
            also=((*path, "layout"), ("layout", route.layout or "")),
        )
    if route.format == "protobuf" and not config.protobuf:
        yield from check_package((*path, "format"))
    if route.protobuf is not None and route.protobuf not in config.protobuf:
        yield _no_table(path, "protobuf", route.protobuf, config.protobuf)


def _check_layout_of_route(
    path: KeyPath, format_name: str, layout: str | None, layouts: Mapping[str, object]
) -> Iterator[Problem]:
    if format_name == "binary" and layout is None:
        yield Problem(
            (*path, "format"),
            '"binary" needs a layout; write layout = "NAME" in the route, and a table'
            " [layout.NAME] that says what the bytes are",
            also=((*path, "layout"),),
        )
    elif layout is not None and layout not in layouts:
        yield _no_table(path, "layout", layout, layouts)
    elif layout is not None and format_name != "binary":
        yield Problem(
            (*path, "layout"),
            f"a layout is for binary payloads, but the format is {quoted(format_name)};"
            ' write format = "binary", or remove layout',
            also=((*path, "format"),),
        )


def _no_table(path: KeyPath, key: str, name: str, tables: Mapping[str, object]) -> Problem:
    known = ", ".join(map(quoted, tables)) or "none"
    what = {"layout": "layout", "protobuf": "protobuf table"}[key]
    return Problem(
        (*path, key),
        f"{quoted(name)} is no {what} of this file; there is: {known}",
        also=((key, name),),
    )


def _check_use(key: str, config: BridgeConfig) -> Iterator[Problem]:
    """Warn of a table that no route names: it was probably meant for one."""
    tables: Mapping[str, Any] = getattr(config, key)
    named = {getattr(route, key) for route in config.route}
    for name in tables:
        if name not in named:
            yield Problem(
                (key, name),
                f"is named by no route, so it is never used; write {key} = {quoted(name)} in one,"
                " or remove it",
                is_warning=True,
            )
