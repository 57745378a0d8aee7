"""Rules of [layout]: a binary layout gives a whole message, and each value one that can be."""

from collections.abc import Iterator, Mapping

from bridge.config.paths import KeyPath, quoted
from bridge.config.problems import Problem
from bridge.config.sections import BinaryField, BinaryLayout

METRICS_MAX = 1_000
_FLOATS = frozenset(("f32", "f64"))
_TIMESTAMPS = frozenset(("u32", "i32", "u64", "i64"))
_F32_MAX = 3.4028234663852886e38
_SCALE_MAX = 1e18
"""Beyond it a 64-bit integer could leave what a float holds exactly enough to be of use."""


def check_layouts(layouts: Mapping[str, BinaryLayout]) -> Iterator[Problem]:
    """Yield what keeps a layout from being decoded, with the remedy."""
    for name, layout in layouts.items():
        yield from _check_layout(("layout", name), layout)


def layout_bytes(layout: BinaryLayout) -> int:
    """Count the bytes that every payload of a layout has."""
    return sum(1 if each.type == "bool" else int(each.type[1:]) // 8 for each in layout.fields)


def _check_layout(path: KeyPath, layout: BinaryLayout) -> Iterator[Problem]:
    fields = layout.fields
    timestamps = [index for index, each in enumerate(fields) if each.to == "timestamp"]
    if not timestamps:
        yield Problem(
            (*path, "fields"),
            "has no timestamp, and a message without one is never valid; add a field such as"
            ' { name = "timestamp", type = "u32", to = "timestamp", unit = "s" }',
        )
    for index in timestamps[1:]:
        yield Problem(
            (*path, "fields", index, "to"),
            f"fields[{timestamps[0]}] is the timestamp already;"
            ' write "metrics", "metadata" or "ignored"',
        )
    metrics = sum(each.to == "metrics" for each in fields)
    if not 1 <= metrics <= METRICS_MAX:
        yield Problem(
            (*path, "fields"),
            f"has {metrics} metrics, and a message is valid with 1 to {METRICS_MAX};"
            ' a field is one with to = "metrics", which is the default',
        )
    taken: dict[tuple[str, str], int] = {}
    for index, each in enumerate(fields):
        where: KeyPath = (*path, "fields", index)
        if each.to in {"metrics", "metadata"}:
            first = taken.setdefault((each.to, each.name), index)
            if first != index:
                yield Problem(
                    (*where, "name"),
                    f"{quoted(each.name)} is the name of fields[{first}] already, and only one of"
                    " them would be in the record; choose another name",
                )
        yield from _check_timestamp(where, each)
        yield from _check_scale(where, each)
        yield from _check_missing(where, each)


def _check_timestamp(path: KeyPath, field: BinaryField) -> Iterator[Problem]:
    if field.to != "timestamp":
        if field.unit is not None:
            yield Problem(
                (*path, "unit"),
                "belongs to the timestamp only; remove it, units of metrics stand in"
                " validation.units",
            )
        return
    if field.type not in _TIMESTAMPS:
        yield Problem(
            (*path, "type"),
            f"{quoted(field.type)} cannot hold a time since 1970; write"
            ' "u32", "i32", "u64" or "i64"',
        )
    elif field.unit is None:
        yield Problem(path, 'a timestamp needs its unit; write unit = "s" or unit = "ms"')
    elif field.unit == "ms" and field.type in {"u32", "i32"}:
        yield Problem(
            (*path, "unit"),
            f"milliseconds since 1970 do not fit into {field.type}, which ends in February 1970;"
            ' write type = "u64" or "i64", or unit = "s"',
        )
    for name, unset in (("scale", 1), ("offset", 0), ("missing", None)):
        if getattr(field, name) != unset:
            yield Problem((*path, name), "means nothing on a timestamp; remove it")


def _check_scale(path: KeyPath, field: BinaryField) -> Iterator[Problem]:
    if field.to == "timestamp":
        return
    for name, unset in (("scale", 1), ("offset", 0)):
        value = getattr(field, name)
        if value == unset:
            continue
        if field.type in _FLOATS or field.type == "bool":
            yield Problem((*path, name), f"is for integers, not for {field.type}; remove it")
        elif name == "scale" and not 1 / _SCALE_MAX <= abs(value) <= _SCALE_MAX:
            yield Problem(
                (*path, name), f"{value:g} is out of bounds; write a number such as 0.1, not 0"
            )
        elif abs(value) > _SCALE_MAX or 0 < abs(value) < 1 / _SCALE_MAX:
            yield Problem((*path, name), f"{value:g} is out of bounds, 1e-18 to 1e18; change it")


def _check_missing(path: KeyPath, field: BinaryField) -> Iterator[Problem]:
    missing = field.missing
    if missing is None or field.to == "timestamp":
        return
    where = (*path, "missing")
    if field.type == "bool":
        yield Problem(
            where, "a bool has no value left that could mean that there is none; remove it"
        )
    elif field.type in _FLOATS:
        if field.type == "f32" and missing != "nan" and abs(float(missing)) > _F32_MAX:
            yield Problem(where, f"{missing:g} is no value of f32; write a smaller one, or f64")
    elif missing == "nan":
        yield Problem(where, f'"nan" is for f32 and f64; write a value of {field.type}')
    else:
        low, high = _bounds(field.type)
        if not isinstance(missing, int) or not low <= missing <= high:
            yield Problem(
                where,
                f"{missing} is no value of {field.type}, an integer from {low} to {high}; write"
                " what is on the wire, before scale and offset",
            )


def _bounds(name: str) -> tuple[int, int]:
    bits = int(name[1:])
    return (0, 2**bits - 1) if name[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
