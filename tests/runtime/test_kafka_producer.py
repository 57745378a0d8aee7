"""Delivery reports of a real librdkafka that reaches no broker: each goes to whom it belongs."""

import logging
from pathlib import Path

from bridge.kafka.properties import Properties
from bridge.kafka.record import Kept, Record
from bridge.kafka.shipment import Shipment
from bridge.runtime.kafka_producer import KafkaProducer
from bridge.runtime.traffic_peers import Report
from tests.pipeline.given import RECEIVED
from tests.support.certificates import make_certificates
from tests.support.eventually import eventually

COUNT = 20
NOWHERE: Properties = {
    "bootstrap.servers": "127.0.0.1:1",
    "log_level": 0,
    "linger.ms": 0,
    "message.timeout.ms": 100,
}
BUMP = (
    "[thrd:kafka:9092/1]: Beginning partition drain in state Assigned for PID{Id:0,Epoch:0}"
    " epoch bump for 1 partition(s) with in-flight requests: skipped sequence numbers"
)


def make_producer() -> KafkaProducer:
    return KafkaProducer(NOWHERE, on_error=lambda *_: None)


def make_shipments() -> list[Shipment]:
    origin = Kept("devices/d/telemetry", b"", None)
    records = [Record("t", b"d", b"%d" % number, [], RECEIVED, origin) for number in range(COUNT)]
    return [Shipment(number, each, None, 0, 7.0) for number, each in enumerate(records)]


def reports_of(producer: KafkaProducer) -> list[Report]:
    """Poll until there are as many as one send makes; more would come with them."""
    reports: list[Report] = []

    def take() -> int:
        reports.extend(producer.poll())
        return len(reports)

    eventually(take, lambda count: count >= COUNT, what="all are reported", poll_s=0.01)
    return reports


def test_each_shipment_is_reported_once_with_the_name_of_its_error() -> None:
    producer, shipments = make_producer(), make_shipments()

    assert () == producer.send(shipments)
    reports = reports_of(producer)

    assert {(each.sequence, "_MSG_TIMED_OUT") for each in shipments} == {
        (shipment.sequence, error) for shipment, error in reports
    }
    assert COUNT == len(reports)
    assert {id(each) for each in shipments} == {id(shipment) for shipment, _ in reports}


def test_what_was_sent_before_is_reported_again_when_it_is_sent_again() -> None:
    producer, shipments = make_producer(), make_shipments()

    for _ in range(2):
        producer.send(shipments)
        assert COUNT == len(reports_of(producer))


def test_a_producer_that_was_replaced_reports_nothing_to_its_successor() -> None:
    producer, shipments = make_producer(), make_shipments()
    producer.send(shipments)

    producer.rebuild()  # The old one reports all as purged, in its own time.
    producer.send(shipments)
    reports = reports_of(producer)

    assert ["_MSG_TIMED_OUT"] * COUNT == [error for _, error in reports]


def test_a_report_whose_place_is_asked_for_comes_all_the_same() -> None:
    producer, shipments = make_producer(), make_shipments()
    places: list[int] = []
    producer.note_place = lambda shipment, *_: places.append(shipment.sequence)

    producer.send(shipments)

    assert COUNT == len(reports_of(producer))
    assert [] == places, "what failed has no place"


def test_a_successor_waits_until_the_last_reports_can_have_been_judged() -> None:
    producer, shipments = make_producer(), make_shipments()
    producer.send(shipments)
    producer.hand_over(producer.prepare(NOWHERE))

    assert shipments == producer.send(shipments)
    assert COUNT == len(reports_of(producer))
    is_waiting = [producer.is_handing_over]
    producer.poll()
    is_waiting.append(producer.is_handing_over)

    assert [True, False] == is_waiting
    assert () == producer.send(shipments)


def test_nothing_follows_a_producer_that_died_but_what_a_rebuild_makes() -> None:
    producer, shipments = make_producer(), make_shipments()
    producer.send(shipments)
    successor = producer.prepare({**NOWHERE, "linger.ms": 5})
    producer.hand_over(successor)

    producer.await_answers(timeout_s=0.1)  # It drops its queue, as where it dies.
    assert {"_PURGE_QUEUE"} == {error for _, error in reports_of(producer)}
    producer.poll()
    assert shipments == producer.send(shipments)

    assert "_PURGE_QUEUE" == producer.rebuild()
    assert 5 == producer.properties["linger.ms"]
    assert () == producer.send(shipments)


def test_what_another_thread_is_told_waits_until_the_event_loops_asks() -> None:
    errors: list[str] = []
    producer = KafkaProducer(NOWHERE, on_error=lambda name, _: errors.append(name))
    handle = producer.prepare(NOWHERE)
    producer.hand_over(handle)

    handle.keep_what_is_told()
    producer.send(make_shipments())
    reports_of(producer)
    told_before = errors.copy()
    producer.tell_kept()

    assert [] == told_before
    assert "_ALL_BROKERS_DOWN" in errors


def test_an_epoch_bump_counts_what_was_sent_aside_until_it_is_reported() -> None:
    producer, bumps, reports = make_producer(), list[tuple[str, int]](), list[str | None]()
    producer.on_epoch_bumped = lambda reason, count: bumps.append((reason, count))
    handle = producer.prepare(NOWHERE)
    producer.hand_over(handle)

    producer.send_aside("alerts", b"d", b"{}", reports.append)
    handle.listener.log(logging.DEBUG, "%s [%s] %s", "DRAIN", "b", BUMP)
    producer.send(make_shipments())
    handle.listener.log(logging.DEBUG, "%s [%s] %s", "DRAIN", "b", BUMP)
    reports_of(producer)
    eventually(producer.poll, lambda _: bool(reports), what="what is aside is reported")
    handle.listener.log(logging.DEBUG, "%s [%s] %s", "DRAIN", "b", BUMP)

    assert [("skipped sequence numbers", 1), ("skipped sequence numbers", 1 + COUNT)] == bumps
    assert ["_MSG_TIMED_OUT"] == reports


def test_a_rebuild_that_a_missing_file_forbids_is_told_and_counts_nothing_twice(
    tmp_path: Path,
) -> None:
    authority = make_certificates(tmp_path).ca_file
    errors, counts, reports = list[str](), list[int](), list[str | None]()
    producer = KafkaProducer(
        {**NOWHERE, "security.protocol": "ssl", "ssl.ca.location": str(authority)},
        on_error=lambda name, _: errors.append(name),
    )
    producer.on_epoch_bumped = lambda _, count: counts.append(count)
    handle = producer.prepare(producer.properties)
    producer.hand_over(handle)
    authority.unlink()

    producer.send_aside("alerts", b"d", b"{}", reports.append)
    producer.rebuild()
    eventually(producer.poll, lambda _: bool(reports), what="what was aside is reported")
    producer.send_aside("alerts", b"d", b"{}", reports.append)
    handle.listener.log(logging.DEBUG, "%s [%s] %s", "DRAIN", "b", BUMP)

    assert "_INVALID_ARG" in errors
    assert [1] == counts
