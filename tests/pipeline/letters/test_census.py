"""What is counted is right, and what it takes is bounded."""

from collections import Counter

import msgspec
from hypothesis import given, strategies as st

from bridge.config.sections import Route
from bridge.kafka.record import Instant
from bridge.kafka.rows import rfc3339
from bridge.pipeline.decode import Decoding
from bridge.pipeline.letters.census import (
    EARLIER,
    HOURS_MAX,
    OTHER,
    Census,
    FirmwareReader,
    TopCount,
)
from tests.pipeline.given import Packet, message
from tests.pipeline.letters.given import letters_of, records_by

FIRMWARE = FirmwareReader((Route(),), Decoding())
HOUR_US = 3_600_000_000


def census_of(*packets: Packet) -> Census:
    census = Census(FIRMWARE.read)
    for letter in letters_of(records_by(packets)):
        census.add(letter)
    return census


def test_letters_are_counted_by_all_that_tells_them_apart() -> None:
    hot = message(metrics={"temperature": 999}, metadata={"firmware_version": "2.0"})
    census = census_of(
        Packet(payload=b"{"),
        Packet(payload=hot),
        Packet(payload=message(metrics={}, metadata={"firmware": 3})),
        Packet(payload=b"", topic="devices/dev-9/telemetry"),
    )

    assert (4, 1, 0) == (census.letters, census.copies, census.replayable)
    assert {"not_decodable": 1, "out_of_range": 1, "schema_mismatch": 1, "empty": 1} == dict(
        census.reasons
    )
    assert {"protocol": 2, "semantic": 1, "schema": 1} == dict(census.layers)
    assert [("dev-0001", 3), ("dev-9", 1)] == [(e.name, e.count) for e in census.devices.top(9)]
    assert [("2.0", 1), ("3", 1)] == [(e.name, e.count) for e in census.firmware.top(9)]
    assert [("2026-11-23T17", 4)] == census.hours(24)


def test_names_that_anybody_makes_up_take_no_more_room_than_there_is() -> None:
    (letter,) = letters_of(records_by([Packet(payload=b"{")]))
    census = Census(FIRMWARE.read)

    for number in range(200):
        census.add(msgspec.structs.replace(letter, reason=f"r{number}", key=b"\x1b[2J"))

    assert 200 == census.reasons.total()
    assert 65 == len(census.reasons)
    assert 136 == census.reasons[OTHER]
    assert "\\x1b[2J" == census.devices.top(1)[0].name


def test_old_hours_are_counted_together() -> None:
    (letter,) = letters_of(records_by([Packet(payload=b"{")]))
    census = Census(FIRMWARE.read)

    for number in range(2 * HOURS_MAX + 10):
        at = Instant(number * HOUR_US, 0.0, rfc3339(number * HOUR_US))
        census.add(msgspec.structs.replace(letter, received=at))

    (name, earlier), *rest = census.hours(2)
    assert (EARLIER, 2 * HOURS_MAX + 8) == (name, earlier)
    assert [1, 1] == [number for _, number in rest]
    assert len(census.hours(10**6)) < 2 * HOURS_MAX


@given(st.lists(st.sampled_from("abcdefghij"), max_size=200), st.integers(1, 4))
def test_a_count_is_never_too_high_and_says_how_much_too_low_it_may_be(
    names: list[str], kept_max: int
) -> None:
    counted, truth = TopCount(kept_max), Counter(names)

    for name in names:
        counted.add(name)

    assert len(counted) <= 2 * kept_max
    for each in counted.top(100):
        assert each.count <= truth[each.name] <= each.at_most
    if counted.is_exact:
        assert dict(truth) == {each.name: each.count for each in counted.top(100)}
