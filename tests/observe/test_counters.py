import pytest

from bridge.observe.counters import (
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
