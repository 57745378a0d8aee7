"""What is read of the partitions: from a checkpoint on, or what a whole window asks for."""

import io
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import NewPartitions

from bridge.fleet.dedup_window import Kind, compact
from bridge.observe.catalogue.entry import Level
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.runtime.kafka_tail import Chunk, Ends, KafkaTail, Tail, TailUnavailableError, Window
from bridge.runtime.tail_reader import StartReading, TailReader
from bridge.runtime.window_files import JournalContent
from tests.support.eventually import eventually
from tests.support.kafka_choice import ChosenKafka
from tests.support.processes import free_port

WINDOW = Window(ttl_s=3_600, keys_max=1_000, keys_min=10)
REQUEST_TIMEOUT_S = 30.0
HOUR_MS = 3_600_000
NOW_MS = 1_750_000_000_000


def header(number: int) -> bytes:
    return b"device-1:%d:%016x" % (number, number)


def known(*numbers: int) -> set[bytes]:
    return {compact(header(number), Kind.TELEMETRY) for number in numbers}


def found(tail: Tail | StartReading) -> set[bytes]:
    return {key for chunk in tail.chunks for key in chunk.split()}


class Topic:
    """One topic that a bridge writes, and its tail."""

    def __init__(self, kafka: ChosenKafka, name: str, *, partitions: int = 2) -> None:
        self.kafka = kafka
        self.name = name
        self.partitions = partitions
        self.tail = self.make_tail()
        self.log = io.StringIO()

    def make_tail(self, *others: str) -> KafkaTail:
        properties = {"bootstrap.servers": self.kafka.bootstrap}
        return KafkaTail(properties, dict.fromkeys((self.name, *others), Kind.TELEMETRY))

    def make_reader(self) -> TailReader:
        log = EventLog(level=Level.DEBUG, lines=StreamLines(self.log), renderer=render_json)
        return TailReader(self.tail, WINDOW, quiet_s=0.0, lacking_after_s=inf, log=log)

    def create(self) -> None:
        self.kafka.client.create_topic(self.name, self.partitions)
        self._await_partitions()  # A leader that metadata names may not know it yet.

    def make_anew(self) -> None:
        self.kafka.client.delete_topic(self.name)
        self.create()

    def add_partition(self) -> None:
        self.partitions += 1
        admin = self.kafka.client.admin()  # Kept: its answers end with it.
        added = admin.create_partitions([NewPartitions(self.name, self.partitions)])
        added[self.name].result(REQUEST_TIMEOUT_S)
        self._await_partitions()

    def _await_partitions(self) -> None:
        eventually(
            self._count_partitions,
            lambda count: count == self.partitions,
            what="every partition tells its end",
        )

    def _count_partitions(self) -> int:
        try:
            return len(self.tail.ends())
        except TailUnavailableError:
            return 0

    def write(self, *numbers: int, at_ms: int = NOW_MS, properties: Mapping[str, str] = {}) -> None:
        """Write records as the bridge does, round about the partitions."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, **properties})
        self.hand_out(producer, *numbers, at_ms=at_ms)
        assert 0 == producer.flush(REQUEST_TIMEOUT_S)

    def hand_out(self, producer: Producer, *numbers: int, at_ms: int = NOW_MS) -> None:
        for number in numbers:
            producer.produce(
                self.name,
                b"{}",
                partition=number % self.partitions,
                timestamp=at_ms,
                headers=[("idempotency-key", header(number))],
            )

    def delete_before(self, offset: int) -> None:
        """Do what retention does, in every partition."""
        spots = [TopicPartition(self.name, n, offset) for n in range(self.partitions)]
        admin = self.kafka.client.admin()  # Kept: its answers end with it.
        for each in admin.delete_records(spots).values():
            each.result(REQUEST_TIMEOUT_S)

    def read_from(self, starts: Ends) -> Tail:
        return self.tail.read_from(starts, WINDOW, quiet_s=0.0, was_away=False)

    def read_window(self, window: Window = WINDOW) -> Tail:
        return self.tail.read_window(window, quiet_s=0.0, was_away=False)

    def ends(self, *offsets: int) -> dict[tuple[str, int], int]:
        return {(self.name, partition): offset for partition, offset in enumerate(offsets)}


@pytest.fixture
def topic(kafka: ChosenKafka, unique_name: Callable[[str], str]) -> Topic:
    made = Topic(kafka, unique_name("telemetry"))
    made.create()
    return made


def test_empty_partitions_have_ends_and_nothing_in_them(topic: Topic) -> None:
    nothing = Tail(chunks=[], ends=topic.ends(0, 0), partitions={topic.name: 2})
    assert nothing == topic.read_window()
    assert nothing == topic.read_from(topic.ends(0, 0))
    assert topic.ends(0, 0) == topic.tail.ends()


def test_from_a_checkpoint_on_only_what_came_after_it_is_read(topic: Topic) -> None:
    topic.write(*range(100))
    checkpoint = topic.tail.ends()
    topic.write(*range(100, 150))

    tail = topic.read_from(checkpoint)

    assert topic.ends(50, 50) == checkpoint
    assert known(*range(100, 150)) == found(tail)
    assert topic.ends(75, 75) == tail.ends
    assert [] == tail.shrunk


def test_the_ends_of_one_reading_are_where_the_next_begins(topic: Topic) -> None:
    topic.write(*range(10))
    first = topic.read_window()
    topic.write(*range(10, 14))
    second = topic.read_from(first.ends)

    third = topic.read_from(second.ends)

    assert known(*range(10)) == found(first)
    assert known(*range(10, 14)) == found(second)
    assert set() == found(third)


def test_a_partition_that_is_new_since_the_checkpoint_is_read_too(topic: Topic) -> None:
    topic.write(*range(10))
    checkpoint = topic.tail.ends()
    topic.add_partition()
    topic.write(11, 14)

    tail = topic.read_from(checkpoint)

    assert known(11, 14) == found(tail)
    assert topic.ends(5, 5, 2) == tail.ends
    assert [] == tail.shrunk


def test_a_topic_that_is_new_to_the_bridge_is_read_as_far_as_the_window_reaches(
    topic: Topic, unique_name: Callable[[str], str]
) -> None:
    other = Topic(topic.kafka, unique_name("other"), partitions=1)
    other.create()
    other.write(*range(1_000, 1_020), at_ms=NOW_MS - 2 * HOUR_MS)
    other.write(1_020)

    tail = topic.make_tail(other.name).read_from(
        topic.ends(0, 0), WINDOW, quiet_s=0.0, was_away=False
    )

    assert known(*range(1_011, 1_021)) == found(tail)
    assert {**topic.ends(0, 0), **other.ends(21)} == tail.ends


def test_a_topic_that_was_made_anew_ends_before_the_checkpoint_and_is_named(topic: Topic) -> None:
    topic.write(*range(10))
    checkpoint = topic.tail.ends()
    topic.make_anew()
    topic.write(20, 22, 24)

    tail = topic.read_from(checkpoint)

    assert [(topic.name, 0), (topic.name, 1)] == tail.shrunk
    assert known(20, 22, 24) == found(tail)
    assert topic.ends(3, 0) == tail.ends


def test_a_topic_that_is_gone_ends_before_the_checkpoint_too(topic: Topic) -> None:
    topic.write(*range(10))
    checkpoint = topic.tail.ends()
    topic.kafka.client.delete_topic(topic.name)

    tail = topic.read_from(checkpoint)

    assert [(topic.name, 0), (topic.name, 1)] == tail.shrunk
    assert Tail(chunks=[], ends={}, shrunk=tail.shrunk) == tail


def test_what_retention_deleted_since_the_checkpoint_is_passed_over(topic: Topic) -> None:
    topic.write(*range(10))
    checkpoint = topic.tail.ends()
    topic.write(*range(10, 30))
    topic.delete_before(10)

    tail = topic.read_from(checkpoint)

    assert known(*range(20, 30)) == found(tail)
    assert [] == tail.shrunk


def test_a_window_that_reaches_back_before_what_retention_left_is_what_it_left(
    topic: Topic,
) -> None:
    topic.write(*range(10))
    topic.delete_before(3)

    assert known(*range(6, 10)) == found(topic.read_window())


def test_partitions_that_retention_emptied_have_nothing_in_them(topic: Topic) -> None:
    topic.write(*range(10))
    topic.delete_before(5)

    tail = topic.read_window()

    assert Tail(chunks=[], ends=topic.ends(5, 5), partitions={topic.name: 2}) == tail


def test_what_a_transaction_aborted_is_not_known_and_its_marker_is_no_record_to_wait_for(
    topic: Topic,
) -> None:
    topic.write(0, 1)
    checkpoint = topic.tail.ends()
    producer = Producer(
        {
            "bootstrap.servers": topic.kafka.bootstrap,
            "transactional.id": topic.name,
            "log_level": 0,
        }
    )
    producer.init_transactions(2 * REQUEST_TIMEOUT_S)
    for number, end in ((2, producer.commit_transaction), (3, producer.abort_transaction)):
        producer.begin_transaction()
        topic.hand_out(producer, number)
        producer.flush(REQUEST_TIMEOUT_S)
        end(REQUEST_TIMEOUT_S)

    since, whole = topic.read_from(checkpoint), topic.read_window()

    assert known(2) == found(since)
    assert known(0, 1, 2) == found(whole)


@contextmanager
def somebody_writing(topic: Topic) -> Iterator[None]:
    """Let another client write without a pause."""
    is_over = threading.Event()

    def write() -> None:
        producer = Producer({"bootstrap.servers": topic.kafka.bootstrap, "linger.ms": 0})
        while not is_over.is_set():
            producer.produce(topic.name, b"x", partition=0)
            producer.flush(REQUEST_TIMEOUT_S)

    writer = threading.Thread(target=write)
    writer.start()
    yield
    is_over.set()
    writer.join()


def test_another_writer_that_never_pauses_does_not_keep_the_reading_from_its_end(
    topic: Topic,
) -> None:
    topic.write(1, 3)
    with somebody_writing(topic):
        tail = topic.read_from(topic.ends(0, 0))

    assert known(1, 3) == found(tail)
    assert 2 == tail.ends[topic.name, 1]


async def test_a_start_reads_from_the_checkpoint_of_the_journal(topic: Topic) -> None:
    topic.write(*range(10))
    journal = JournalContent(chunks=[Chunk(NOW_MS, b"")], ends=topic.tail.ends())
    topic.write(*range(10, 12))
    reader = topic.make_reader()

    reading = await reader.read_start(journal)
    reader.close()

    assert known(10, 11) == found(reading)
    assert topic.ends(6, 6) == reading.ends
    assert not reading.is_whole
    assert '"purpose":"checkpoint","keys":2' in topic.log.getvalue()


async def test_a_start_without_a_checkpoint_reads_the_whole_window(topic: Topic) -> None:
    topic.write(*range(10))
    reader = topic.make_reader()

    reading = await reader.read_start(JournalContent())
    reader.close()

    assert known(*range(10)) == found(reading)
    assert topic.ends(5, 5) == reading.ends
    assert reading.is_whole


async def test_a_start_after_a_topic_was_made_anew_drops_the_journal(topic: Topic) -> None:
    topic.write(*range(10))
    journal = JournalContent(ends=topic.tail.ends())
    topic.make_anew()
    topic.write(20, 21)
    reader = topic.make_reader()

    reading = await reader.read_start(journal)
    reader.close()

    assert known(20, 21) == found(reading)
    assert reading.is_whole
    assert '"event":"kafka_partition_shrunk"' in topic.log.getvalue()


async def test_before_anything_is_produced_again_all_since_the_last_checkpoint_is_read(
    topic: Topic,
) -> None:
    topic.write(*range(10))
    checkpoint = topic.tail.ends()
    # An hour old by its time: an offset does not care.
    topic.write(*range(10, 12), at_ms=NOW_MS - HOUR_MS)
    reader = topic.make_reader()

    by_ends = await reader.read_again(checkpoint, oldest_unix_ms=NOW_MS)
    by_time = await reader.read_again(None, oldest_unix_ms=NOW_MS)
    reader.close()

    assert known(10, 11) == {key for chunk in by_ends for key in chunk.split()}
    assert known(*range(12)) == {key for chunk in by_time for key in chunk.split()}


async def test_a_kafka_that_does_not_answer_has_no_ends(topic: Topic) -> None:
    reader = topic.make_reader()
    nowhere = TailReader(
        KafkaTail({"bootstrap.servers": f"127.0.0.1:{free_port()}"}, {topic.name: Kind.TELEMETRY}),
        WINDOW,
        quiet_s=0.0,
        lacking_after_s=inf,
        log=EventLog(level=Level.DEBUG, lines=StreamLines(topic.log), renderer=render_json),
    )

    answers = [await reader.ask_ends(), await nowhere.ask_ends()]
    reader.close()
    nowhere.close()

    assert [topic.ends(0, 0), None] == answers
