import json

from bridge.config.sections import ValidationSection
from bridge.fleet.registry import Registry
from bridge.observe.shadow_facts import shadow_families, shadow_tree
from bridge.pipeline.decode import decode
from bridge.pipeline.rule_set import RuleSet
from bridge.pipeline.shadow import Shadow
from bridge.pipeline.verdict import Reason


def make_shadow() -> Shadow:
    rules = RuleSet(ValidationSection())
    return Shadow(
        today=rules,
        on_trial=rules,
        registry=Registry(),
        decode=decode,
        sample_ratio=0.5,
        chance=float,
        on_fault=lambda _: None,
    )


def note(shadow: Shadow, firmware: str, *, device_id: str = "dev-1") -> None:
    shadow.differences.note(
        {},
        {Reason.OUT_OF_RANGE: "metrics.temperature is 41"},
        device_type="boiler",
        device_id=device_id,
        firmware=firmware,
    )


def samples(shadow: Shadow | None) -> dict[str, float]:
    return {
        " ".join([each.name, *each.labels.values()]): each.value
        for family in shadow_families(shadow)
        for each in family.samples
        if each.value
    }


def test_without_rules_on_trial_there_is_no_series_and_the_status_says_off() -> None:
    assert [] == list(shadow_families(None))
    assert {"state": "off"} == shadow_tree(None)


def test_metrics_have_closed_labels_and_no_firmware_and_no_device() -> None:
    shadow = make_shadow()
    for number in range(500):
        note(shadow, f"made-up-{number}", device_id=f"dev-{number}")
    shadow.differences.pass_both("unknown", 3)
    shadow.left_out, shadow.faults = 7, 2

    assert {
        "bridge_shadow_verdicts_total newly_fails out_of_range boiler": 500,
        "bridge_shadow_verdicts_total unchanged none unknown": 3,
        "bridge_shadow_readings_total judged": 503,
        "bridge_shadow_readings_total left_out": 7,
        "bridge_shadow_readings_total failed": 2,
    } == samples(shadow)


def test_every_series_is_there_before_anything_comes() -> None:
    verdicts, readings = shadow_families(make_shadow())

    assert (25, 3) == (len(verdicts.samples), len(readings.samples))


def test_the_status_names_the_largest_groups_by_firmware_and_quotes_no_payload() -> None:
    shadow = make_shadow()
    for number in range(30):
        note(shadow, f"1.{number}")
    note(shadow, "2.0\x1b\u202e", device_id="dev-2")
    note(shadow, "2.0\x1b\u202e", device_id="dev-3")
    shadow.left_out = 7

    tree = shadow_tree(shadow)

    assert ("on", 0.5, 32, 7, 0) == (
        tree["state"],
        tree["sample_ratio"],
        tree["judged"],
        tree["left_out"],
        tree["failed"],
    )
    assert {"newly_fails": 32, "newly_passes": 0, "unchanged": 0} == tree["readings"]
    assert (31, True, 20) == (
        tree["groups"],
        tree["groups_are_exact"],
        len(tree["largest_groups"]),
    )
    assert {
        "change": "newly_fails",
        "reason": "out_of_range",
        "device_type": "boiler",
        "firmware": "2.0\\x1b\\u202e",
        "readings": 2,
        "readings_at_most": 2,
        "devices": ["dev-2", "dev-3"],
    } == tree["largest_groups"][0]
    assert "metrics.temperature" not in json.dumps(tree)
