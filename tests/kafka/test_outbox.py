"""What is owed to Kafka, through every kind of failure."""

import random
from collections import defaultdict, deque

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from bridge.kafka.lane import AGAIN_MAX, RETRY_S
from bridge.kafka.outbox import BLOCKED_RUN, Outbox
from bridge.kafka.record import DeadLetter, Instant, Record
from bridge.kafka.shipment import OBJECTS_BYTES, Shipment, Unsettled

NOW = Instant(unix_us=0, monotonic_s=0.0, rfc3339="1970-01-01T00:00:00.000000Z")


class Packet(msgspec.Struct):
    topic: str = "devices/a/telemetry"
    payload: bytes = b"12345"
    content_type: str | None = None


class Receipt(msgspec.Struct, eq=False):
    settled: bool = False
    is_promised: bool = True

    def settle(self) -> None:
        self.settled = True


def record(value: bytes = b"1", *, key: bytes = b"a", kafka_topic: str = "t") -> Record:
    return Record(kafka_topic, key, value, [], NOW, Packet())


def outbox(*, records_max: int = 100, bytes_max: int = 1 << 30) -> Outbox:
    return Outbox(Unsettled(records_max=records_max, bytes_max=bytes_max))


def add(box: Outbox, *records: Record) -> list[Shipment]:
    return box.add(list(records), [Receipt() for _ in records], 0.0)


def values(shipments: list[Shipment]) -> list[bytes]:
    return [each.record.value for each in shipments]


# ---------------------------------------------------------------- the open lane


def test_an_open_lane_passes_records_on_at_once_and_forgets_them_when_confirmed() -> None:
    box = outbox()

    due = add(box, record(b"1"), record(b"2"))

    assert [b"1", b"2"] == values(due)
    settlement = box.settle([(each, None) for each in due], 1.0)
    assert due == settlement.confirmed
    assert (0, 0) == (len(box), box.unsettled.bytes)


def test_the_bounds_count_records_and_what_is_held_of_them() -> None:
    box = outbox(records_max=3)

    due = add(box, record(), record())
    before = box.unsettled.is_full
    due += add(box, record())
    after = box.unsettled.is_full
    box.settle([(due[0], None)], 1.0)

    assert (False, True) == (before, after)
    assert box.unsettled.has_room
    assert 2 * (5 + 1 + OBJECTS_BYTES) == box.unsettled.bytes


def test_the_bound_in_bytes_stops_reading_too() -> None:
    box = outbox(records_max=1_000, bytes_max=3 * OBJECTS_BYTES)

    add(box, *[record(b"x" * 5) for _ in range(3)])

    assert box.unsettled.is_full
    assert box.unsettled.is_full_of_bytes


# ---------------------------------------------------------------- failures


def test_a_passing_failure_is_produced_again_before_anything_newer() -> None:
    box = outbox()
    first, second = add(box, record(b"1"), record(b"2"))

    settlement = box.settle([(first, "UNKNOWN")], 1.0)

    assert 1 == settlement.again
    assert [] == add(box, record(b"3"))
    assert [] == box.due(1.0), "the second is still under way"
    box.settle([(second, "UNKNOWN")], 1.0)
    assert [b"1", b"2", b"3"] == values(box.due(1.0))
    assert [b"4"] == values(add(box, record(b"4")))


def test_a_failure_that_a_newer_record_of_its_device_passed_is_counted_once() -> None:
    box = outbox()
    first, second, other = add(box, record(b"1"), record(b"2"), record(b"3", key=b"b"))

    box.settle([(second, None), (other, None), (first, "UNKNOWN")], 1.0)
    again = box.due(1.0)
    box.settle([(again[0], "UNKNOWN")], 1.0)
    again = box.due(1.0)

    assert [b"1"] == values(again)
    assert 1 == box.reordered


def test_a_failure_that_a_newer_record_passes_only_afterwards_is_counted_too() -> None:
    box = outbox()
    first, second = add(box, record(b"1"), record(b"2"))

    box.settle([(first, "UNKNOWN")], 1.0)
    box.settle([(second, None)], 1.0)

    assert [b"1"] == values(box.due(1.0))
    assert 1 == box.reordered


def test_a_failure_passed_only_by_another_device_is_not_reordered() -> None:
    box = outbox()
    first, other = add(box, record(b"1"), record(b"2", key=b"b"))

    box.settle([(other, None), (first, "UNKNOWN")], 1.0)

    assert [b"1"] == values(box.due(1.0))
    assert 0 == box.reordered


def test_a_record_that_fails_for_passing_reasons_too_often_is_held() -> None:
    box = outbox()
    due = add(box, record())

    for _ in range(AGAIN_MAX):
        box.settle([(due[0], "UNKNOWN")], 1.0)
        due = box.due(1.0)
    settlement = box.settle([(due[0], "UNKNOWN")], 1.0)

    assert [("t", "UNKNOWN")] == settlement.held


def test_a_refused_topic_is_probed_with_one_record_and_recovers_in_order() -> None:
    box = outbox()
    due = add(box, *[record(b"%d" % i) for i in range(5)])
    settlement = box.settle([(each, "TOPIC_AUTHORIZATION_FAILED") for each in due], 10.0)
    assert [("t", "TOPIC_AUTHORIZATION_FAILED")] == settlement.held
    assert {"t": "TOPIC_AUTHORIZATION_FAILED"} == box.held_topics

    assert [] == box.due(10.0 + RETRY_S - 0.1)
    probe = box.due(10.0 + RETRY_S)
    assert [b"0"] == values(probe)
    assert [] == box.due(100.0), "one probe at a time"
    assert ["t"] == box.settle([(probe[0], None)], 100.0).recovered

    assert [b"1", b"2", b"3", b"4"] == values(box.due(100.0))
    assert {} == box.held_topics


def test_a_held_topic_does_not_hold_the_others() -> None:
    box = outbox()
    due = add(box, record(kafka_topic="held"))
    box.settle([(due[0], "UNKNOWN_TOPIC_OR_PART")], 1.0)

    assert [b"7"] == values(add(box, record(b"7", kafka_topic="open")))


def test_a_confirmation_of_what_was_under_way_does_not_end_a_hold() -> None:
    box = outbox()
    first, second = add(box, record(b"1"), record(b"2", key=b"b"))
    box.settle([(first, "TOPIC_AUTHORIZATION_FAILED")], 1.0)

    settlement = box.settle([(second, None)], 1.0)

    assert [] == settlement.recovered
    assert ["t"] == list(box.held_topics)


def refused(box: Outbox, due: list[Shipment]) -> list[bytes]:
    settlement = box.settle([(each, "MSG_SIZE_TOO_LARGE") for each in due], 1.0)
    return values([each.shipment for each in settlement.refusals])


def test_a_batch_refused_for_its_size_is_tried_in_ever_smaller_runs() -> None:
    box = outbox()
    due = add(box, *[record(b"x" * 50_000) for _ in range(12)])

    runs = []
    while due:
        runs.append(len(due))
        assert [] == refused(box, due) or len(due) == 1
        due = box.due(1.0) if len(due) > 1 else []

    assert [12, 5, 2, 1] == runs


def test_runs_that_are_taken_grow_until_the_lane_is_open_again() -> None:
    box = outbox()
    due = add(box, *[record(b"x" * 50_000) for _ in range(12)])
    refused(box, due)
    refused(box, box.due(1.0))

    runs = []
    while due := box.due(1.0):
        runs.append(len(due))
        box.settle([(each, None) for each in due], 1.0)

    assert [2, 5, 5] == runs
    assert 1 == len(add(box, record(b"9"))), "the lane is open again"


def test_a_topic_that_takes_only_small_batches_is_served_at_the_size_it_takes() -> None:
    box = outbox(records_max=10_000, bytes_max=1 << 30)
    due = add(box, *[record(b"x" * 1_000) for _ in range(2_000)])

    rounds = 0
    while due:
        rounds += 1
        is_taken = sum(len(each.record.value) for each in due) <= 100_000
        assert [] == refused(box, due) if not is_taken else True
        if is_taken:
            box.settle([(each, None) for each in due], 1.0)
        due = box.due(1.0)

    assert 0 == len(box)
    assert rounds < 2_000 / 20, "not one by one"


def test_a_record_refused_alone_is_refused_for_good_and_its_neighbours_go_on() -> None:
    box = outbox()
    due = add(box, record(b"L" * 300_000), record(b"2"))
    assert [] == refused(box, due)
    alone = box.due(1.0)
    settlement = box.settle([(alone[0], "MSG_SIZE_TOO_LARGE")], 1.0)

    (refusal,) = settlement.refusals
    box.withdraw(refusal.shipment)

    assert due[0] is refusal.shipment
    assert 1 == len(box)
    assert [b"2"] == values(box.due(1.0))


def test_what_shares_an_open_lane_did_not_travel_alone_though_a_run_of_one_opened_it() -> None:
    box = outbox()
    due = add(box, record(b"1"))
    box.settle([(due[0], "UNKNOWN")], 1.0)
    box.settle([(box.due(1.0)[0], None)], 1.0)

    due = add(box, record(b"2"), record(b"3"))

    assert [] == refused(box, due)


def test_a_record_that_librdkafka_itself_refuses_needs_no_second_try_and_holds_nobody() -> None:
    box = outbox()
    due = add(box, record(b"1"), record(b"large"))
    due[1].is_refused_locally = True

    assert [b"large"] == refused(box, due[1:])
    assert [b"3"] == values(add(box, record(b"3"))), "the lane is still open"


def test_a_dead_letter_with_nothing_left_to_cut_is_held_instead() -> None:
    box = outbox()
    letter = DeadLetter("id", "empty", "protocol", "", "a", "devices/a/telemetry")
    due = box.add([msgspec.structs.replace(record(b""), dead_letter=letter)], [Receipt()], 0.0)

    settlement = box.settle([(due[0], "MSG_SIZE_TOO_LARGE")], 1.0)

    assert [("t", "MSG_SIZE_TOO_LARGE")] == settlement.held


@pytest.mark.parametrize("error", ["INVALID_RECORD", "INVALID_TIMESTAMP"])
def test_a_dead_letter_that_is_not_refused_for_its_size_is_held_whole(error: str) -> None:
    box = outbox()
    letter = DeadLetter("id", "empty", "protocol", "", "a", "devices/a/telemetry")
    whole = msgspec.structs.replace(record(b"payload"), dead_letter=letter)
    due = box.add([whole], [Receipt()], 0.0)

    settlement = box.settle([(due[0], error)], 1.0)

    assert [] == settlement.refusals
    assert [("t", error)] == settlement.held
    assert [b"payload"] == values(box.due(10.0))


def test_after_a_fatal_error_everything_unconfirmed_is_handed_out_again_in_order() -> None:
    box = outbox()
    due = add(box, *[record(b"%d" % i) for i in range(4)])
    box.settle([(due[1], None)], 1.0)
    assert "_FATAL" == box.settle([(due[0], "_FATAL")], 1.0).fatal

    box.seal()

    assert [] == box.due(10.0)
    assert [] == add(box, record(b"4"))
    assert [] == box.unseal(set()).confirmed
    assert [b"0", b"2", b"3", b"4"] == values(box.due(10.0))


def test_what_is_found_in_kafka_after_a_fatal_error_is_confirmed_and_not_produced_again() -> None:
    box = outbox()
    add(box, *[msgspec.structs.replace(record(b"%d" % i), dedup_key=b"%d" % i) for i in range(4)])
    box.seal()

    confirmed = box.unseal({b"1", b"2"}).confirmed

    assert [b"1", b"2"] == values(confirmed)
    assert [b"0", b"3"] == values(box.due(1.0))
    assert 2 == len(box)


def test_a_full_local_queue_is_asked_again_only_after_reports() -> None:
    box = outbox()
    due = add(box, *[record(b"%d" % i) for i in range(4)])
    box.put_back(due[2:])

    assert box.is_blocked
    assert [] == add(box, record(b"4"))
    assert [] == box.due(1.0, is_room_likely=False)
    box.settle([(due[0], None)], 1.0)
    assert [b"2", b"3", b"4"] == values(box.due(1.0))
    assert not box.is_blocked


# ---------------------------------------------------------------- any history

ERRORS = (
    "UNKNOWN",
    "THROTTLING_QUOTA_EXCEEDED",
    "MSG_SIZE_TOO_LARGE",
    "INVALID_RECORD",
    "TOPIC_AUTHORIZATION_FAILED",
    "_UNKNOWN_TOPIC",
    "_FATAL",
)


def test_what_waited_for_a_new_producer_goes_out_whole_and_opens_the_lane() -> None:
    box = outbox(records_max=10_000)
    count = 2 * BLOCKED_RUN + 1
    box.put_back(add(box, *[record(b"%d" % number) for number in range(count)]))
    assert box.is_blocked

    due = box.due(now=0.0, is_room_likely=True, is_whole=True)

    assert [b"%d" % number for number in range(count)] == values(due)
    assert not box.is_blocked


class Cluster:
    """Kafka and librdkafka in one: partitions report in their own time, and fail by chance."""

    def __init__(self, chance: random.Random, queue_max: int) -> None:
        self.chance = chance
        self.queue_max = queue_max
        self.is_well = False
        self.partitions: dict[tuple[str, int], deque[Shipment]] = defaultdict(deque)
        self.log: dict[tuple[str, bytes], list[int]] = defaultdict(list)

    def produce(self, shipments: list[Shipment]) -> list[Shipment]:
        room = self.queue_max - sum(map(len, self.partitions.values()))
        for each in shipments[: max(0, room)]:
            self.partitions[each.record.kafka_topic, each.record.key[0] % 2].append(each)
        return shipments[max(0, room) :]

    def report(self) -> list[tuple[Shipment, str | None]]:
        reports: list[tuple[Shipment, str | None]] = []
        for partition in self.partitions.values():
            for _ in range(self.chance.randint(0, len(partition))):
                shipment = partition.popleft()
                is_failed = not self.is_well and self.chance.random() < 0.2
                error = self.chance.choice(ERRORS) if is_failed else None
                if error is None:
                    place = (shipment.record.kafka_topic, shipment.record.key)
                    self.log[place].append(int(shipment.record.value))
                reports.append((shipment, error))
        return reports


class Run:
    """One history: messages come in, Kafka does what it likes, then gets well."""

    def __init__(self, seed: int, queue_max: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311  repeatable
        self.cluster = Cluster(self.chance, queue_max)
        self.box = outbox(records_max=1_000_000, bytes_max=1 << 40)
        self.receipts: list[Receipt] = []
        self.settled: dict[int, int] = defaultdict(int)
        self.now = 0.0

    def send(self, shipments: list[Shipment]) -> None:
        self.box.put_back(self.cluster.produce(shipments))

    def arrive(self) -> None:
        count = self.chance.randint(0, 5)
        first = len(self.receipts)
        receipts = [Receipt() for _ in range(count)]
        self.receipts += receipts
        self.send(
            self.box.add(
                [
                    record(
                        b"%d" % (first + i),
                        key=bytes([97 + self.chance.randint(0, 3)]),
                        kafka_topic=self.chance.choice(("t", "u")),
                    )
                    for i in range(count)
                ],
                receipts,
                self.now,
            )
        )

    def overtaken(self) -> int:
        """Count the records that came behind a newer one of their device, as Kafka has them."""
        count = 0
        for (kafka_topic, _), numbers in self.cluster.log.items():
            newest = -1
            for number in numbers if kafka_topic != "dlq" else ():
                count += number < newest
                newest = max(newest, number)
        return count

    def serve(self) -> None:
        self.now += self.chance.random()
        reports = self.cluster.report()
        settlement = self.box.settle(reports, self.now)
        for shipment in settlement.confirmed:
            self.settled[int(shipment.record.value)] += 1
        for refusal in settlement.refusals:
            refused = refusal.shipment.record
            letter = msgspec.structs.replace(refused, kafka_topic="dlq")
            self.box.withdraw(refusal.shipment)
            self.send(self.box.add([letter], [refusal.shipment.receipt], self.now))
        if settlement.fatal is not None:
            self.cluster.partitions.clear()
            self.box.seal()
            self.box.unseal(set())
        self.send(self.box.due(self.now, is_room_likely=bool(reports)))


@given(st.integers(0, 2**32), st.sampled_from((3, 20, 10_000)))
@settings(max_examples=300, deadline=None)
def test_whatever_kafka_does_each_record_is_settled_once_and_order_breaks_only_if_counted(
    seed: int, queue_max: int
) -> None:
    run = Run(seed, queue_max)

    for _ in range(30):
        run.arrive()
        run.serve()
    run.cluster.is_well = True
    for _ in range(2_000):
        run.serve()
        if not len(run.box):
            break

    assert 0 == len(run.box), "everything settles once Kafka is well"
    assert 0 == run.box.unsettled.bytes
    assert dict.fromkeys(range(len(run.receipts)), 1) == dict(run.settled)
    assert {} == run.box.held_topics
    assert run.overtaken() <= run.box.reordered


def test_the_count_of_overtaken_records_is_exact_where_only_one_record_fails() -> None:
    box = outbox()
    due = add(box, *[record(b"%d" % i) for i in range(5)])

    box.settle([(due[0], "UNKNOWN"), *[(each, None) for each in due[1:]]], 1.0)
    box.settle([(each, None) for each in box.due(1.0)], 1.0)

    assert 1 == box.reordered
