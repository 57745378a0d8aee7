"""The registry as a TOML file: entries, or everything that is wrong with it at once.

Theory of operation: a file that is right is converted whole, which is fast. Only where that fails
are the devices looked at one by one, and those that are wrong go through the machinery of the
configuration, which names each value with its line and a remedy.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from bridge.config import toml_text
from bridge.config.converting import PROBLEMS_MAX, Conversion
from bridge.config.lines import lines_of
from bridge.config.paths import KeyPath, key_text
from bridge.config.problems import Problem
from bridge.config.rules import DEVICE_ID_CHARACTERS
from bridge.config.sections import Section
from bridge.config.validation_rules import TYPE_CHARACTERS_MAX, name_problem
from bridge.errors import ConfigError
from bridge.fleet.registry import Circle, DeviceEntry, Interning

FILE_BYTES_MAX: Final = 67_108_864
"""Some 600,000 devices."""
DEVICE_ID_CHARACTERS_MAX: Final = 64
SITE_CHARACTERS_MAX: Final = 256
_DEVICE: Final = "device"
_PACKED: Final = msgspec.json.Decoder(dict[str, DeviceEntry])
_PACKED_DEVICES: Final = 1_000


class RegistryFile(Section, frozen=True):
    """The root of the file."""

    device: dict[str, DeviceEntry] = msgspec.field(default_factory=dict)


def parse_registry(content: bytes, where: str) -> dict[str, DeviceEntry]:
    """Read the entries of a file; `where` names it in messages.

    Raises:
        ConfigError: With every problem there is, one line each.
    """
    entries: dict[str, DeviceEntry] = {}
    pool = Interning()
    for part in _read_packed(content, where):
        for device_id, entry in _PACKED.decode(part).items():
            entries[device_id] = pool.intern(entry)
    return entries


def _read_packed(content: bytes, where: str) -> list[bytes]:
    """Read the entries into a few blocks of bytes.

    What is kept would else lie scattered among the remains of parsing, and hold their pages: 160 MB
    for 100,000 devices instead of 28 to 45 (measured).
    """
    text = toml_text.decode(content, where)
    tree = toml_text.parse(text, where)
    try:
        entries = msgspec.convert(tree, RegistryFile).device
    except msgspec.ValidationError:
        problems = _explain(tree)
    else:
        problems = [] if _is_sound(entries) else list(_check(entries))
    if not problems and not entries:
        problems = [Problem((_DEVICE,), "there is no device; write [device.ID] for each")]
    if problems:
        raise ConfigError(_render(problems, text, where))
    items = list(entries.items())
    return [
        msgspec.json.encode(dict(items[start : start + _PACKED_DEVICES]))
        for start in range(0, len(items), _PACKED_DEVICES)
    ]


def _is_sound(entries: Mapping[str, DeviceEntry]) -> bool:
    """Look once at each distinct entry: a check of every device would cost more than the rest."""
    distinct = set(entries.values())
    return all(map(is_device_id, entries)) and not any(
        problem for entry in distinct for problem in _entry_problems(entry)
    )


def is_device_id(text: str) -> bool:
    """Tell whether a text is a device id: 1 to 64 of A-Z, a-z, 0-9, `_` and `-`."""
    return 1 <= len(text) <= DEVICE_ID_CHARACTERS_MAX and DEVICE_ID_CHARACTERS.issuperset(text)


def _check(entries: Mapping[str, DeviceEntry]) -> Iterator[Problem]:
    for device_id, entry in entries.items():
        path: KeyPath = (_DEVICE, device_id)
        if not is_device_id(device_id):
            yield Problem(
                path,
                f"is no device id; it has 1 to {DEVICE_ID_CHARACTERS_MAX} characters of"
                " A-Z a-z 0-9 _ -",
            )
        for key, text in _entry_problems(entry):
            yield Problem((*path, *key), text)


def _entry_problems(entry: DeviceEntry) -> Iterator[tuple[KeyPath, str]]:
    """Find what no bound of a single value says; TOML writes numbers that no setting takes."""
    if entry.type and (problem := name_problem(entry.type, TYPE_CHARACTERS_MAX)):
        yield ("type",), f"a device type {problem}"
    location = entry.location
    if isinstance(location, str) and (problem := name_problem(location, SITE_CHARACTERS_MAX)):
        yield ("location",), f"the name of a site {problem}"
    if entry.gateway and not is_device_id(entry.gateway):
        yield ("gateway",), "is no device id; write that of the gateway, of A-Z a-z 0-9 _ -"
    numbers: list[tuple[KeyPath, float | None]] = [
        (("expected_interval_s",), entry.expected_interval_s)
    ]
    if isinstance(location, Circle):
        numbers += [(("location", name), getattr(location, name)) for name in _CIRCLE]
    if entry.limits is not None:
        numbers.append((("limits", "per_device_per_s"), entry.limits.per_device_per_s))
    for path, number in numbers:
        if number is not None and not math.isfinite(number):
            yield path, f"Expected a finite number, got {number}"


_CIRCLE: Final = Circle.__struct_fields__


def _explain(tree: dict[str, Any]) -> list[Problem]:
    """Convert the wrong devices alone, each with what is wrong in it."""
    devices = tree.get(_DEVICE)
    rest = {key: value for key, value in tree.items() if key != _DEVICE}
    if isinstance(devices, dict):
        rest[_DEVICE] = dict(_wrong_devices(devices))
    elif _DEVICE in tree:
        rest[_DEVICE] = devices
    conversion = Conversion(rest, RegistryFile)
    converted = conversion.convert()
    return [*conversion.problems, *_check(converted.device)]


def _wrong_devices(devices: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    found = 0
    for device_id, table in devices.items():
        try:
            entry = msgspec.convert(table, DeviceEntry)
        except msgspec.ValidationError:
            pass
        else:
            if is_device_id(device_id) and not any(_entry_problems(entry)):
                continue
        yield device_id, table
        found += 1
        if found == PROBLEMS_MAX:
            return


def _render(problems: list[Problem], text: str, where: str) -> list[str]:
    """Write problems in the order of the file; more than anybody reads are counted."""
    lines = lines_of(text)
    placed = sorted(
        (
            (_line_of(problem.path, lines), f"{key_text(problem.path)}: {problem.text}")
            for problem in problems
        ),
        key=lambda each: each[0],
    )
    texts = [
        f"{where} line {line}: {problem}" if line else f"{where}: {problem}"
        for line, problem in placed[:PROBLEMS_MAX]
    ]
    if len(placed) > PROBLEMS_MAX:
        texts.append(f"{where}: and {len(placed) - PROBLEMS_MAX} more problems")
    return texts


def _line_of(path: KeyPath, lines: Mapping[KeyPath, int]) -> int:
    """Find the line of a key, else of the table it would stand in; 0 where there is none."""
    for length in range(len(path), 0, -1):
        line = lines.get(path[:length])
        if line is not None:
            return line
    return 0
