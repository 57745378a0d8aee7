from pathlib import Path

import msgspec
import pytest

from benchmarks.figures import EVERYTHING
from benchmarks.profiles import DEVICES, messages, write_registry
from benchmarks.rules import BASE, NAMES, main, ratios, table, variants
from bridge.config.loading import load
from bridge.config.sections import BridgeConfig
from bridge.fleet.registry import Registry
from bridge.fleet.registry_file import parse_registry
from bridge.pipeline.judge import Judge
from tests.benchmarks.given import given_drain
from tests.support.bridge_process import to_toml
from tests.support.kafka_choice import ChosenKafka
from tests.support.mosquitto import find_mosquitto

_DRAINS = [
    given_drain(BASE, 0, cpu_s=10.0),
    given_drain(EVERYTHING, 0, cpu_s=12.0),
    given_drain(EVERYTHING, 1, cpu_s=28.0),
    given_drain(BASE, 1, cpu_s=20.0),
]


@pytest.fixture
def configs(tmp_path: Path) -> dict[str, BridgeConfig]:
    found = {}
    for name, sections in variants(tmp_path / "devices.toml").items():
        path = tmp_path / "bridge.toml"
        path.write_text(to_toml(sections), encoding="utf-8")
        found[name] = load(path, environment={}, reads_files=False).config
    return found


def test_each_variant_has_the_rules_that_it_is_named_after(
    configs: dict[str, BridgeConfig],
) -> None:
    def rules(name: str) -> list[bool]:
        config = configs[name]
        return [
            any(config.validation.ranges.values()),
            config.registry is not None,
            config.limits.per_device_per_s > 0,
            config.dedup.keys_max > 0,
            config.silence.multiplier > 0,
        ]

    assert [False] * 5 == rules(BASE)
    assert [True] * 5 == rules(EVERYTHING)
    alone = [rules(name) for name in NAMES[1:-1]]
    assert [[row == column for column in range(5)] for row in range(5)] == alone


def test_the_registry_has_every_device_and_no_message_is_flagged(
    tmp_path: Path, configs: dict[str, BridgeConfig]
) -> None:
    path = tmp_path / "devices.toml"
    write_registry(path)
    registry = Registry()
    registry.replace(parse_registry(path.read_bytes(), "devices.toml"))
    judge = Judge(configs[EVERYTHING].validation)

    found = [
        judge.judge(msgspec.json.decode(each.payload), device_id, registry.look_up(device_id))
        for each in messages(DEVICES)
        for device_id in [each.mqtt_topic.split("/")[1]]
    ]

    assert DEVICES == len(registry)
    assert all(flags == () for flags in found)


def test_ratios_are_taken_within_a_round_and_the_table_has_them() -> None:
    assert [1.2, 1.4] == ratios(_DRAINS, EVERYTHING)
    lines = table(_DRAINS).splitlines()
    assert 3 == len(lines)
    assert "1.30 (1.20-1.40)" in lines[2]


@pytest.mark.slow
@pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")
def test_a_small_run_measures_everything_against_the_base(
    kafka: ChosenKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["--messages=2000", "--pairs=1", "--only", EVERYTHING, "--kafka", kafka.bootstrap])

    assert 0 == code
    assert EVERYTHING in capsys.readouterr().out
