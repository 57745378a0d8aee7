"""Many devices that fall silent at once are one fact."""

import pytest

from bridge.fleet.silence_facts import (
    DeviceRecovered,
    DeviceSilent,
    FleetRecovered,
    FleetSilence,
)
from bridge.fleet.silence_state import GROUPED, SILENT
from tests.fleet.silences import fleet, names, pass_by, restart, silence, speak, sweep


def test_many_at_once_are_one_silence_of_the_fleet_and_none_of_their_own() -> None:
    found, devices = silence(), fleet(200)
    speak(found, devices, 0, 600)

    told = speak(found, devices[150:], 600, 1_800)
    back = speak(found, devices, 1_800, 2_400)

    (fact,) = told
    assert isinstance(fact, FleetSilence)
    assert 40 <= fact.count <= 150
    assert 180.0 <= fact.since_ago_s <= 240.0
    assert fact.count / 200 == fact.share
    assert "FleetRecovered" == names(back)[0]
    silent = {fact.device for fact in back if isinstance(fact, DeviceSilent)}
    recovered = {fact.device for fact in back if isinstance(fact, DeviceRecovered)}
    assert silent == recovered
    assert len(silent) < 20, "less than half of what a silence of the fleet takes"
    assert 0 == found.count(GROUPED) + found.count(SILENT)


def test_fewer_than_the_fleets_share_are_told_one_by_one() -> None:
    found, devices = silence(), fleet(200)
    speak(found, devices, 0, 600)

    told = speak(found, devices[30:], 600, 1_800)

    assert ["DeviceSilent"] * 30 == names(told)


def test_a_small_fleet_is_told_one_by_one() -> None:
    found, devices = silence(), fleet(10)
    speak(found, devices, 0, 600)

    assert ["DeviceSilent"] * 10 == names(speak(found, [], 600, 1_800))


def test_who_only_hesitates_with_the_others_is_not_told_and_the_rest_is() -> None:
    found, devices = silence(), fleet(60)
    speak(found, devices, 0, 600)

    told = speak(found, [], 600, 725)
    told += speak(found, devices[15:], 725, 1_800)

    assert ["DeviceSilent"] * 15 == names(told)


def test_who_stays_silent_when_the_fleet_recovers_is_told_then() -> None:
    found, devices = silence(), fleet(100)
    speak(found, devices, 0, 600)
    assert ["FleetSilence"] == names(speak(found, [], 600, 1_200))

    told = speak(found, devices[3:], 1_200, 1_320)

    recovered, *others = told
    assert isinstance(recovered, FleetRecovered)
    assert set(devices[:3]) == {fact.device for fact in others if isinstance(fact, DeviceSilent)}
    assert 3 == recovered.silent == found.count(SILENT) == len(others)


def test_a_silence_of_the_fleet_survives_a_restart() -> None:
    found, devices = silence(), fleet(100)
    speak(found, devices, 0, 600)
    assert ["FleetSilence"] == names(speak(found, [], 600, 1_200))

    restarted = restart(found, 1_200.0, away_s=60.0)
    restarted.hearing(0.0)
    assert [] == speak(restarted, [], 0, 600)
    back = restarted.heard(devices, 600.0), sweep(restarted, 600.0)

    (recovered,) = back[1]
    assert [] == [*back[0]]
    assert isinstance(recovered, FleetRecovered)
    assert 0 == recovered.silent
    assert recovered.since_ago_s == pytest.approx(660.0 + 60.0 + 600.0, abs=60.0)


def test_a_fleet_that_was_not_looked_at_for_long_is_still_one_silence() -> None:
    found, devices = silence(), fleet(1_000)
    found.heard(devices, 0.0)

    facts = [fact for _, fact in pass_by(found, 5_000, 5_010)]

    assert [FleetSilence(1_000, 1.0, facts[0].since_ago_s)] == facts  # type: ignore[union-attr]


def test_a_group_waits_an_interval_at_most_for_those_that_may_be_quiet_for_hours() -> None:
    hourly, each_minute = fleet(30), [b"other--%d" % number for number in range(25)]
    found = silence(lambda device: 3_600.0 if device in hourly else 60.0, fleet_min=50)
    found.heard(hourly, 0.0)
    found.heard(each_minute, 7_300.0)

    told = pass_by(found, 7_300, 7_600)

    assert ["DeviceSilent"] * 25 == names(fact for _, fact in told)
    assert {True} == {7_540 <= at_s <= 7_545 for at_s, _ in told}
