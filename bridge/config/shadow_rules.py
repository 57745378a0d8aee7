"""Rules of [shadow], and what it makes of [validation]."""

from collections.abc import Iterator, Mapping

import msgspec

from bridge.config.problems import Problem
from bridge.config.sections import BridgeConfig, ShadowSection, TypeSection, ValidationSection
from bridge.config.validation_rules import (
    NAME_CHARACTERS_MAX,
    check_ranges,
    check_recalls,
    check_types,
    name_problem,
)


def check(config: BridgeConfig) -> Iterator[Problem]:
    """Yield everything that is wrong or doubtful in the rules on trial."""
    shadow = config.shadow
    if shadow is None:
        return
    yield from check_ranges(shadow.ranges, ("shadow", "ranges"))
    yield from check_types(shadow.types, ("shadow", "types"))
    recalled = shadow.firmware_recalled or ()
    yield from check_recalls(recalled, ("shadow", "firmware_recalled"))
    for index, name in enumerate(shadow.metrics_required):
        if problem := name_problem(name, NAME_CHARACTERS_MAX):
            yield Problem(("shadow", "metrics_required", index), f"a name in metrics {problem}")
    if len(set(shadow.metrics_required)) > shadow.metrics_max:
        yield Problem(
            ("shadow", "metrics_max"),
            f"{shadow.metrics_max} is less than the {len(set(shadow.metrics_required))} names of"
            " shadow.metrics_required, so no reading could pass; raise it, or require fewer",
            also=(("shadow", "metrics_required"),),
        )
    if config.registry is None:
        yield from _check_idle(shadow)
    if not shadow.metrics_required and shadow.metrics_max == ShadowSection().metrics_max:
        yield from _check_same(config, shadow)


def shadowed(validation: ValidationSection, shadow: ShadowSection) -> ValidationSection:
    """Give `validation` as it would be with what `shadow` changes in it."""
    types: dict[str, TypeSection] = dict(validation.types)
    for name, section in shadow.types.items():
        known = types.get(name, TypeSection()).ranges
        types[name] = TypeSection(ranges={**known, **section.ranges})
    changes: Mapping[str, float | tuple[str, ...] | None] = {
        "timestamp_future_max_s": shadow.timestamp_future_max_s,
        "timestamp_age_max_s": shadow.timestamp_age_max_s,
        "firmware_recalled": shadow.firmware_recalled,
    }
    return msgspec.structs.replace(
        validation,
        ranges={**validation.ranges, **shadow.ranges},
        types=types,
        **{name: value for name, value in changes.items() if value is not None},
    )


def _check_idle(shadow: ShadowSection) -> Iterator[Problem]:
    for name, is_set in (
        ("types", bool(shadow.types)),
        ("firmware_recalled", bool(shadow.firmware_recalled)),
    ):
        if is_set:
            yield Problem(
                ("shadow", name),
                "is used only with a registry, without which layer 4 is off and no device has a"
                " type; write [registry], or remove it",
                also=(("registry",),),
                is_warning=True,
            )


def _check_same(config: BridgeConfig, shadow: ShadowSection) -> Iterator[Problem]:
    if shadowed(config.validation, shadow) == config.validation:
        yield Problem(
            ("shadow",),
            "says nothing that [validation] does not say, so nothing can differ; write a rule to"
            " try, such as ranges.temperature = [-40, 85], or remove it",
            is_warning=True,
        )
