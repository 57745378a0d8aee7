"""While the host's own clock is doubted no timestamp is judged by it."""

import pytest

from bridge.kafka.record import Record
from bridge.pipeline.flow import Flow
from tests.pipeline.given import RECEIVED, Packet, flow, message, value, verdict

FUTURE, OLD = "2027-01-01T00:00:00Z", "1971-01-01T00:00:00Z"


def carried(carrying: Flow, timestamp: object) -> Record:
    (record,) = carrying.process([Packet(payload=message(timestamp=timestamp))], RECEIVED)
    assert isinstance(record, Record)
    return record


@pytest.mark.parametrize("timestamp", [FUTURE, OLD, "2026-11-23T17:35:24Z"])
def test_any_time_passes_flagged_and_is_judged_again_once_the_clock_is_trusted(
    timestamp: str,
) -> None:
    carrying = flow()

    carrying.trust_clock(is_trusted=False)
    doubted = carried(carrying, timestamp)
    carrying.trust_clock(is_trusted=True)
    trusted = carried(carrying, timestamp)

    assert doubted.is_flagged
    assert ["host_clock_unsynchronised"] == value(doubted)["warnings"]
    assert timestamp == value(doubted)["timestamp"]
    assert (trusted.dead_letter is None) == (timestamp not in {FUTURE, OLD})
    assert not trusted.is_flagged


def test_the_warning_stands_beside_others() -> None:
    carrying = flow()
    carrying.trust_clock(is_trusted=False)

    record = carried(carrying, "1971-01-01T00:00:00")

    assert ["timestamp_without_zone", "host_clock_unsynchronised"] == value(record)["warnings"]


def test_a_time_that_no_record_can_hold_is_refused_all_the_same() -> None:
    carrying = flow()
    carrying.trust_clock(is_trusted=False)

    assert "timestamp_future" == verdict(carried(carrying, 10**18))[0]
