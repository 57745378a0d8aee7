import pytest
from hypothesis import given, strategies as st

from bridge.observe.counters import (
    ActiveDevices,
    Counters,
    LatencyHistogram,
    ProtocolErrorKind,
    protocol_error_kind,
)
from bridge.pipeline.verdict import Reason


def test_all_labels_are_there_from_the_start() -> None:
    counters = Counters()

    assert counters.dead_letters == {reason.value: 0 for reason in Reason}
    assert set(counters.settled) == {"produced", "dead_lettered", "duplicate", "dropped"}


def test_counters_take_the_enum_as_well_as_its_text() -> None:
    counters = Counters()

    counters.dead_letters[Reason.EMPTY] += 1
    counters.dead_letters["empty"] += 1

    assert counters.dead_letters["empty"] == 2


def test_two_bridges_do_not_count_together() -> None:
    Counters().settled["produced"] += 1

    assert Counters().settled["produced"] == 0


def test_the_residue_is_what_conservation_leaves_over() -> None:
    counters = Counters(received=10)
    counters.settled["produced"] = 6
    counters.settled["dead_lettered"] = 1

    assert counters.residue(in_flight=3) == 0
    assert counters.residue(in_flight=2) == 1


def test_what_lies_in_the_spool_and_lay_there_at_the_start_are_terms_of_conservation() -> None:
    counters = Counters(received=10, spooled_at_start=5)
    counters.settled["produced"] = 6
    counters.settled["dropped"] = 1

    assert counters.residue(in_flight=3, spooled=5) == 0
    assert counters.residue(in_flight=3, spooled=4) == 1


@pytest.mark.parametrize(
    ("reason_code", "expected"),
    [
        (0x81, ProtocolErrorKind.MALFORMED_PACKET),
        (0x00, ProtocolErrorKind.OTHER),
    ],
)
def test_a_violation_is_named_by_its_reason_code(
    reason_code: int, expected: ProtocolErrorKind
) -> None:
    assert protocol_error_kind(reason_code) is expected


def test_a_latency_on_a_bound_belongs_to_its_bucket() -> None:
    latency = LatencyHistogram()

    latency.observe_many(10.0, 10.25, 3)
    latency.observe_many(10.0, 10.5, 1)
    latency.observe_many(0.0, 1_000.0, 2)

    assert latency.counts == [0, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 2]
    assert latency.sum_s == pytest.approx(2_001.25)


def test_a_device_is_active_for_at_least_five_minutes() -> None:
    devices = ActiveDevices(now_s=0.0)
    devices.note([b"a", b"b", b"a"], 149.0)

    assert devices.count(149.0) == 2
    assert devices.count(449.0) == 2
    assert devices.count(450.0) == 0


def test_a_device_that_speaks_again_is_counted_once_and_stays() -> None:
    devices = ActiveDevices(now_s=0.0)
    devices.note([b"a", b"b"], 0.0)
    devices.note([b"a"], 200.0)

    assert devices.count(200.0) == 2
    assert devices.count(451.0) == 1


def test_a_long_silence_forgets_every_device() -> None:
    devices = ActiveDevices(now_s=0.0)
    devices.note([b"a"], 0.0)

    assert devices.count(1e9) == 0


@given(st.lists(st.tuples(st.sets(st.binary(max_size=1)), st.floats(0, 200))))
def test_the_number_of_devices_told_apart_has_a_bound(
    batches: list[tuple[set[bytes], float]],
) -> None:
    devices = ActiveDevices(now_s=0.0, devices_max=5)
    now = 0.0

    for keys, pause in batches:
        now += pause
        devices.note(keys, now)

        assert min(5, len(keys)) <= devices.count(now) <= 5
