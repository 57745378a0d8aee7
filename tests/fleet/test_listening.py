"""What `watch` tells of records in Kafka: each silence once, whoever owns the device."""

import pytest
from hypothesis import given, settings, strategies as st

from bridge.fleet.silence_facts import SilenceRules
from bridge.fleet.timeline import Said
from tests.fleet.silences import fleet
from tests.fleet.watchers import BACK_S, BEGAN_S, PLACES, Log, Watcher, place_of

DEVICES = fleet(24)
SILENT = DEVICES[5]
OTHERS = [each for each in DEVICES if each != SILENT]
TOLD_S = 200
"""By then a silence of three minutes is told: five seconds for what may come late, and a bucket."""


def spoken(log: Log, devices: list[bytes], from_s: int, to_s: int) -> None:
    """Let each speak once a minute, spread over it."""
    for second in range(from_s, to_s):
        log.speak([each for each in devices if int(each[7:]) % 60 == second % 60], second + 0.5)


def pass_by(
    watchers: list[Watcher], devices: list[bytes], from_s: int, to_s: int
) -> list[tuple[int, str, bytes]]:
    """Let seconds pass; return what was told when."""
    told = []
    log = watchers[0].log
    for second in range(from_s, to_s):
        spoken(log, devices, second, second + 1)
        for each in watchers:
            told += [
                (second, type(noticed.fact).__name__, getattr(noticed.fact, "device", b""))
                for noticed in each.poll(second + 1)
            ]
    return told


def names(log: Log) -> list[tuple[str, bytes]]:
    return [(each.name, each.device) for each in log.alerts]


def test_a_silence_is_told_once_and_its_end_too() -> None:
    watcher = Watcher(Log(), 0)
    assert [] == pass_by([watcher], DEVICES, 0, 600)

    told = pass_by([watcher], OTHERS, 600, 1_200)
    told += pass_by([watcher], DEVICES, 1_200, 1_800)

    assert [("DeviceSilent", SILENT), ("DeviceRecovered", SILENT)] == [each[1:] for each in told]
    silent_at, recovered_at = (each[0] for each in told)
    assert 545 + 180 <= silent_at <= 545 + TOLD_S
    assert 1_200 <= recovered_at <= 1_275


def test_a_backlog_that_is_being_read_is_no_silence() -> None:
    log = Log()
    spoken(log, DEVICES, 0, 3_000)
    watcher = Watcher(log, 3_000)

    told = []
    for second in range(3_000, 3_100):  # Three records a partition and second: slower than real.
        told += watcher.poll(second, at_most=3)

    assert not watcher.listening.is_live
    assert [] == told


def test_a_partition_without_a_leader_makes_nobody_silent() -> None:
    log = Log()
    watcher = Watcher(log, 0)
    pass_by([watcher], DEVICES, 0, 600)

    for second in range(600, 1_800):
        spoken(log, DEVICES, second, second + 1)
        assert [] == watcher.poll(second + 1, unanswered=PLACES[:1])

    assert [] == pass_by([watcher], DEVICES, 1_800, 2_400)


@pytest.mark.parametrize("outage_s", [100, 200, 3_000])
def test_an_hour_without_any_bridge_makes_nobody_silent_but_who_died_in_it(outage_s: int) -> None:
    watcher = Watcher(Log(), 0)
    pass_by([watcher], DEVICES, 0, 600)

    assert [] == pass_by([watcher], [], 600, 600 + outage_s)
    told = pass_by([watcher], OTHERS, 600 + outage_s, 1_200 + outage_s)

    assert [("DeviceSilent", SILENT)] == [each[1:] for each in told]


def test_many_at_once_are_told_as_one_by_each_watcher() -> None:
    watcher = Watcher(Log(), 0, rules=SilenceRules(fleet_min=10))
    pass_by([watcher], DEVICES, 0, 600)

    told = pass_by([watcher], DEVICES[:8], 600, 1_200)
    told += pass_by([watcher], DEVICES, 1_200, 1_800)

    assert ["FleetSilence", "FleetRecovered"] == [each[1] for each in told]


def test_a_silence_of_the_fleet_is_not_told_again_by_the_next_owner() -> None:
    rules = SilenceRules(fleet_min=10)
    log = Log()
    pass_by([Watcher(log, 0, rules=rules)], DEVICES, 0, 600)
    pass_by([Watcher(log, 600, rules=rules)], DEVICES[:8], 600, 1_200)
    assert [("FleetSilence", b"")] == names(log)

    pass_by([Watcher(log, 1_200, rules=rules)], DEVICES[:8], 1_200, 1_500)
    assert [("FleetSilence", b"")] == names(log)
    pass_by([Watcher(log, 1_500, rules=rules)], DEVICES, 1_500, 1_800)

    assert [("FleetSilence", b""), ("FleetRecovered", b"")] == names(log)


def test_the_next_owner_tells_nothing_again_and_the_recovery_of_what_another_told() -> None:
    log = Log()
    pass_by([Watcher(log, 0)], DEVICES, 0, 600)
    pass_by([Watcher(log, 600)], OTHERS, 600, 1_200)
    assert [("DeviceSilent", SILENT)] == names(log)

    two = [Watcher(log, 1_200, PLACES[:2]), Watcher(log, 1_200, PLACES[2:])]
    assert [] == pass_by(two, OTHERS, 1_200, 1_500)
    pass_by([Watcher(log, 1_500)], DEVICES, 1_500, 1_700)

    assert [("DeviceSilent", SILENT), ("DeviceRecovered", SILENT)] == names(log)


def test_a_recovery_is_told_of_a_silence_that_began_before_all_that_is_read_back() -> None:
    log = Log()
    pass_by([Watcher(log, 0)], DEVICES, 0, 600)
    pass_by([Watcher(log, 600)], OTHERS, 600, 2_000)

    again = Watcher(log, 2_000, back_s=300.0)
    pass_by([again], OTHERS, 2_000, 2_300)
    pass_by([again], DEVICES, 2_300, 2_400)

    assert [("DeviceSilent", SILENT), ("DeviceRecovered", SILENT)] == names(log)


def test_who_fell_silent_while_nobody_watched_is_told_then_and_who_came_back_is_not() -> None:
    log = Log()
    pass_by([Watcher(log, 0)], DEVICES, 0, 600)
    spoken(log, OTHERS[1:], 600, 1_200)
    spoken(log, OTHERS, 1_200, 1_300)

    told = pass_by([Watcher(log, 1_300)], OTHERS, 1_300, 1_320)

    assert [(1_300, "DeviceSilent", SILENT)] == told


def test_what_a_spool_gives_late_is_a_sign_of_life_while_it_is_not_too_old() -> None:
    log = Log()
    watcher = Watcher(log, 0)
    pass_by([watcher], DEVICES, 0, 600)

    told = []
    for second in range(600, 1_200):
        spoken(log, OTHERS, second, second + 1)
        if second % 60 == 0:
            log.write(Said(SILENT, second - 100.0))
        told += watcher.poll(second + 1)

    assert [] == told


def test_a_will_is_told_at_once_and_by_no_later_owner_again() -> None:
    log = Log()
    pass_by([Watcher(log, 0)], DEVICES, 0, 600)
    watcher = Watcher(log, 600)
    log.write(Said(SILENT, 601.0, is_online=False))
    pass_by([watcher], OTHERS, 602, 620)
    assert [("DeviceOffline", SILENT)] == names(log)

    later = Watcher(log, 1_200)
    spoken(log, OTHERS, 620, 1_200)
    pass_by([later], OTHERS, 1_200, 1_300)
    log.write(Said(SILENT, 1_300.0, is_online=True))
    pass_by([later], OTHERS, 1_301, 1_400)

    assert [("DeviceOffline", SILENT), ("DeviceOnline", SILENT)] == names(log)


def test_a_retained_presence_is_of_the_past_and_a_device_that_nobody_knows_is_no_news() -> None:
    log = Log()
    watcher = Watcher(log, 0)
    pass_by([watcher], OTHERS, 0, 300)

    log.write(Said(b"stranger", 300.5, is_online=False, is_retained=True))
    log.write(Said(b"sensor-1", 300.5, is_online=True, is_retained=True))

    assert [] == pass_by([watcher], OTHERS, 301, 400)


def test_a_device_that_moved_to_the_partition_of_another_is_not_told() -> None:
    log = Log()
    stranger = next(each for each in DEVICES if place_of(each) != PLACES[0])
    watcher = Watcher(log, 0, PLACES[:1])
    for second in range(600):  # As it was before partitions were added.
        spoken(log, DEVICES, second, second + 1)
        if second % 60 == 0 and second < 300:
            log.records[PLACES[0]].append(Said(stranger, BEGAN_S + second))
        watcher.poll(second + 1)

    assert [] == log.alerts


@settings(max_examples=30, deadline=None)
@given(
    silences=st.lists(
        st.tuples(st.integers(0, 23), st.integers(300, 1_500), st.integers(100, 900)), max_size=5
    ),
    handovers=st.lists(st.tuples(st.integers(10, 2_400), st.integers(1, 4)), max_size=4),
)
def test_any_handing_over_tells_what_one_who_is_never_relieved_tells(
    silences: list[tuple[int, int, int]], handovers: list[tuple[int, int]]
) -> None:
    alone, shared = Log(), Log()
    one, owners = [Watcher(alone, 0)], [Watcher(shared, 0)]
    due = dict(handovers)
    for second in range(2_400):
        gone = {DEVICES[who] for who, begins, lasts in silences if 0 <= second - begins < lasts}
        for log in (alone, shared):
            spoken(log, [each for each in DEVICES if each not in gone], second, second + 1)
        if (count := due.get(second)) is not None:
            owners = [Watcher(shared, second + 1, PLACES[at::count]) for at in range(count)]
        for each in (*one, *owners):
            each.poll(second + 1)

    assert sorted(alone.alerts) == sorted(shared.alerts)
    assert BACK_S > 2_400
