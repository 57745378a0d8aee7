from typing import Any

import pytest

from bridge.config.sections import TypeSection, ValidationSection
from bridge.fleet.registry import DeviceEntry
from bridge.pipeline.judge import (
    DETAIL_CHARACTERS_MAX,
    SEMANTIC_FLAGS_MAX,
    Judge,
    warnings_of,
)
from bridge.pipeline.verdict import Flag, Layer, Reason

RULES = ValidationSection(
    ranges={"odd name": (0.0, 1.5), "pressure": ()},
    units={"temperature": "Cel", "battery_level": "%"},
    types={"boiler": TypeSection(ranges={"temperature": (0.0, 400.0), "humidity": ()})},
)
BOILER = DeviceEntry(type="boiler")
NUMBER = "expected a number from -50 Cel to 150 Cel (validation.ranges)"


def flags(
    metrics: dict[str, Any],
    metadata: dict[str, Any] | None = None,
    entry: DeviceEntry | None = None,
    rules: ValidationSection = RULES,
) -> list[Flag]:
    message: dict[str, Any] = {"device_id": "dev-1", "metrics": metrics}
    if metadata is not None:
        message["metadata"] = metadata
    return list(Judge(rules).judge(message, "dev-1", entry))


@pytest.mark.parametrize(
    ("metrics", "detail"),
    [
        pytest.param(
            {"temperature": 150.5},
            "metrics.temperature is 150.5 Cel, above 150 Cel, the highest allowed"
            " (validation.ranges)",
            id="above, with its unit",
        ),
        pytest.param(
            {"temperature": -51},
            "metrics.temperature is -51 Cel, below -50 Cel, the lowest allowed (validation.ranges)",
            id="below",
        ),
        pytest.param(
            {"humidity": 101},
            "metrics.humidity is 101, above 100, the highest allowed (validation.ranges)",
            id="without unit",
        ),
        pytest.param(
            {"odd name": 2},
            'metrics."odd name" is 2, above 1.5, the highest allowed (validation.ranges)',
            id="a name in quotes",
        ),
        pytest.param(
            {"temperature": 10**4_000},
            "metrics.temperature is an integer of 13288 bits Cel, above 150 Cel, the highest"
            " allowed (validation.ranges)",
            id="a huge integer",
        ),
        pytest.param({"temperature": "hot"}, f'metrics.temperature is "hot", {NUMBER}', id="words"),
        pytest.param(
            {"temperature": "\x1b[2J\u202e"},
            rf'metrics.temperature is "\x1b[2J\u202e", {NUMBER}',
            id="words that move the cursor",
        ),
        pytest.param({"temperature": None}, f"metrics.temperature is null, {NUMBER}", id="null"),
        pytest.param({"temperature": True}, f"metrics.temperature is true, {NUMBER}", id="true"),
        pytest.param(
            {"temperature": float("nan")}, f"metrics.temperature is nan, {NUMBER}", id="nan"
        ),
    ],
)
def test_a_metric_that_is_not_in_its_range_is_told_with_value_and_bound(
    metrics: dict[str, Any], detail: str
) -> None:
    assert [Flag(Reason.OUT_OF_RANGE, Layer.SEMANTIC, detail)] == flags({"good": 1, **metrics})


@pytest.mark.parametrize(
    ("metadata", "detail"),
    [
        pytest.param(
            {"battery_level": 101},
            "metadata.battery_level is 101 %, above 100 %, the highest allowed (validation.ranges)",
            id="number",
        ),
        pytest.param(
            {"battery_level": {"a": 1}},
            "metadata.battery_level is an object of 1, expected a number from 0 % to 100 %"
            " (validation.ranges)",
            id="object",
        ),
        pytest.param(
            {"signal_strength": []},
            "metadata.signal_strength is a list of 0, expected a number from -120 to 0"
            " (validation.ranges)",
            id="list",
        ),
    ],
)
def test_metadata_are_held_to_the_same_ranges(metadata: dict[str, Any], detail: str) -> None:
    assert [detail] == [flag.detail for flag in flags({"good": 1}, metadata)]


@pytest.mark.parametrize(
    ("metrics", "metadata"),
    [
        ({"temperature": -50, "humidity": 100.0, "pressure": 5, "battery_level": 0}, None),
        ({"temperature": 150.0, "unheard_of": 1e308, "text": "x"}, {}),
        ({"x": None}, {"battery_level": 100, "signal_strength": -120.0, "temperature": 150}),
    ],
    ids=["low ends", "high ends", "metadata"],
)
def test_what_lies_within_its_range_or_has_none_is_not_flagged(
    metrics: dict[str, Any], metadata: dict[str, Any] | None
) -> None:
    assert [] == flags(metrics, metadata)


@pytest.mark.parametrize(
    ("entry", "metrics", "details"),
    [
        pytest.param(BOILER, {"temperature": 380}, [], id="wider for the type"),
        pytest.param(BOILER, {"humidity": 500}, [], id="none for the type"),
        pytest.param(
            BOILER,
            {"temperature": -1, "battery_level": 101},
            [
                (
                    "metrics.temperature is -1 Cel, below 0 Cel, the lowest allowed"
                    " (validation.types.boiler.ranges)"
                ),
                (
                    "metrics.battery_level is 101 %, above 100 %, the highest allowed"
                    " (validation.ranges)"
                ),
            ],
            id="each rule by its name",
        ),
        pytest.param(
            DeviceEntry(type="fridge"),
            {"temperature": 380},
            [
                (
                    "metrics.temperature is 380 Cel, above 150 Cel, the highest allowed"
                    " (validation.ranges)"
                )
            ],
            id="another type",
        ),
    ],
)
def test_a_device_type_may_have_ranges_of_its_own(
    entry: DeviceEntry, metrics: dict[str, Any], details: list[str]
) -> None:
    assert details == [flag.detail for flag in flags(metrics, entry=entry)]


def test_a_message_that_is_wrong_throughout_says_so_in_few_words() -> None:
    names = [f"{'n' * 100}{number}" for number in range(200)]
    rules = ValidationSection(ranges=dict.fromkeys(names, (0.0, 1.0)))

    found = flags(dict.fromkeys(names, "x" * 10_000), rules=rules)

    assert SEMANTIC_FLAGS_MAX == len(found)
    assert found[-1].detail.endswith("; and so are 188 more")
    assert max(len(flag.detail) for flag in found) <= DETAIL_CHARACTERS_MAX


def test_a_flag_becomes_a_warning_that_names_its_reason() -> None:
    found = flags({"humidity": 101})

    assert [
        "out_of_range: metrics.humidity is 101, above 100, the highest allowed (validation.ranges)"
    ] == warnings_of(found)
