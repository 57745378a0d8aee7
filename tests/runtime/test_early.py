"""What came before Kafka was read: judged piece by piece, in order, never overtaken."""

import io
import json
from collections.abc import Sequence

from bridge.config.sections import Route, ValidationSection
from bridge.fleet.dedup_window import DedupWindow
from bridge.fleet.duplicates import Duplicates
from bridge.kafka.outbox import Outbox
from bridge.kafka.shipment import Shipment, Unsettled
from bridge.mqtt.events import Received
from bridge.mqtt.session import Session, SessionSettings
from bridge.observe.active_devices import ActiveDevices
from bridge.observe.catalogue.entry import Level
from bridge.observe.counters import Counters, LatencyHistogram, Outcome
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_console
from bridge.pipeline.flow import Flow
from bridge.runtime.accounts import Books
from bridge.runtime.kafka_tail import Chunk
from bridge.runtime.spooling import Spooling
from bridge.runtime.traffic import EARLY_TURN, Traffic
from bridge.runtime.traffic_peers import Report
from bridge.spool.outage import Outage
from tests.pipeline.given import Packet
from tests.simulation.clock import UNIX_US, SimClock

READINGS = 100
ROUTE = Route(filter="devices/+/telemetry/batch", kind="batch", payload_bytes_max=1 << 20)


class Kafka:
    """Takes what it is given, and confirms it when the test says so."""

    def __init__(self) -> None:
        self.under_way: list[Shipment] = []
        self.values: list[bytes] = []
        self._reports: list[Report] = []

    def send(self, shipments: Sequence[Shipment]) -> Sequence[Shipment]:
        self.under_way += shipments
        self.values += [each.record.value for each in shipments]
        return ()

    def poll(self) -> list[Report]:
        reports, self._reports = self._reports, []
        return reports

    def rebuild(self) -> str:
        raise AssertionError("nothing here is fatal")

    def confirm(self) -> None:
        self._reports += [(each, None) for each in self.under_way]
        self.under_way = []


class Journal:
    """Keeps the keys."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []

    def note(self, keys: Sequence[bytes]) -> None:
        self.keys += keys


class Reader:
    """Knows whether it may read."""

    is_paused = False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def flush(self) -> None:
        return


class Stand:
    """Real traffic between a session that nobody reads from and a Kafka of the test's."""

    def __init__(self, *, records_max: int = 10_000, bytes_max: int = 1 << 30) -> None:
        self.clock = SimClock()
        self.kafka = Kafka()
        self.journal = Journal()
        self.counters = Counters()
        self.session = Session(
            SessionSettings(
                client_id="early",
                topic_filters=(ROUTE.filter,),
                session_expiry_s=60,
                receive_maximum=2_000,
                keep_alive_s=30,
                packet_bytes_max=1 << 20,
            )
        )
        self.unsettled = Unsettled(records_max, bytes_max)
        outbox = Outbox(self.unsettled)
        duplicates = Duplicates(DedupWindow(ttl_s=3_600.0, keys_max=100_000, keys_min=10))
        log = EventLog(level=Level.INFO, lines=StreamLines(io.StringIO()), renderer=render_console)
        self.traffic = Traffic(
            flow=Flow(
                routes=(ROUTE,),
                dead_letter_topic="letters",
                validation=ValidationSection(),
                entropy=bytes,
                duplicates=duplicates,
            ),
            duplicates=duplicates,
            session=self.session,
            outbox=outbox,
            spooling=Spooling(
                Outage(after_s=5.0, bytes_max=0),
                outbox,
                None,
                counters=self.counters,
                clock=self.clock,
                after_s=5.0,
                bytes_max=0,
            ),
            producer=self.kafka,
            journal=self.journal,
            value_bytes_max=1 << 20,
            books=Books(self.counters, LatencyHistogram(), ActiveDevices(now_s=0.0), log),
            clock=self.clock,
            on_bug=_raise,
            on_rebuilt=lambda: None,
        )
        self.received = 0
        self.reader = Reader()
        self.traffic.reading.reader = self.reader

    def receive(self, batches: int, *, readings: int = READINGS) -> None:
        """Let batches come, each in a socket read of its own."""
        for number in range(self.received, self.received + batches):
            body = {
                "device_id": "dev-0001",
                "batch_id": number,
                "readings": [
                    {
                        "timestamp": f"2026-11-23T17:35:25.{each:03d}Z",
                        "metrics": {"place": number * readings + each},
                    }
                    for each in range(readings)
                ],
            }
            sent = Packet(
                payload=json.dumps(body).encode(), topic="devices/dev-0001/telemetry/batch"
            )
            receipt = self.session.ledger.open(number + 1)
            self.traffic.take(Received([sent], [receipt]))
        self.received += batches

    def run_to_the_end(self) -> int:
        """Confirm what Kafka was given until nothing is owed; return how much it held at most."""
        most = 0
        while self.kafka.under_way or self.clock.turn():
            most = max(most, len(self.kafka.under_way))
            self.kafka.confirm()
        return most

    @property
    def places(self) -> list[int]:
        return [json.loads(each)["metrics"]["place"] for each in self.kafka.values]


def _raise(error: Exception) -> None:
    raise error


def in_order(batches: int) -> list[int]:
    return list(range(batches * READINGS))


def test_nothing_is_judged_before_it_is_known_what_kafka_has() -> None:
    stand = Stand()

    stand.receive(30)

    assert not stand.kafka.values
    assert 30 == stand.traffic.waiting
    assert 0.0 == stand.traffic.waiting_since_s
    assert 0 == stand.unsettled.records, "what waits is no load for Kafka"
    assert not stand.traffic.is_judging


def test_what_waited_is_judged_as_far_as_there_is_room_for_its_records() -> None:
    stand = Stand(records_max=1_000)
    stand.receive(60)

    stand.traffic.release(())
    most = stand.run_to_the_end()

    assert 1_000 == most
    assert in_order(60) == stand.places
    assert stand.traffic.is_judging
    assert (0, 0) == (stand.unsettled.records, stand.unsettled.bytes)


def test_the_size_of_what_was_judged_is_a_bound_too() -> None:
    stand = Stand(bytes_max=1_000_000)
    stand.receive(60)

    stand.traffic.release(())
    most = stand.run_to_the_end()

    assert READINGS <= most < 60 * READINGS
    assert in_order(60) == stand.places


def test_the_loop_has_its_turn_between_two_pieces() -> None:
    stand = Stand()
    stand.receive(60)

    stand.traffic.release(())

    assert EARLY_TURN <= len(stand.kafka.values) < EARLY_TURN + 2 * READINGS


def test_what_comes_while_others_wait_keeps_behind_them() -> None:
    stand = Stand(records_max=1_000)
    stand.receive(30)
    stand.traffic.release(())

    stand.receive(30)
    stand.run_to_the_end()

    assert in_order(60) == stand.places


def test_a_stop_leaves_what_still_waits_to_the_mqtt_broker() -> None:
    stand = Stand(records_max=1_000)
    stand.receive(30)
    stand.traffic.release(())

    stand.traffic.stop_reading()
    stand.run_to_the_end()

    assert in_order(10) == stand.places
    assert 10 == stand.counters.received
    assert (0, 0) == (stand.unsettled.records, stand.unsettled.bytes)


def test_reading_pauses_while_too_much_waits_and_goes_on_when_it_is_carried() -> None:
    stand = Stand(records_max=1_000)

    stand.receive(1_000, readings=2)
    is_paused = stand.reader.is_paused
    stand.traffic.release(())
    stand.run_to_the_end()

    assert is_paused
    assert not stand.reader.is_paused
    assert list(range(2_000)) == stand.places


def test_reading_goes_on_though_all_that_waited_is_known_and_no_report_follows() -> None:
    before = Stand()
    before.receive(1_000, readings=2)
    before.traffic.release(())
    before.run_to_the_end()
    known = before.journal.keys
    stand = Stand(records_max=1_000)
    stand.receive(1_000, readings=2)
    assert stand.reader.is_paused

    stand.traffic.release([Chunk(UNIX_US // 1_000, b"".join(known))])
    stand.run_to_the_end()

    assert not stand.kafka.values
    assert 1_000 == stand.counters.settled[Outcome.DUPLICATE]
    assert not stand.reader.is_paused


def test_user_properties_count_for_what_waits() -> None:
    stand = Stand(bytes_max=1_000_000)
    properties = [("n", "v")] * 2_500
    sent = Packet(payload=b"", topic="devices/dev-0001/telemetry/batch", user_properties=properties)

    stand.traffic.take(Received([sent], [stand.session.ledger.open(1)]))
    is_paused_by_one = stand.reader.is_paused
    stand.traffic.take(Received([sent], [stand.session.ledger.open(2)]))

    assert (False, True) == (is_paused_by_one, stand.reader.is_paused)
