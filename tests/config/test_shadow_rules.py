from pathlib import Path

import pytest

from bridge.config.sections import RANGES, ShadowSection, TypeSection, ValidationSection
from bridge.config.shadow_rules import shadowed
from tests.config.support import load_text, problems_of, warnings_of

REGISTRY = "\n[registry]\nfile = 'devices.toml'"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            "[shadow.ranges]\nco2 = [5, 5]",
            "line 2: shadow.ranges.co2: the low end, 5, is not below the high end, 5;"
            " write [low, high]",
            id="a range without room",
        ),
        pytest.param(
            "[shadow.types.boiler.ranges]\nco2 = [5]",
            "line 2: shadow.types.boiler.ranges.co2: a range has two ends; write [low, high],"
            " or [] for a name without a range",
            id="a range of a type with one end",
        ),
        pytest.param(
            "[shadow]\nfirmware_recalled = ['>=x']",
            'line 2: shadow.firmware_recalled[0]: ">=x" compares with "x"',
            id="no version",
        ),
        pytest.param(
            '[shadow]\nmetrics_required = ["a\\u001b"]',
            "line 2: shadow.metrics_required[0]: a name in metrics has a control or unprintable"
            " character; remove it",
            id="a name that moves the cursor",
        ),
        pytest.param(
            "[shadow]\nmetrics_required = ['a', 'b']\nmetrics_max = 1",
            "line 3: shadow.metrics_max: 1 is less than the 2 names of shadow.metrics_required, so"
            " no reading could pass; raise it, or require fewer",
            id="more required than allowed",
        ),
        pytest.param(
            "[shadow]\nsample_ratio = 0",
            "line 2: shadow.sample_ratio: Expected float > 0.0, got 0",
            id="nothing is drawn",
        ),
        pytest.param(
            "[shadow]\nrange = 1", 'line 2: shadow.range: unknown key; meant "ranges"?', id="typo"
        ),
    ],
)
def test_a_wrong_rule_on_trial_is_told_with_its_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    (told,) = problems_of(tmp_path, text)

    assert told.removeprefix('config file "x.toml" ').startswith(problem)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("[shadow]\nsample_ratio = 0.5", "nothing can differ", id="no rule at all"),
        pytest.param(
            "[shadow.ranges]\nhumidity = [0, 100]", "nothing can differ", id="the range of today"
        ),
        pytest.param(
            "[shadow]\nmetrics_max = 9\nfirmware_recalled = ['1.0']",
            "is used only with a registry",
            id="a recall that nobody reads",
        ),
    ],
)
def test_a_doubtful_rule_on_trial_is_a_warning(tmp_path: Path, text: str, words: str) -> None:
    (told,) = warnings_of(tmp_path, text)

    assert words in told


def test_nothing_is_on_trial_unless_it_is_asked_for(tmp_path: Path) -> None:
    assert load_text(tmp_path, "").config.shadow is None


def test_what_is_left_out_is_as_today_and_tables_are_joined_by_name() -> None:
    today = ValidationSection(
        timestamp_age_max_s=60,
        firmware_recalled=("1.0",),
        ranges={"co2": (0.0, 9.0)},
        types={"boiler": TypeSection(ranges={"co2": (1.0, 2.0), "o2": (3.0, 4.0)})},
    )

    then = shadowed(
        today,
        ShadowSection(
            timestamp_future_max_s=5,
            ranges={"humidity": (), "co2": (0.0, 5.0)},
            types={"boiler": TypeSection(ranges={"co2": ()}), "pump": TypeSection()},
        ),
    )

    assert (5, 60, ("1.0",)) == (
        then.timestamp_future_max_s,
        then.timestamp_age_max_s,
        then.firmware_recalled,
    )
    assert {**RANGES, "humidity": (), "co2": (0.0, 5.0)} == then.ranges
    assert {"co2": (), "o2": (3.0, 4.0)} == then.types["boiler"].ranges
    assert {"boiler", "pump"} == set(then.types)
    assert {"boiler"} == set(today.types), "today's rules were changed"


def test_an_empty_list_of_recalls_lifts_those_of_today() -> None:
    today = ValidationSection(firmware_recalled=("1.0",))

    assert () == shadowed(today, ShadowSection(firmware_recalled=())).firmware_recalled
