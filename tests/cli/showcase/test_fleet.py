from collections import Counter
from datetime import UTC, datetime

from hypothesis import given, strategies as st

from bridge.cli.showcase.fleet import WORDS_BEFORE_SILENCE, Fleet, Shares
from bridge.cli.showcase.malformed import WAYS
from bridge.cli.showcase.traffic import Kind, Message

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
EVERYTHING = Shares(malformed=0.2, duplicate=0.1, out_of_range=0.1, drifting=0.2, silent=0.3)


def speak(fleet: Fleet, count: int) -> list[Message]:
    return [fleet.next_message(NOW) for _ in range(count)]


def test_the_same_seed_gives_the_same_traffic() -> None:
    first = speak(Fleet(devices=20, shares=EVERYTHING, seed=5), 500)
    second = speak(Fleet(devices=20, shares=EVERYTHING, seed=5), 500)

    assert first == second


def test_another_seed_gives_other_traffic() -> None:
    first = speak(Fleet(devices=20, shares=EVERYTHING, seed=5), 500)
    second = speak(Fleet(devices=20, shares=EVERYTHING, seed=6), 500)

    assert first != second


def test_the_shares_are_kept_roughly() -> None:
    messages = speak(
        Fleet(devices=100, shares=Shares(malformed=0.1, duplicate=0.05), seed=1), 4_000
    )

    by_kind = Counter(message.kind for message in messages)
    assert 300 < by_kind[Kind.MALFORMED] < 500
    assert 130 < by_kind[Kind.DUPLICATE] < 270
    assert by_kind[Kind.OUT_OF_RANGE] == 0


def test_a_short_run_shows_every_way_of_being_malformed() -> None:
    messages = speak(Fleet(devices=10, shares=Shares(malformed=1), seed=1), 2 * len(WAYS))

    assert {message.way for message in messages} == set(WAYS)


def test_a_duplicate_repeats_the_last_good_message_byte_for_byte() -> None:
    messages = speak(Fleet(devices=1, shares=Shares(malformed=0, duplicate=0.5), seed=1), 50)

    last_payload = messages[0].payload
    for message in messages:
        if message.kind is Kind.DUPLICATE:
            assert message.payload == last_payload
        last_payload = message.payload
    assert any(message.kind is Kind.DUPLICATE for message in messages)


def test_a_silent_device_is_not_heard_of_again() -> None:
    fleet = Fleet(devices=20, shares=Shares(malformed=0, silent=0.5), seed=1)

    counts = Counter(message.device.device_id for message in speak(fleet, 1_000))

    silent = [device for device in fleet.devices if device.silent]
    assert silent
    assert {counts[device.device_id] for device in silent} == {WORDS_BEFORE_SILENCE}


def test_a_fleet_of_silent_devices_still_has_one_that_speaks() -> None:
    fleet = Fleet(devices=3, shares=Shares(silent=1), seed=1)

    assert len(speak(fleet, 100)) == 100


@given(seed=st.integers(0, 10_000), devices=st.integers(1, 30))
def test_no_two_messages_of_a_device_are_the_same_unless_one_is_a_duplicate(
    seed: int, devices: int
) -> None:
    fleet = Fleet(devices=devices, shares=Shares(malformed=0.5), seed=seed)

    names = [(message.device.device_id, message.payload) for message in speak(fleet, 200)]

    assert len(set(names)) == len(names)


@given(seed=st.integers(0, 10_000))
def test_sequence_numbers_of_a_device_go_up_by_one(seed: int) -> None:
    fleet = Fleet(devices=5, shares=Shares(malformed=0.3), seed=seed)

    last = Counter[str]()
    for message in speak(fleet, 100):
        last[message.device.device_id] += 1
        assert message.sequence == last[message.device.device_id]
