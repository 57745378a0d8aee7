import msgspec
import pytest

from bridge.config.sections import BridgeConfig, ShadowSection, ValidationSection
from bridge.fleet.registry import UNREGISTERED, DeviceEntry
from bridge.pipeline.rule_set import NOTHING_FOUND, RuleSet, behind_us_of, is_judgeable
from bridge.pipeline.verdict import Reason

SECOND_US = 1_000_000
RULES = ValidationSection(timestamp_future_max_s=5, timestamp_age_max_s=60)
GOOD = {"metrics": {"temperature": 20, "humidity": 30}}


def rules(**options: object) -> RuleSet:
    return RuleSet(RULES, table="shadow", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("behind_us", [-5 * SECOND_US, 0, 60 * SECOND_US, None])
def test_what_keeps_every_rule_fails_for_nothing(behind_us: int | None) -> None:
    found = rules(metrics_required=["humidity"], metrics_max=2).find(GOOD, "d", None, behind_us)

    assert found is NOTHING_FOUND


@pytest.mark.parametrize(
    ("behind_us", "reason", "detail"),
    [
        (
            -5 * SECOND_US - 1,
            Reason.TIMESTAMP_FUTURE,
            "5.000001 s ahead of the server clock, at most 5 s (shadow.timestamp_future_max_s)",
        ),
        (
            60 * SECOND_US + 1,
            Reason.TIMESTAMP_OLD,
            "60.000001 s behind the server clock, at most 60 s (shadow.timestamp_age_max_s)",
        ),
    ],
)
def test_a_time_beyond_its_bound_names_bound_and_key(
    behind_us: int, reason: Reason, detail: str
) -> None:
    assert {reason: f"timestamp is {detail}"} == rules().find(GOOD, "d", None, behind_us)


def test_a_missing_metric_is_named_and_of_many_the_first_three() -> None:
    names = [f"m{number}" for number in range(5)]

    found = rules(metrics_required=["humidity", *names]).find(GOOD, "d", None, 0)
    one = rules(metrics_required=["m0"]).find(GOOD, "d", None, 0)

    text = 'metrics lacks "m0", "m1", "m2", ... (shadow.metrics_required)'
    assert {Reason.SCHEMA_MISMATCH: text} == found
    assert {Reason.SCHEMA_MISMATCH: 'metrics lacks "m0" (shadow.metrics_required)'} == one


def test_too_many_metrics_are_told_with_the_bound() -> None:
    text = "metrics has 2 entries, at most 1 (shadow.metrics_max)"

    assert {Reason.SCHEMA_MISMATCH: text} == rules(metrics_max=1).find(GOOD, "d", None, 0)


def test_every_rule_speaks_though_another_would_have_rejected() -> None:
    hot = {"metrics": {"temperature": 1e9}}

    found = rules(metrics_required=["x"]).find(hot, "d", UNREGISTERED, 61 * SECOND_US)

    assert {
        Reason.SCHEMA_MISMATCH,
        Reason.TIMESTAMP_OLD,
        Reason.OUT_OF_RANGE,
        Reason.DEVICE_UNKNOWN,
    } == set(found)
    assert "(shadow.ranges)" in found[Reason.OUT_OF_RANGE]


def test_the_rules_on_trial_are_those_of_shadow_over_those_of_today() -> None:
    config = BridgeConfig(
        validation=RULES,
        shadow=ShadowSection(ranges={"temperature": (0.0, 10.0)}, firmware_recalled=("1.0",)),
    )
    on_trial = RuleSet.on_trial(config)
    assert on_trial is not None
    message = {**GOOD, "metadata": {"firmware_version": "1.0"}}

    found = on_trial.find(message, "d", DeviceEntry(), 61 * SECOND_US)

    assert {
        Reason.TIMESTAMP_OLD,
        Reason.OUT_OF_RANGE,
        Reason.FIRMWARE_RECALLED,
    } == set(found)
    assert found[Reason.FIRMWARE_RECALLED].endswith("(shadow.firmware_recalled)")
    assert RuleSet.on_trial(msgspec.structs.replace(config, shadow=None)) is None


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("1970-01-01T00:00:01Z", 9 * SECOND_US),
        (20, -10 * SECOND_US),
        (10**30, None),
        ("yesterday", None),
        (True, None),
        (None, None),
    ],
    ids=["text", "a number", "beyond any calendar", "words", "true", "null"],
)
def test_only_a_time_that_a_record_can_hold_is_compared(sent: object, expected: int | None) -> None:
    assert expected == behind_us_of({"timestamp": sent}, 10 * SECOND_US)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"metrics": {}}, True),
        ({"metrics": {}, "metadata": {}}, True),
        ({"metrics": {}, "metadata": None}, False),
        ({"metrics": []}, False),
        ({}, False),
        ([], False),
        (None, False),
    ],
)
def test_only_what_has_the_shape_of_telemetry_is_judged(message: object, *, expected: bool) -> None:
    assert expected is is_judgeable(message)
