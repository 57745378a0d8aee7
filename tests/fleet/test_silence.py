"""A device that falls silent is told once, and what the bridge could not hear is no silence."""

import pytest
from hypothesis import given, settings, strategies as st

from bridge.fleet.silence import Silence
from bridge.fleet.silence_facts import (
    DeviceOffline,
    DeviceOnline,
    DeviceRecovered,
    DeviceSilent,
    SilenceFact,
    SilenceRules,
)
from bridge.fleet.silence_state import OFFLINE
from tests.fleet.silences import (
    DEVICE,
    LATE_S,
    each_minute,
    fleet,
    names,
    pass_by,
    restart,
    silence,
    sweep,
)


def test_a_device_is_told_to_be_silent_once_and_once_that_it_recovered() -> None:
    found = silence()
    found.heard([DEVICE], 0.0)

    told = pass_by(found, 0, 1_000)
    recovered = [*found.heard([DEVICE, DEVICE], 1_000.0), *found.heard([DEVICE], 1_001.0)]

    ((at_s, fact),) = told
    assert 180.0 <= at_s <= 180.0 + LATE_S
    assert DeviceSilent(DEVICE, float(at_s), 60.0) == fact
    assert [DeviceRecovered(DEVICE, 1_000.0)] == recovered


def test_a_device_that_is_heard_often_enough_is_never_told() -> None:
    found = silence()
    told: list[SilenceFact] = []
    for now_s in range(0, 10_000, 170):
        told += found.heard([DEVICE], float(now_s))
        told += [fact for _, fact in pass_by(found, now_s, now_s + 170)]

    assert [] == told


def test_one_of_two_seconds_is_judged_by_them_where_others_speak_once_an_hour() -> None:
    found = silence(lambda _: 2.0, expected_interval_s=3_600.0)
    told: list[tuple[int, SilenceFact]] = []
    for now_s in range(300):
        assert [] == list(found.heard([DEVICE], float(now_s)))
        told += pass_by(found, now_s, now_s + 1)
    assert [] == told, "heard each second"

    ((at_s, fact),) = pass_by(found, 300, 1_000)

    assert 305.0 <= at_s <= 305.0 + LATE_S
    assert DeviceSilent(DEVICE, at_s - 299.0, 2.0) == fact


@pytest.mark.parametrize(
    ("gaps_s", "learned_s"),
    [
        pytest.param([300.0] * 4, 300.0, id="regular"),
        pytest.param([300.0, 300.0, 9_000.0, 300.0], 300.0, id="with an outage"),
        pytest.param([300.0, 5.0, 320.0, 300.0], 300.0, id="with one too early"),
        pytest.param([0.1] * 400, 60.0, id="never below the expected interval"),
        pytest.param([300.0, 0.0, 0.0, 0.0, 300.0, 300.0, 300.0], 300.0, id="in bursts"),
    ],
)
def test_without_a_registry_the_interval_is_learned_from_five_messages(
    gaps_s: list[float], learned_s: float
) -> None:
    found = silence(lambda _: None, expected_interval_s=60.0)
    now_s = 0.0
    found.heard([DEVICE], now_s)
    for gap_s in gaps_s:
        assert [] == sweep(found, now_s + gap_s)
        now_s += gap_s
        found.heard([DEVICE], now_s)

    assert [] == sweep(found, now_s + 3 * learned_s - 1.0)
    facts = sweep(found, now_s + 4 * learned_s)

    (fact,) = facts
    assert isinstance(fact, DeviceSilent)
    assert learned_s == fact.expected_interval_s
    assert 4 * learned_s == pytest.approx(fact.heard_ago_s)


HOUR_US = 3_600_000_000
ONE_US = 1_795_455_324_123_000


@pytest.mark.parametrize(
    ("own_us", "learned_s"),
    [
        pytest.param([ONE_US + at * HOUR_US for at in range(6)], 3_600.0, id="oldest first"),
        pytest.param([ONE_US - at * HOUR_US for at in range(6)], 3_600.0, id="newest first"),
        pytest.param([None, *(at * HOUR_US for at in range(1, 6))], 3_600.0, id="one without"),
        pytest.param([None] * 6, 60.0, id="without any"),
        pytest.param([ONE_US] * 6, 60.0, id="a clock that stands still"),
        pytest.param([0, *(ONE_US + at * 2_000_000 for at in range(5))], 60.0, id="a clock is set"),
    ],
)
def test_a_backlog_that_comes_within_seconds_teaches_how_it_was_measured(
    own_us: list[int | None], learned_s: float
) -> None:
    found = silence(lambda _: None)
    for number, each in enumerate(own_us):
        found.heard([b"before", DEVICE, b"after"], 2.0 * number, [5, each, 7])

    learned = {
        fact.device: fact.expected_interval_s
        for _, fact in pass_by(found, 11, 12_000)
        if isinstance(fact, DeviceSilent)
    }

    assert {b"before": 60.0, DEVICE: learned_s, b"after": 60.0} == learned


def test_what_comes_in_bursts_teaches_how_often_a_burst_comes() -> None:
    found = silence(lambda _: None)
    for burst_s in range(0, 2_000, 300):
        for second in range(5):
            own_us = ONE_US + (burst_s + 60 * second) * 1_000_000
            found.heard([DEVICE], burst_s + 0.1 * second, [own_us])

    (fact,) = [fact for _, fact in pass_by(found, 1_801, 4_000)]

    assert isinstance(fact, DeviceSilent)
    assert 300.0 == pytest.approx(fact.expected_interval_s, rel=0.01)


def test_before_the_interval_is_known_there_is_no_judgement() -> None:
    found = silence(lambda _: None)
    for now_s in (0.0, 60.0, 120.0, 180.0):
        found.heard([DEVICE], now_s)

    assert [] == pass_by(found, 180, 20_000)


def test_the_registry_is_above_what_was_learned_and_a_change_of_it_counts_when_told() -> None:
    registry: dict[bytes, float] = {DEVICE: 600.0}
    found = silence(registry.get)
    for now_s in range(0, 300, 60):
        found.heard([DEVICE], float(now_s))
    assert [] == pass_by(found, 240, 1_500)

    registry[DEVICE] = 10.0
    found.registry_changed()
    facts = [fact for _, fact in pass_by(found, 1_500, 1_700)]

    assert ["DeviceSilent"] == names(facts)


def test_a_device_that_the_registry_lets_go_of_is_learned_from_then_on() -> None:
    registry: dict[bytes, float] = {DEVICE: 100.0}
    found = silence(registry.get)
    for now_s in range(0, 1_000, 100):
        found.heard([DEVICE], float(now_s))
    registry.clear()
    found.registry_changed()
    told = pass_by(found, 901, 1_100)

    for now_s in range(1_100, 2_000, 200):
        found.heard([DEVICE], float(now_s))
        told += pass_by(found, now_s, now_s + 200)
    facts = [fact for _, fact in pass_by(found, 2_100, 3_000)]

    assert [] == told
    assert [DeviceSilent(DEVICE, 601.0, 200.0)] == facts


def test_a_device_that_speaks_more_rarely_than_before_is_told_a_few_times_and_then_learned() -> (
    None
):
    found = silence(lambda _: None)
    told: list[SilenceFact] = []
    for now_s in [*range(0, 600, 60), *range(600, 600 + 20 * 3_600, 3_600)]:
        told += found.heard([DEVICE], float(now_s))
        told += (
            [fact for at_s in range(now_s, now_s + 3_600, 10) for fact in sweep(found, float(at_s))]
            if now_s >= 600
            else []
        )

    assert 5 == names(told).count("DeviceSilent") == names(told).count("DeviceRecovered")


def test_a_device_that_is_to_speak_many_times_a_second_is_heard_again_at_once() -> None:
    found = silence(lambda _: 0.1, multiplier=1.0)
    found.heard([DEVICE], 0.0)

    silent = [*sweep(found, 0.4), *sweep(found, 0.9)]
    recovered = found.heard([DEVICE], 0.95)
    (again,) = [*sweep(found, 1.3), *sweep(found, 1.75)]

    assert ["DeviceSilent"] == names(silent)
    assert [DeviceRecovered(DEVICE, 0.95)] == [*recovered]
    assert isinstance(again, DeviceSilent)
    assert 0.8 == pytest.approx(again.heard_ago_s)


def test_what_the_bridge_could_not_hear_is_no_silence_but_is_told_as_time() -> None:
    found = silence()
    found.heard([DEVICE], 0.0)

    found.deaf(100.0)
    while_deaf = pass_by(found, 100, 5_000)
    found.hearing(5_000.0)
    told = pass_by(found, 5_000, 6_000)

    assert [] == while_deaf
    ((at_s, fact),) = told
    assert 5_080.0 <= at_s <= 5_080.0 + LATE_S
    assert DeviceSilent(DEVICE, float(at_s), 60.0) == fact


def test_after_a_deaf_time_each_device_has_its_own_interval_to_be_heard() -> None:
    found = silence()
    found.heard([DEVICE], 0.0)

    found.deaf(179.0)
    found.hearing(1_000.0)

    assert [1_060 <= at_s <= 1_060 + LATE_S for at_s, _ in pass_by(found, 1_000, 2_000)] == [True]


def test_a_deaf_time_that_is_known_only_afterwards_is_taken_back() -> None:
    found = silence()
    found.heard([DEVICE], 0.0)

    found.was_deaf(30.0, 130.0)
    found.was_deaf(50.0, 140.0)
    told = pass_by(found, 140, 1_000)

    ((at_s, fact),) = told
    assert 180.0 + 110.0 <= at_s <= 180.0 + 110.0 + LATE_S
    assert DeviceSilent(DEVICE, float(at_s), 60.0) == fact


def test_nobody_is_told_before_hearing_began() -> None:
    found = Silence(SilenceRules(), interval_s_of=each_minute)
    found.heard([DEVICE], 0.0)

    assert [] == pass_by(found, 0, 1_000)


def test_offline_by_will_is_a_fact_of_its_own_and_no_silence_follows() -> None:
    found = silence()
    found.heard([DEVICE], 0.0)

    offline = [*found.presence(DEVICE, is_online=False, now_s=10.0)]
    again = [*found.presence(DEVICE, is_online=False, now_s=11.0)]
    told = pass_by(found, 11, 1_000)
    back = [*found.heard([DEVICE], 1_000.0)]

    assert [DeviceOffline(DEVICE, 10.0)] == offline
    assert ([], []) == (again, told)
    assert [DeviceOnline(DEVICE, 1_000.0)] == back
    assert ["DeviceSilent"] == names(fact for _, fact in pass_by(found, 1_000, 2_000))


def test_an_online_message_counts_as_being_heard() -> None:
    found = silence()
    found.heard([DEVICE], 0.0)
    pass_by(found, 0, 200)

    facts = [*found.presence(DEVICE, is_online=True, now_s=200.0)]

    assert [DeviceRecovered(DEVICE, 200.0)] == facts
    assert [] == pass_by(found, 200, 380)


def test_retained_presence_tells_only_of_devices_that_were_there() -> None:
    found = silence()
    found.heard([DEVICE], 0.0)

    new = [*found.presence(b"other", is_online=False, now_s=1.0, is_retained=True)]
    known = [*found.presence(DEVICE, is_online=False, now_s=1.0, is_retained=True)]
    online = [*found.presence(DEVICE, is_online=True, now_s=2.0, is_retained=True)]

    assert ([], [DeviceOffline(DEVICE, 1.0)], []) == (new, known, online)
    assert 2 == found.count(OFFLINE)


def test_a_forgotten_device_is_not_told_until_it_speaks_again() -> None:
    found = silence()
    found.heard([DEVICE], 0.0)

    found.forget(DEVICE)
    forgotten = pass_by(found, 0, 1_000)
    facts = [*found.heard([DEVICE], 1_000.0)]

    assert ([], []) == (forgotten, facts)
    assert ["DeviceSilent"] == names(fact for _, fact in pass_by(found, 1_000, 2_000))


def test_the_will_of_a_forgotten_device_is_nobodys_business() -> None:
    found = silence()
    found.heard([DEVICE], 0.0)
    found.forget(DEVICE)

    assert [] == [*found.presence(DEVICE, is_online=False, now_s=1.0)]
    assert [] == [*found.presence(DEVICE, is_online=True, now_s=2.0)]


def test_a_restart_goes_on_where_it_was_and_tells_nothing_twice() -> None:
    found = silence(lambda _: None)
    for now_s in range(0, 300, 60):
        found.heard([b"silent", b"live", b"offline"], float(now_s))
    found.presence(b"offline", is_online=False, now_s=300.0)
    for now_s in range(300, 900, 60):
        found.heard([b"live"], float(now_s))
    assert ["DeviceSilent"] == names(fact for _, fact in pass_by(found, 300, 900))

    restarted = restart(found, 900.0, away_s=5_000.0, at_s=70.0)
    restarted.hearing(70.0)
    told = pass_by(restarted, 70, 1_000)

    ((at_s, fact),) = told
    assert 70.0 + 120.0 <= at_s <= 190.0 + LATE_S
    assert DeviceSilent(b"live", 60.0 + 5_000.0 + at_s - 70.0, 60.0) == fact
    assert [DeviceOnline(b"offline", 660.0 + 5_000.0 + 930.0)] == [
        *restarted.heard([b"offline"], 1_000.0)
    ]


def test_a_state_that_makes_no_sense_is_refused() -> None:
    found = silence()
    found.heard([DEVICE], 0.0)
    (written,) = found.dump(0.0)

    with pytest.raises(ValueError, match="cannot be read: Expected `int` <= 4"):
        silence().load(written[:-1] + b"\x09", 0.0, away_s=0.0)


def test_a_sweep_in_slices_finds_what_one_sweep_finds() -> None:
    found, devices = silence(fleet_min=10_000), fleet(1_000)
    found.heard(devices, 0.0)
    slices = [found.sweep(150.0, 64)]
    while not slices[-1].is_done:
        slices.append(found.sweep(150.0, 64))

    facts = [*sweep(found, 398.0, budget=64), *sweep(found, 400.0, budget=64)]

    assert 16 <= len(slices) <= 17
    assert sorted(devices) == sorted(
        fact.device for fact in facts if isinstance(fact, DeviceSilent)
    )


class Account:
    """Devices by the letter: silent once they were not heard for 30 s of hearing."""

    def __init__(self, budget: int) -> None:
        self.found = Silence(RULES, interval_s_of=lambda _: 10.0)
        self.found.hearing(0.0)
        self.budget = budget
        self.now = self.time_heard = self.resumed = 0
        self.heard_at: dict[bytes, int] = {}
        self.told: set[bytes] = set()

    def heard(self, number: int) -> None:
        device = b"%d" % number
        facts = self.found.heard([device], float(self.now))
        assert ["DeviceRecovered"] * (device in self.told) == names(facts)
        self.heard_at[device] = self.time_heard
        self.told.discard(device)

    def pass_by(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now, self.time_heard = self.now + 1, self.time_heard + 1
            for fact in sweep(self.found, float(self.now), self.budget):
                assert isinstance(fact, DeviceSilent)
                assert fact.device not in self.told
                assert self.time_heard >= self.due(fact.device)
                self.told.add(fact.device)
            late = {
                each for each in self.heard_at if self.time_heard > self.due(each) + TICK_S + 1.0
            }
            assert late <= self.told

    def due(self, device: bytes) -> int:
        return max(self.heard_at[device] + 30, self.resumed + 10)

    def deaf(self, seconds: int) -> None:
        self.found.deaf(float(self.now))
        self.now += seconds
        self.found.hearing(float(self.now))
        self.resumed = self.time_heard

    def restart(self, seconds: int) -> None:
        written = [*self.found.dump(float(self.now))]
        self.now = seconds
        self.found = Silence(RULES, interval_s_of=lambda _: 10.0)
        for each in written:
            self.found.load(each, float(self.now), away_s=float(seconds))
        self.found.hearing(float(self.now))
        self.resumed = self.time_heard


RULES = SilenceRules(expected_interval_s=40.0, fleet_min=1_000)
TICK_S = 40.0 * 3 * 2 / 3 / 100
events = st.one_of(
    st.tuples(st.just("heard"), st.integers(0, 8)),
    st.tuples(st.just("pass_by"), st.integers(1, 40)),
    st.tuples(st.just("deaf"), st.integers(1, 200)),
    st.tuples(st.just("restart"), st.integers(1, 200)),
)


@given(st.lists(events, max_size=120), st.integers(1, 5))
@settings(deadline=None)
def test_any_history_tells_what_a_device_by_device_account_would_tell(
    history: list[tuple[str, int]], budget: int
) -> None:
    account = Account(budget)

    for event, much in history:
        getattr(account, event)(much)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["heard", "offline", "online", "forget", "sweep"]),
            st.integers(0, 40),
            st.integers(0, 60),
        ),
        max_size=300,
    )
)
@settings(deadline=None)
def test_counts_and_bounds_hold_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    found = silence(
        lambda device: 20.0 if device < b"2" else None,
        devices_max=20,
        fleet_min=5,
        expected_interval_s=20.0,
    )
    now_s = 0.0
    told: set[bytes] = set()
    for what, number, after_s in steps:
        now_s += after_s
        device = b"%d" % number
        facts: list[SilenceFact] = []
        match what:
            case "heard":
                facts += found.heard([device], now_s)
            case "forget":
                found.forget(device)
            case "sweep":
                facts += sweep(found, now_s, 3)
            case _:
                facts += found.presence(device, is_online=what == "online", now_s=now_s)
        for fact in facts:
            if isinstance(fact, DeviceSilent):
                told.add(fact.device)
            elif isinstance(fact, DeviceRecovered):
                assert fact.device in told
        assert found.devices == sum(found.count(state) for state in range(6)) <= 20
