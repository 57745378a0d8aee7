from pathlib import Path

import pytest

from bridge.config.sections import RANGES
from tests.config.support import load_text, problems_of, warnings_of

REGISTRY = "\n[registry]\nfile = 'devices.toml'"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            "[validation.ranges]\nco2 = [5, 5]",
            "line 2: validation.ranges.co2: the low end, 5, is not below the high end, 5;"
            " write [low, high]",
            id="no room between the ends",
        ),
        pytest.param(
            "[validation.ranges]\nco2 = [5]",
            "line 2: validation.ranges.co2: a range has two ends; write [low, high],"
            " or [] for a name without a range",
            id="one end",
        ),
        pytest.param(
            "[validation.ranges]\nco2 = [1, 2, 3]",
            "line 2: validation.ranges.co2: Expected array of length <= 2, got an array",
            id="three ends",
        ),
        pytest.param(
            "[validation.ranges]\nco2 = [0, 'x']",
            'line 2: validation.ranges.co2[1]: Expected float, got "x"; write a number',
            id="an end in words",
        ),
        pytest.param(
            "[validation.ranges]\nco2 = [0, inf]",
            "line 2: validation.ranges.co2[1]: Expected a finite number, got inf",
            id="an end without end",
        ),
        pytest.param(
            "[validation.ranges]\n'' = [0, 1]",
            'line 2: validation.ranges."": a name in metrics or metadata has 0 characters;'
            " write 1 to 128",
            id="no name",
        ),
        pytest.param(
            '[validation.ranges]\n"a\\u001b" = [0, 1]',
            'line 2: validation.ranges."a\\x1b": a name in metrics or metadata has a control or'
            " unprintable character; remove it",
            id="a name that moves the cursor",
        ),
        pytest.param(
            "[validation.units]\ntemperature = ''",
            'line 2: validation.units.temperature: Expected str of length >= 1, got ""',
            id="no unit",
        ),
        pytest.param(
            "[validation.units]\ntemperature = 'degrees centigrade'",
            "line 2: validation.units.temperature: a unit has 18 characters; write 1 to 16",
            id="a long unit",
        ),
        pytest.param(
            "[validation.types.boiler.ranges]\nco2 = [2, 1]" + REGISTRY,
            "line 2: validation.types.boiler.ranges.co2: the low end, 2, is not below the high end,"
            " 1; write [low, high]",
            id="range of a type",
        ),
        pytest.param(
            "[validation.types.boiler]\nrages = {}" + REGISTRY,
            'line 2: validation.types.boiler.rages: unknown key; meant "ranges"?',
            id="unknown key of a type",
        ),
        pytest.param(
            f"[validation.types.{'x' * 65}]" + REGISTRY,
            f"line 1: validation.types.{'x' * 65}: a device type has 65 characters; write 1 to 64",
            id="a long type",
        ),
        pytest.param(
            "[validation]\nfirmware_recalled = [\n'1.4.2',\n'>=x',\n]" + REGISTRY,
            'line 4: validation.firmware_recalled[1]: ">=x" compares with "x", which is no version'
            ' that has an order; write numbers with dots, as in ">=2.0,<2.0.7"',
            id="recall",
        ),
        pytest.param(
            "[validation]\nsemantic = 'boht'",
            'line 2: validation.semantic: Expected one of "forward", "dlq", "both", got "boht";'
            ' meant "both"?',
            id="mode",
        ),
        pytest.param(
            "[registry]",
            "line 1: registry: names exactly one of file or kafka_topic, got neither;"
            ' write file = "devices.toml", or kafka_topic = "device-registry"',
            id="registry nowhere",
        ),
        pytest.param(
            "[registry]\nfile = 'a'\nkafka_topic = 'b'",
            "line 1: registry: names exactly one of file or kafka_topic, got both;"
            ' write file = "devices.toml", or kafka_topic = "device-registry"',
            id="registry in two places",
        ),
        pytest.param(
            "[registry]\nkafka_topic = 'a b'",
            'line 2: registry.kafka_topic: "a b" is no Kafka topic name because of " ";'
            " it is written with A-Z a-z 0-9 . _ -",
            id="registry topic name",
        ),
        pytest.param(
            "[registry]\nkafka_topic = 'telemetry-dlq'",
            'line 2: registry.kafka_topic: "telemetry-dlq" is a topic that the bridge writes other'
            " records to; give the registry a topic of its own, with cleanup.policy=compact",
            id="registry among dead letters",
        ),
    ],
)
def test_rules_for_devices_that_cannot_hold_are_refused_with_a_remedy(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert [f'config file "x.toml" {problem}'] == problems_of(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        pytest.param(
            "[validation.units]\nwind = 'm/s'",
            'line 2: validation.units.wind: "wind" has no range, so its unit is never said; give it'
            " one in validation.ranges, or remove it",
            id="unit without range",
        ),
        pytest.param(
            "[validation.types.boiler.ranges]\ntemperature = [0, 400]",
            "line 1: validation.types: is used only with a registry, without which layer 4 is off"
            " and no device has a type; write [registry], or remove it",
            id="types without registry",
        ),
        pytest.param(
            "[validation]\nfirmware_recalled = ['1.4.2']",
            "line 2: validation.firmware_recalled: is used only with a registry, without which"
            " layer 4 is off and no device has a type; write [registry], or remove it",
            id="recall without registry",
        ),
    ],
)
def test_rules_for_devices_that_never_act_are_warned_of(
    tmp_path: Path, text: str, warning: str
) -> None:
    assert [f'config file "x.toml" {warning}'] == warnings_of(tmp_path, text)


def test_a_range_of_ones_own_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    text = "[validation.ranges]\nco2 = [0, 5000]\ntemperature = [-10, 60]\nhumidity = []"

    ranges = load_text(tmp_path, text).config.validation.ranges

    expected = {**RANGES, "co2": (0.0, 5000.0), "temperature": (-10.0, 60.0), "humidity": ()}
    assert expected == ranges


def test_one_end_of_a_default_range_can_be_set_by_argument(tmp_path: Path) -> None:
    overrides = ["validation.ranges.temperature[1]=60"]

    ranges = load_text(tmp_path, "", overrides=overrides).config.validation.ranges

    assert (-50.0, 60.0) == ranges["temperature"]
