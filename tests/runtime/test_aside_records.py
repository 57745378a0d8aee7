"""Records beside the traffic: how many of them librdkafka may hold."""

import io

import pytest

from bridge.config.sections import KafkaSection
from bridge.kafka.properties import producer_properties
from bridge.observe.catalogue.entry import Level
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.runtime.aside_records import IN_FLIGHT_MAX, Aside, AsideRecords
from bridge.runtime.gap_records import RECORDS_MAX as GAPS_MAX
from tests.runtime.gap_stand import Producer


class Stand:
    """A queue, and a producer that does what the test says."""

    def __init__(self, *, records_max: int) -> None:
        self.producer = Producer()
        self.records = AsideRecords(
            self.producer,
            "device-alerts",
            records_max=records_max,
            held_event="alert_record_held",
            log=EventLog(level=Level.DEBUG, lines=StreamLines(io.StringIO()), renderer=render_json),
        )
        self.now = 0.0

    def add(self, count: int) -> None:
        for number in range(count):
            self.records.add(Aside(b"k", b"%d" % number))

    def sent_in_turns(self, turns: int) -> int:
        before = len(self.producer.taken)
        for _ in range(turns):
            self.now += 1.0
            self.records.serve(self.now)
        return len(self.producer.taken) - before


def test_without_reports_no_more_than_the_bound_is_handed_over() -> None:
    stand = Stand(records_max=5 * IN_FLIGHT_MAX)
    stand.add(3 * IN_FLIGHT_MAX)

    assert IN_FLIGHT_MAX == stand.sent_in_turns(10)
    stand.producer.report()
    assert IN_FLIGHT_MAX == stand.sent_in_turns(10)
    stand.producer.report()
    stand.producer.reports.clear()
    assert IN_FLIGHT_MAX == stand.sent_in_turns(10)
    assert IN_FLIGHT_MAX == len(stand.records)


def test_what_is_owed_no_longer_takes_its_place_until_it_is_reported() -> None:
    stand = Stand(records_max=IN_FLIGHT_MAX)
    stand.add(IN_FLIGHT_MAX)
    stand.sent_in_turns(1)

    stand.add(100)

    assert 0 == stand.sent_in_turns(10)
    stand.producer.report()
    assert 100 == stand.sent_in_turns(10)


@pytest.mark.parametrize("error", [None, "NOT_ENOUGH_REPLICAS"])
def test_a_report_gives_the_place_back_whatever_it_says(error: str | None) -> None:
    stand = Stand(records_max=2 * IN_FLIGHT_MAX)
    stand.add(2 * IN_FLIGHT_MAX)
    stand.sent_in_turns(1)

    stand.producer.report(error)

    assert IN_FLIGHT_MAX == stand.sent_in_turns(10)


def test_a_rebuilt_producer_has_all_places_free() -> None:
    stand = Stand(records_max=IN_FLIGHT_MAX)
    stand.add(IN_FLIGHT_MAX)
    stand.sent_in_turns(1)
    stand.producer.reports.clear()
    stand.producer.generation += 1

    assert IN_FLIGHT_MAX == stand.sent_in_turns(10)


def test_the_places_of_the_traffic_are_never_taken() -> None:
    records_max = 100
    properties = producer_properties(
        KafkaSection(), client_id="b", password=None, secrets={}, records_max=records_max
    )

    places = int(properties["queue.buffering.max.messages"])
    assert places - 2 * records_max > IN_FLIGHT_MAX + GAPS_MAX
