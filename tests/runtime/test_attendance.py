"""Who is missing, and what is only that nobody could hear."""

import pytest

from bridge.fleet.silence import Silence
from bridge.fleet.silence_facts import SilenceRules, Swept
from bridge.observe.fleet_facts import Sort
from bridge.pipeline.roll import Presence
from bridge.runtime.fleet_view import FleetView
from bridge.runtime.kernel_clock import KernelClock
from tests.runtime.attendance_stand import Stand, fleet
from tests.simulation.clock import instant_at

DEVICES = fleet(600)
FEW = fleet(5)
HOUR_S = 3_600
LONELY = SilenceRules(fleet_min=10_000)
"""Everybody is told by himself."""


class Broken(Silence):
    """A machine with a bug of ours."""

    def sweep(self, now_s: float, budget: int = 0) -> Swept:
        del now_s, budget
        raise RuntimeError("broken")


def spoken(stand: Stand, devices: list[bytes] = DEVICES) -> Stand:
    """Let a fleet speak for ten minutes."""
    stand.pass_by(600, devices)
    assert [] == stand.told
    return stand


def test_a_silence_is_told_once_to_kafka_the_log_and_the_counters_and_its_end_too() -> None:
    stand = Stand()
    stand.register("sensor-4", device_type="thermometer")
    spoken(stand, FEW)

    stand.pass_by(600, FEW[:4])
    stand.speak([b"sensor-4"])
    stand.pass_by(60, FEW)

    assert [("device_silence", "sensor-4"), ("device_recovered", "sensor-4")] == stand.told
    silence, recovered = stand.records
    assert ("b1", "thermometer", 60.0) == (
        silence["client_id"],
        silence["device_type"],
        silence["expected_interval_s"],
    )
    assert 180 <= silence["silent_s"] <= 180 + 5
    assert silence["last_heard_at"] == recovered["last_heard_at"] < silence["at"] < recovered["at"]
    (event,) = stand.events("device_silent")
    assert ("sensor-4", "thermometer", 60.0) == (
        event["device_id"],
        event["device_type"],
        event["expected_interval_s"],
    )
    assert 1 == len(stand.events("device_recovered"))
    assert 1 == stand.counters.alerts["device_silence"] == stand.counters.alerts["device_recovered"]


def test_the_key_of_an_alert_is_its_device_so_that_its_alerts_keep_their_order() -> None:
    stand = spoken(Stand(), FEW)

    stand.pass_by(300, FEW[:4])

    (taken,) = stand.producer.taken
    assert ("device-alerts", b"sensor-4") == taken[:2]


@pytest.mark.parametrize("outage_s", [30, 170, 200, HOUR_S])
def test_an_outage_of_the_link_makes_nobody_silent_while_it_lasts_or_after_it(
    outage_s: int,
) -> None:
    stand = spoken(Stand())

    stand.lose_link()
    stand.is_broker_frozen = True
    stand.pass_by(outage_s)
    stand.can_hear, stand.is_broker_frozen = True, False
    stand.pass_by(600, DEVICES)

    assert [] == stand.told


def test_who_died_in_our_own_outage_is_told_after_it_and_nobody_else() -> None:
    stand = spoken(Stand(rules=LONELY))

    stand.lose_link()
    stand.is_broker_frozen = True
    stand.pass_by(HOUR_S)
    stand.can_hear, stand.is_broker_frozen = True, False
    stand.pass_by(600, DEVICES[10:])

    assert {("device_silence", each.decode()) for each in DEVICES[:10]} == set(stand.told)
    assert 10 == len(stand.told)
    assert all(each["silent_s"] >= HOUR_S for each in stand.records)


def test_a_broker_that_was_frozen_gives_first_what_it_kept_and_nobody_is_blamed_before() -> None:
    stand = spoken(Stand())

    stand.is_broker_frozen = True
    stand.pass_by(HOUR_S)
    assert [] == stand.told
    stand.is_broker_frozen = False
    stand.pass_by(8, DEVICES, every_s=8)
    stand.pass_by(600, DEVICES)

    assert [] == stand.told


def test_a_broker_that_only_answers_pings_still_proves_the_silence_of_all() -> None:
    stand = spoken(Stand(rules=LONELY), FEW)

    for _ in range(10):
        stand.is_broker_frozen = True
        stand.pass_by(29)
        stand.is_broker_frozen = False
        stand.pass_by(1)

    assert {("device_silence", each.decode()) for each in FEW} == set(stand.told)
    assert 5 == len(stand.told)


def test_a_link_that_was_dead_before_it_was_known_takes_its_time_back() -> None:
    stand = spoken(Stand())

    stand.is_broker_frozen = True
    stand.pass_by(170)  # Ten seconds before all of them would be silent.
    stand.lose_link()
    stand.pass_by(10)
    stand.can_hear, stand.is_broker_frozen = True, False
    stand.pass_by(600, DEVICES)

    assert [] == stand.told


def test_a_loop_that_stood_still_heard_nobody_and_blames_nobody() -> None:
    stand = spoken(Stand())

    stand.stand_still(HOUR_S)
    stand.pass_by(600, DEVICES)

    assert [] == stand.told


def test_a_backlog_or_a_pause_for_longer_than_a_moment_is_deaf() -> None:
    stand = spoken(Stand())

    stand.can_hear = False  # The broker answers pings, but what devices say is not read.
    stand.pass_by(HOUR_S)
    stand.can_hear = True
    stand.pass_by(600, DEVICES)

    assert [] == stand.told


def test_a_full_window_for_a_moment_does_not_put_off_the_silence_of_one() -> None:
    stand = spoken(Stand(), FEW)

    for _ in range(60):
        stand.can_hear = False
        stand.pass_by(1, FEW[:4])
        stand.can_hear = True
        stand.pass_by(4, FEW[:4])

    assert [("device_silence", "sensor-4")] == stand.told


def test_many_at_once_are_one_alert_and_so_is_their_return() -> None:
    stand = spoken(Stand())

    stand.pass_by(300, DEVICES[300:])
    assert [("fleet_silence", None)] == stand.told
    (silence,) = stand.records
    stand.pass_by(300, DEVICES)

    assert [("fleet_silence", None), ("fleet_recovered", None)] == stand.told
    assert silence["devices"] >= 20
    assert 0.0 < silence["share"] <= 1.0
    assert b"b1" == stand.producer.taken[0][1]
    assert 1 == len(stand.events("fleet_silent")) == len(stand.events("fleet_recovered"))


def test_who_is_no_longer_in_the_registry_is_expected_by_nobody() -> None:
    stand = spoken(Stand(), FEW)

    stand.attendance.registry_changed(["sensor-4"])
    stand.pass_by(HOUR_S, FEW[:4])

    assert [] == stand.told


def test_a_new_interval_of_the_registry_counts_from_its_change_on() -> None:
    intervals = dict.fromkeys(FEW, 60.0)
    stand = spoken(Stand(interval_s_of=intervals.get), FEW)

    intervals[b"sensor-4"] = 1_000.0
    stand.attendance.registry_changed([])
    stand.pass_by(600, FEW[:4])

    assert [] == stand.told


def test_a_will_is_told_at_once_and_no_silence_follows() -> None:
    stand = spoken(Stand(), FEW)

    stand.say(b"sensor-4", is_online=False)
    stand.pass_by(HOUR_S, FEW[:4])
    stand.say(b"sensor-4", is_online=True)
    stand.pass_by(2, FEW[:4])

    assert [("device_offline", "sensor-4"), ("device_online", "sensor-4")] == stand.told
    assert 1 == len(stand.events("device_offline")) == len(stand.events("device_online"))


def test_a_clock_that_is_wrong_is_told_once_and_once_that_it_is_right() -> None:
    stand = Stand()

    for ahead_s in (100.0, 0.0):
        for _ in range(120):
            stand.clock.now += 1.0
            stand.speak([b"sensor-1"], ahead_s=ahead_s)
            stand.tick()

    (wrong,) = stand.events("device_clock_wrong")
    assert ("sensor-1", -100.0) == (wrong["device_id"], wrong["offset_s"])
    assert 1 == len(stand.events("device_clock_right"))
    assert 1 == stand.counters.clocks_told_wrong


def test_a_host_whose_clock_the_whole_fleet_contradicts_is_doubted_and_judges_no_clock() -> None:
    stand = Stand()
    stand.kernel = KernelClock(is_kept=False, max_error_s=16.0)

    for _ in range(60):
        stand.clock.now += 1.0
        stand.speak(FEW, ahead_s=86_400.0)
        stand.tick()
    assert [False] == stand.trust
    assert [] == stand.events("device_clock_wrong")
    stand.kernel = KernelClock(is_kept=True, max_error_s=0.0)
    stand.pass_by(1)

    assert [False, True] == stand.trust
    (doubted,) = stand.events("host_clock_unsynchronised")
    assert ("fleet_disagrees", -86_400.0) == (doubted["cause"], doubted["fleet_drift_s"])
    assert 1 == len(stand.events("host_clock_trusted"))


def test_a_bug_in_a_sweep_is_ours_and_told_not_swallowed_by_the_loop() -> None:
    stand = spoken(Stand(), FEW)

    stand.attendance.silence = Broken(SilenceRules())
    stand.attendance.silence.hearing(stand.clock.now)
    stand.pass_by(1)

    assert ["broken"] == [str(each) for each in stand.bugs]


def test_a_bug_in_what_is_known_of_the_fleet_is_told_and_raises_nothing() -> None:
    stand = spoken(Stand(), FEW)

    stand.attendance.roll.devices += FEW  # Without their times: what no batch can be.
    stand.attendance.note([], instant_at(stand.clock.now, stand.clock.now))
    stand.pass_by(600, FEW)

    (failed,) = stand.events("attendance_failed")
    assert "ValueError" in failed["error"]
    assert "drift.py" in failed["where"]
    assert [] == stand.told


def test_who_is_silent_or_offline_is_named_and_who_was_heard_last_comes_first() -> None:
    stand = spoken(Stand(rules=LONELY), FEW)
    view = FleetView(stand.attendance, stand.alerts, stand.clock)
    assert [] == view.devices(Sort.SILENCE, 10)["devices"]

    stand.pass_by(300, FEW[2:])
    stand.pass_by(300, FEW[3:])
    stand.say(b"sensor-4", is_online=False)

    told = view.devices(Sort.SILENCE, 10)["devices"]
    assert [
        ("sensor-4", "offline"),
        ("sensor-2", "silent"),
        ("sensor-0", "silent"),
        ("sensor-1", "silent"),
    ] == [(each["device_id"], each["standing"]) for each in told]
    assert sorted(each["silent_s"] for each in told) == [each["silent_s"] for each in told]
    assert 540 <= told[-1]["silent_s"] <= 660
    assert ["sensor-4", "sensor-2"] == [
        each["device_id"] for each in view.devices(Sort.SILENCE, 2)["devices"]
    ]


def test_devices_of_a_silence_of_the_fleet_are_named_too() -> None:
    stand = spoken(Stand())
    view = FleetView(stand.attendance, stand.alerts, stand.clock)

    stand.pass_by(300)

    assert 256 == len(view.devices(Sort.SILENCE, 256)["devices"])
    assert {"grouped"} == {e["standing"] for e in view.devices(Sort.SILENCE, 9)["devices"]}


def test_a_backlog_teaches_how_it_was_measured_whatever_stands_between() -> None:
    stand = Stand(interval_s_of=lambda _: None)
    stand.pass_by(2)
    roll = stand.attendance.roll
    for hour in range(6):
        stand.clock.now += 2.0
        roll.devices += [b"plain", b"hourly"]
        roll.measured_us += [None, 1_000_000 * HOUR_S * (1 + hour)]
        roll.presences.append(Presence(1, b"another", is_online=True, is_retained=False))
        stand.attendance.note([], instant_at(stand.clock.now, stand.clock.now))

    stand.pass_by(2 * HOUR_S, FEW)

    assert [("device_silence", "plain")] == stand.told
