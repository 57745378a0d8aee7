"""Kafka that is slow is not stuck: what is important stays off the disk, the rest makes room."""

import io
from collections.abc import Callable

import msgspec

from bridge.config.sections import Route
from bridge.kafka.outbox import Outbox
from bridge.kafka.record import DeadLetter, Instant, Record
from bridge.kafka.shipment import Shipment, Unsettled
from bridge.mqtt.session import Session, SessionSettings
from bridge.observe.catalogue.entry import Level
from bridge.observe.counters import Counters
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_console
from bridge.runtime.clock import Timer
from bridge.runtime.importances import Importances
from bridge.runtime.shedder import LoadShedder
from bridge.runtime.spool_disk import DiskResult
from bridge.runtime.spooling import PRESSED_AFTER_S, Spooling
from bridge.spool.entry import Read, Write
from bridge.spool.outage import Outage
from bridge.spool.shedding import FALL_S, RISE_S, Shedding

AFTER_S = 5.0
ROOM = 100
FIRST = Instant(unix_us=0, monotonic_s=0.0, rfc3339="1970-01-01T00:00:00.000000Z")
ROUTES = [
    Route(filter=f"{each}/+", kafka_topic=each, priority=each) for each in ("high", "medium", "low")
]


class Packet(msgspec.Struct):
    topic: str = "high/a"
    payload: bytes = b"{}"
    content_type: str | None = None


class Disk:
    """Takes jobs and does none of them."""

    def __init__(self) -> None:
        self.jobs: list[Write | Read] = []

    def start(self, job: Write | Read, _: Callable[[DiskResult], None]) -> None:
        self.jobs.append(job)


class StillClock:
    """Stands still: what takes time here is told the time."""

    def monotonic_s(self) -> float:
        return 0.0

    def instant(self) -> Instant:
        return FIRST

    def call_later(self, delay_s: float, callback: Callable[[], None], /) -> Timer:
        raise AssertionError(f"{callback} after {delay_s} s, and time stands still")


class Stand:
    """A session, an outbox, a spool and a shedder; what happens with them is the test's."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.disk = Disk()
        settings = SessionSettings(
            client_id="slow",
            topic_filters=("high/+",),
            session_expiry_s=60,
            receive_maximum=ROOM,
            keep_alive_s=30,
            packet_bytes_max=1_000,
        )
        self.session = Session(settings)
        self.outbox = Outbox(Unsettled(10 * ROOM, 1 << 30))
        self.spooling = Spooling(
            Outage(after_s=AFTER_S, bytes_max=1 << 20),
            self.outbox,
            self.disk,
            counters=self.counters,
            clock=StillClock(),
            after_s=AFTER_S,
            bytes_max=1 << 20,
        )
        self.shedder = LoadShedder(
            Shedding(low_above=0.7, medium_above=0.9),
            importances=Importances(ROUTES, "letters", None),
            may_drop=False,
            session=self.session,
            outbox=self.outbox,
            spooling=self.spooling,
            counters=self.counters,
            log=EventLog(
                level=Level.INFO, lines=StreamLines(io.StringIO()), renderer=render_console
            ),
        )
        self.spooling.shedder = self.shedder

    def take(self, kafka_topic: str, now: float, *, count: int = 1) -> list[Shipment]:
        """Receive so many messages; return what goes to Kafka now."""
        number = len(self.session.ledger)
        records = [
            Record(kafka_topic, b"%d" % (number + each), b"{}", [], FIRST, Packet())
            for each in range(count)
        ]
        receipts = [self.session.ledger.open(number + each + 1) for each in range(count)]
        return self.spooling.divide(records, receipts, now)

    def confirm(self, shipments: list[Shipment], now: float) -> None:
        settlement = self.outbox.settle([(each, None) for each in shipments], now)
        self.spooling.alive(settlement.alive, settlement.confirmed, now)
        for each in settlement.confirmed:
            assert each.receipt is not None
            each.receipt.settle()

    def hold_load(self, now: float) -> float:
        self.shedder.look(now)
        self.shedder.look(now + RISE_S)
        return now + RISE_S


def test_what_nothing_passed_is_slow_however_old_and_stays_off_the_disk() -> None:
    stand = Stand()
    first = stand.take("medium", 0.0)
    stand.take("high", 0.5)
    stand.confirm(first, 0.6)

    stand.spooling.turn(0.5 + 0.99 * AFTER_S, is_pressed=True)

    assert stand.spooling.machine.is_quiet


def test_what_was_passed_by_much_that_came_later_is_stuck_and_goes_to_the_disk() -> None:
    stand = Stand()
    stand.take("high", 0.0)
    stand.confirm(stand.take("medium", PRESSED_AFTER_S), PRESSED_AFTER_S + 0.01)

    stand.spooling.turn(PRESSED_AFTER_S + 0.01, is_pressed=True)

    assert {"high": 1} == stand.spooling.machine.stuck_topics
    assert 1 == len(stand.disk.jobs)


def test_a_long_turn_is_waited_for_where_all_is_slow_and_forgotten_where_it_is_not() -> None:
    stand = Stand()
    stand.take("high", 0.0)
    stand.confirm(stand.take("medium", 1.0), 2.0)  # It took a second, and passed by one.

    stand.spooling.turn(2.0, is_pressed=True)
    assert stand.spooling.machine.is_quiet
    stand.confirm(stand.take("medium", 4.0), 4.0)

    stand.spooling.turn(4.0, is_pressed=True)
    assert {"high": 1} == stand.spooling.machine.stuck_topics


def test_a_window_full_of_what_only_waits_for_its_turn_is_a_full_window() -> None:
    stand = Stand()
    stand.take("high", 0.0, count=10)
    stand.take("medium", 0.0, count=50)
    confirmed = stand.take("low", 0.0, count=40)
    stand.confirm(confirmed, 0.1)  # Safe, and no PUBACK: those before it are not.

    stand.hold_load(0.2)

    facts = stand.shedder.facts()
    assert (100, 1.0, 2) == (len(stand.session.ledger), facts.load, facts.level)


def test_what_is_stuck_and_finds_no_room_on_the_disk_keeps_no_row_there() -> None:
    stand = Stand()
    stand.take("high", 0.0, count=ROOM - 1)
    stand.confirm(stand.take("medium", PRESSED_AFTER_S), PRESSED_AFTER_S + 0.01)
    stand.spooling.turn(PRESSED_AFTER_S + 0.01, is_pressed=True)  # And the disk does not take it.

    stand.hold_load(1.0)

    assert {"high": ROOM - 1} == stand.spooling.machine.stuck_topics
    assert stand.shedder.facts().load < 1 / ROOM
    assert stand.shedder.drain_max


def test_in_a_window_that_is_not_kept_to_only_what_kafka_lacks_is_load() -> None:
    stand = Stand()
    stand.take("high", 0.0, count=10)
    stand.confirm(stand.take("low", 0.0, count=2 * ROOM), 0.1)

    stand.hold_load(0.2)

    assert (0.1, 0) == (stand.shedder.facts().load, stand.shedder.facts().level)


def test_all_that_is_shed_is_counted_and_nothing_of_high_priority_is_shed() -> None:
    stand = Stand()
    stand.take("high", 0.0, count=ROOM)
    now = stand.hold_load(0.1)

    direct = [stand.take(each, now, count=3) for each in ("low", "medium", "high", "low")]

    assert [0, 0, 3, 0] == [len(each) for each in direct]
    assert {"low": 6, "medium": 3} == stand.counters.shed


def test_the_copies_of_a_flagged_message_are_dropped_with_it_and_dead_letters_never_are() -> None:
    stand = Stand()
    stand.take("high", 0.0, count=ROOM)
    stand.hold_load(0.1)
    low, high = (Record(each, b"d", b"{}", [], FIRST, Packet()) for each in ("low", "high"))
    copy, letter = (
        Record("letters", b"d", b"{}", [], FIRST, Packet(), dead_letter=_letter(is_copy=each))
        for each in (True, False)
    )
    receipts = [stand.session.ledger.open(number) for number in range(1, 4)]
    owed = [receipts[0], None, None, receipts[1], receipts[2], None]

    kept, kept_receipts, dropped = stand.shedder.split([low, copy, copy, letter, high, copy], owed)

    assert [letter, high, copy] == kept
    assert [receipts[1], receipts[2], None] == kept_receipts
    assert [(low, receipts[0])] == dropped


def _letter(*, is_copy: bool) -> DeadLetter:
    return DeadLetter("id", "out_of_range", "semantic", "", "d", "low/d", is_copy)


def test_a_level_lasts_until_the_rows_of_its_class_have_left() -> None:
    stand = Stand()
    shipments = stand.take("high", 0.0, count=ROOM)
    now = stand.hold_load(0.1)
    stand.take("medium", now, count=30)
    stand.spooling.turn(now)
    write = stand.disk.jobs[-1]
    assert isinstance(write, Write)
    for entry in stand.spooling.machine.written(range(1, 31), 1_000):
        assert entry.kafka_topic == "medium"

    stand.confirm(shipments, now)
    stand.shedder.look(now + 0.1)
    stand.shedder.look(now + 0.1 + 2 * FALL_S)
    assert 2 == stand.shedder.facts().level, "its rows are still there"
    stand.spooling.machine.close("medium", 0)  # Not Kafka's pace is what keeps them there now.
    stand.shedder.look(now + 1.0 + 2 * FALL_S)
    stand.shedder.look(now + 1.0 + 4 * FALL_S)

    assert 1 == stand.shedder.facts().level


def test_what_waits_to_be_judged_is_no_load_and_keeps_no_row_on_the_disk() -> None:
    stand = Stand()
    for number in range(ROOM):
        stand.session.ledger.open(number + 1)

    for now in (0.0, RISE_S, 2 * RISE_S):
        stand.shedder.look(now, waiting=ROOM)

    assert 0.0 == stand.shedder.facts().load
    assert not stand.shedder.is_shedding
    assert ROOM // 4 == stand.shedder.drain_max
