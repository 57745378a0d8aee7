"""Rules of [validation] and [registry]: ranges, units, device types, recalls, where devices are."""

from collections.abc import Iterator, Mapping, Sequence

from bridge.config.paths import KeyPath, quoted
from bridge.config.problems import Problem
from bridge.config.rules import kafka_topic_problem
from bridge.config.sections import (
    BridgeConfig,
    Range,
    RegistrySection,
    TypeSection,
    ValidationSection,
)
from bridge.config.versions import read_recall

NAME_CHARACTERS_MAX = 128
"""Of a name in metrics, and so of one that may have a range."""
TYPE_CHARACTERS_MAX = 64
UNIT_CHARACTERS_MAX = 16
_ENDS = 2
_REGISTRY: KeyPath = ("registry",)


def check(config: BridgeConfig) -> Iterator[Problem]:
    """Yield everything that is wrong or doubtful in what devices and their values are held to."""
    validation = config.validation
    yield from check_ranges(validation.ranges, ("validation", "ranges"))
    yield from _check_units(validation)
    yield from check_types(validation.types, ("validation", "types"))
    yield from check_recalls(validation.firmware_recalled, ("validation", "firmware_recalled"))
    if config.registry is None:
        yield from _check_idle(validation)
    else:
        yield from _check_registry(config, config.registry)


def name_problem(name: str, characters_max: int) -> str | None:
    """Say what keeps this from being a name that people can read in a message."""
    if not 1 <= len(name) <= characters_max:
        return f"has {len(name)} characters; write 1 to {characters_max}"
    if not name.isprintable():
        return "has a control or unprintable character; remove it"
    return None


def check_ranges(ranges: Mapping[str, Range], table: KeyPath) -> Iterator[Problem]:
    """Yield what is wrong with the names and the ends of one table of ranges."""
    for name, bounds in ranges.items():
        path = (*table, name)
        if problem := name_problem(name, NAME_CHARACTERS_MAX):
            yield Problem(path, f"a name in metrics or metadata {problem}")
        if not bounds:
            continue
        if len(bounds) != _ENDS:
            yield Problem(
                path, "a range has two ends; write [low, high], or [] for a name without a range"
            )
        elif not bounds[0] < bounds[1]:
            yield Problem(
                path,
                f"the low end, {bounds[0]:g}, is not below the high end, {bounds[1]:g};"
                " write [low, high]",
            )


def check_types(types: Mapping[str, TypeSection], table: KeyPath) -> Iterator[Problem]:
    """Yield what is wrong with what is special to device types."""
    for device_type, section in types.items():
        path = (*table, device_type)
        if problem := name_problem(device_type, TYPE_CHARACTERS_MAX):
            yield Problem(path, f"a device type {problem}")
        yield from check_ranges(section.ranges, (*path, "ranges"))


def check_recalls(recalled: Sequence[str], table: KeyPath) -> Iterator[Problem]:
    """Yield what cannot be read as a version, or a range of versions."""
    for index, text in enumerate(recalled):
        try:
            read_recall(text)
        except ValueError as error:
            yield Problem((*table, index), f"{quoted(text)} {error}")


def _check_units(validation: ValidationSection) -> Iterator[Problem]:
    have_range = {name for name, bounds in validation.ranges.items() if bounds}
    for section in validation.types.values():
        have_range |= {name for name, bounds in section.ranges.items() if bounds}
    for name, unit in validation.units.items():
        path = ("validation", "units", name)
        if problem := name_problem(unit, UNIT_CHARACTERS_MAX):
            yield Problem(path, f"a unit {problem}")
        if name not in have_range:
            yield Problem(
                path,
                f"{quoted(name)} has no range, so its unit is never said; give it one in"
                " validation.ranges, or remove it",
                is_warning=True,
            )


def _check_idle(validation: ValidationSection) -> Iterator[Problem]:
    """Warn of what is told of devices where nobody knows them."""
    for name, is_set in (
        ("types", bool(validation.types)),
        ("firmware_recalled", bool(validation.firmware_recalled)),
    ):
        if is_set:
            yield Problem(
                ("validation", name),
                "is used only with a registry, without which layer 4 is off and no device has a"
                " type; write [registry], or remove it",
                also=(_REGISTRY,),
                is_warning=True,
            )


def _check_registry(config: BridgeConfig, registry: RegistrySection) -> Iterator[Problem]:
    if (registry.file is None) == (registry.kafka_topic is None):
        named = "neither" if registry.file is None else "both"
        yield Problem(
            _REGISTRY,
            f"names exactly one of file or kafka_topic, got {named};"
            ' write file = "devices.toml", or kafka_topic = "device-registry"',
        )
    kafka_topic = registry.kafka_topic
    if kafka_topic is None:
        return
    path = (*_REGISTRY, "kafka_topic")
    if problem := kafka_topic_problem(kafka_topic):
        yield Problem(path, f"{quoted(kafka_topic)} {problem}")
    written: list[tuple[KeyPath, str]] = [
        (("route", index, "kafka_topic"), route.kafka_topic)
        for index, route in enumerate(config.route)
    ]
    written += [
        (("dead_letter", "kafka_topic"), config.dead_letter.kafka_topic),
        (("gaps", "kafka_topic"), config.gaps.kafka_topic),
    ]
    for other, taken in written:
        if taken == kafka_topic:
            yield Problem(
                path,
                f"{quoted(kafka_topic)} is a topic that the bridge writes other records to; give"
                " the registry a topic of its own, with cleanup.policy=compact",
                also=(other,),
            )
