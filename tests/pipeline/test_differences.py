import pytest

from bridge.pipeline.differences import (
    DEVICE_CHARACTERS_MAX,
    EXAMPLES_MAX,
    FIRMWARE_CHARACTERS_MAX,
    Change,
    Differences,
)
from bridge.pipeline.rule_set import DECIDED
from bridge.pipeline.verdict import Reason

HOT, OLD = Reason.OUT_OF_RANGE, Reason.TIMESTAMP_OLD


def note(
    differences: Differences,
    today: list[Reason],
    then: list[Reason],
    *,
    device_id: str = "dev-1",
    firmware: str | None = "1.0",
) -> None:
    differences.note(
        {reason: f"today {reason}" for reason in today},
        {reason: f"then {reason}" for reason in then},
        device_type="boiler",
        device_id=device_id,
        firmware=firmware,
    )


def counted(differences: Differences) -> dict[tuple[str, str, str], int]:
    return {
        (change, reason, device_type): count
        for (change, reason, device_type), count in differences.verdicts.items()
        if count
    }


@pytest.mark.parametrize(
    ("today", "then", "of_reading", "of_reasons"),
    [
        ([], [HOT], "newly_fails", {HOT: "newly_fails"}),
        ([HOT], [], "newly_passes", {HOT: "newly_passes"}),
        ([HOT], [HOT], "unchanged", {HOT: "unchanged"}),
        ([HOT], [OLD], "unchanged", {HOT: "newly_passes", OLD: "newly_fails"}),
        ([HOT, OLD], [OLD], "unchanged", {HOT: "newly_passes", OLD: "unchanged"}),
        ([OLD], [OLD, HOT], "unchanged", {OLD: "unchanged", HOT: "newly_fails"}),
    ],
)
def test_a_reading_is_counted_once_and_each_of_its_reasons_by_itself(
    today: list[Reason], then: list[Reason], of_reading: str, of_reasons: dict[str, str]
) -> None:
    differences = Differences()

    note(differences, today, then)

    assert {(change, reason, "boiler"): 1 for reason, change in of_reasons.items()} == counted(
        differences
    )
    assert [of_reading] == [each for each, count in differences.readings.items() if count]
    assert 1 == differences.judged
    changed = {reason: change for reason, change in of_reasons.items() if change != "unchanged"}
    assert changed == {key.reason: key.change for key, _ in differences.groups()}


def test_readings_that_pass_both_sets_are_a_count_and_no_group() -> None:
    differences = Differences()

    differences.pass_both("boiler")
    differences.pass_both("pump", 3)

    assert {("unchanged", "none", "boiler"): 1, ("unchanged", "none", "pump"): 3} == counted(
        differences
    )
    assert (4, []) == (differences.judged, differences.groups())


def test_every_series_of_a_type_is_there_from_its_first_reading_on() -> None:
    differences = Differences()
    of_a_type = 1 + len(DECIDED) * len(Change)
    assert of_a_type == len(differences.verdicts)

    note(differences, [], [HOT])

    assert 2 * of_a_type == len(differences.verdicts)


def test_the_last_devices_are_examples_each_once_with_its_detail() -> None:
    differences = Differences()
    for number in [0, 1, 2, 1, 3]:
        note(differences, [], [HOT], device_id=f"dev-{number}")

    ((_, group),) = differences.groups()

    assert 5 == group.count
    assert EXAMPLES_MAX == len(group.examples)
    assert [("dev-2", "then out_of_range"), ("dev-1", "then out_of_range")] == list(
        group.examples.items()
    )[:2]


def test_what_newly_passes_is_explained_by_what_is_said_today() -> None:
    differences = Differences()
    note(differences, [HOT], [])

    ((_, group),) = differences.groups()

    assert {"dev-1": "today out_of_range"} == group.examples


def test_hostile_firmware_is_cut_and_escaped_and_so_is_a_device() -> None:
    differences = Differences()
    note(differences, [], [HOT], firmware="\x1b[2J" + "x" * 9_000, device_id="\r" + "y" * 9_000)
    note(differences, [], [OLD], firmware=None)

    shown = {
        key.reason: (key.firmware, list(group.examples)) for key, group in differences.groups()
    }

    assert ("", ["dev-1"]) == shown[OLD]
    firmware, (device,) = shown[HOT]
    assert firmware.startswith("\\x1b[2J")
    assert (FIRMWARE_CHARACTERS_MAX, DEVICE_CHARACTERS_MAX) == (len(firmware), len(device))
    assert (firmware + device).isprintable()


def test_made_up_firmware_displaces_no_frequent_group_and_memory_is_bounded() -> None:
    differences = Differences(groups_max=4)
    for number in range(100):
        note(differences, [], [HOT], firmware=f"made-up-{number}")
        note(differences, [], [HOT], firmware="2.0")

    groups = differences.groups()

    (first, largest), *others = groups
    assert ("2.0", 100, 0) == (first.firmware, largest.count, largest.missed_max)
    assert len(groups) <= 8
    assert not differences.is_exact
    assert all(group.missed_max >= 1 for key, group in others if key.firmware == "made-up-99")
    assert 200 == differences.verdicts[Change.NEWLY_FAILS, str(HOT), "boiler"]
