"""What the outage machine does in the outages that have a name."""

import itertools
import tracemalloc
from collections.abc import Iterator

import pytest

from bridge.spool.entry import Entry, Read, Write, bucket_of
from bridge.spool.outage import READ_AGAIN_S, Outage
from bridge.spool.row import Row, Scanned
from bridge.spool.topic import Bounds
from bridge.spool.writing import RETRY_MAX_S, RETRY_MIN_S
from tests.spool.world import AFTER_S, PARTITIONS, Message, World, partition_of

KEYS = [b"k%d" % number for number in range(12)]


def keys_of_partition(number: int) -> list[bytes]:
    return [key for key in KEYS if partition_of("t", key)[1] == number]


def publish_all(world: World, keys: list[bytes], kafka_topic: str = "t") -> list[Message]:
    return [world.publish(key, kafka_topic) for key in keys]


def is_in_kafka(world: World, messages: list[Message]) -> bool:
    return {each.number for each in messages} <= world.kafka.numbers()


# ---------------------------------------------------------------- a topic, a partition


def test_a_short_silence_spools_nothing() -> None:
    world = World(1)
    world.kafka.all_down("t")
    publish_all(world, KEYS)

    world.run_for(AFTER_S - 0.5)

    assert 0 == world.disk.transactions
    assert len(KEYS) == len(world.unacknowledged)
    world.kafka.down.clear()
    world.run_for(0.4)
    assert (0, []) == (world.disk.transactions, list(world.unacknowledged))


def test_a_silent_topic_is_spooled_whole_and_acknowledged_and_so_is_what_comes() -> None:
    world = World(1)
    world.kafka.all_down("t")
    publish_all(world, KEYS[:6])

    world.run_for(AFTER_S + 1)
    assert not world.unacknowledged
    assert ["t"] == world.bridge.machine.silent_topics
    publish_all(world, KEYS)
    world.run_for(0.5)

    assert not world.unacknowledged, "new keys need not wait for after_s again"
    assert 18 == world.bridge.machine.spooled
    world.finish()


def test_another_topic_does_not_notice() -> None:
    world = World(1)
    world.window = (
        400  # The first after_s is the MQTT window's to bridge: PUBACKs keep their order.
    )
    world.kafka.all_down("t")

    for _ in range(20):
        publish_all(world, KEYS[:2])
        others = publish_all(world, KEYS, "u")
        world.run_for(1.0)
        assert is_in_kafka(world, others)

    assert not world.disk.rows["u"]
    assert "u" not in world.bridge.machine.stuck_topics
    world.finish()


@pytest.mark.parametrize("by_partition", [False, True])
def test_a_stuck_partition_leaves_the_keys_of_the_others_alone(*, by_partition: bool) -> None:
    world = World(1, by_partition=by_partition)
    world.kafka.down = {("t", 0)}
    others = keys_of_partition(1) + keys_of_partition(2)

    for turn in range(20):
        publish_all(world, keys_of_partition(0))
        unaffected = publish_all(world, others)
        world.run_for(1.0)
        # Until the first record is after_s old, its missing PUBACK holds the MQTT window.
        assert turn < AFTER_S + 1 or is_in_kafka(world, unaffected)

    assert {bucket_of(each) for each in keys_of_partition(0)} >= {
        bucket_of(each.key) for each in world.disk.scan()
    }
    assert [] == world.bridge.machine.silent_topics
    world.finish()


def test_with_partitions_known_one_record_finds_out_for_all_keys_of_its_partition() -> None:
    world = World(1, by_partition=True)
    world.kafka.down = {("t", 0)}
    first, *rest = keys_of_partition(0)
    world.publish(first)
    publish_all(world, keys_of_partition(1))
    for _ in range(14):
        world.run_for(AFTER_S / 10)
        publish_all(world, keys_of_partition(1)[:1])  # Signs of life.
    world.run_for(0.3)

    publish_all(world, rest)
    world.run_for(0.3)

    assert not world.unacknowledged
    world.finish()


def test_one_stuck_partition_does_not_stop_the_drain_of_the_others() -> None:
    world = World(1)
    world.kafka.all_down("t")
    for _ in range(10):
        publish_all(world, KEYS)
        world.run_for(1.0)
    world.kafka.down = {("t", 0)}

    world.run_for(60.0)

    stuck = {key for key in KEYS if partition_of("t", key)[1] == 0}
    assert stuck == {each.key for each in world.disk.scan()}
    assert len(world.kafka.queues["t", 0]) <= world.bounds.in_hand_max
    world.finish()


def test_a_healthy_partition_is_found_though_only_a_stuck_one_was_in_use() -> None:
    world = World(1)
    world.kafka.down = {("t", 0)}
    world.publish(keys_of_partition(0)[0])
    world.run_for(AFTER_S + 1)
    assert ["t"] == world.bridge.machine.silent_topics

    healthy = publish_all(world, keys_of_partition(1))
    world.run_for(2 * AFTER_S)

    assert is_in_kafka(world, healthy)
    world.finish()


def test_what_librdkafka_holds_is_not_produced_a_second_time() -> None:
    world = World(1)
    world.kafka.all_down("t")
    publish_all(world, KEYS)
    world.run_for(30.0)

    held = sum(map(len, world.kafka.queues.values()))

    assert len(KEYS) == held
    world.finish()


# ---------------------------------------------------------------- restarts


def test_what_is_still_direct_goes_to_the_spool_before_what_follows_it() -> None:
    world = World(1)
    machine = Outage(after_s=AFTER_S, bytes_max=1 << 30)
    machine.restore([Scanned(1, "t", b"k", b"0")], 3)
    direct = [(b"k", world.now, "older"), (b"other", world.now, "not in question")]

    chosen = machine.choose("t", direct, world.now, {b"k"})

    assert ([], ["older"]) == (chosen.stuck, chosen.along)


def test_rows_left_by_an_earlier_process_rest_until_the_drain_is_permitted() -> None:
    world = World(1)
    world.kafka.all_down("t")
    publish_all(world, KEYS)
    world.run_for(10.0)
    world.kafka.down.clear()
    landed = world.kafka.numbers()
    world.chance.seed(3)
    world.crash()  # Some of it was on the wire, and arrives.
    landed = world.kafka.numbers() - landed

    world.run_for(60.0)
    assert landed == world.kafka.numbers()
    assert 0 < len(landed) < len(KEYS)

    world.finish()
    assert len(landed) == world.facts["found"]


def test_a_cluster_still_away_after_a_restart_is_probed_with_one_row_each_after_s() -> None:
    world = World(1)
    world.kafka.all_down("t")
    for _ in range(3):
        publish_all(world, KEYS)
        world.run_for(3.0)
    world.crash()
    world.bridge.permit()

    world.run_for(0.5)
    assert 1 == sum(map(len, world.kafka.queues.values()))
    world.run_for(4 * AFTER_S)

    assert sum(map(len, world.kafka.queues.values())) <= 6
    world.finish()


# ---------------------------------------------------------------- the spool full, failing, off


def test_a_full_spool_stops_the_pubacks_and_drops_nothing() -> None:
    world = World(1, bytes_max=60)
    world.kafka.all_down("t")
    for _ in range(10):
        publish_all(world, KEYS)
        world.run_for(2.0)

    machine = world.bridge.machine
    assert "spool_full" == machine.state
    assert world.window == len(world.unacknowledged)
    assert 40 < world.disk.live_bytes <= 60
    world.finish()
    assert machine.state is None


def test_a_spool_full_of_one_topic_does_not_hold_another_that_came_back() -> None:
    world = World(1, bytes_max=60)
    world.window = 400
    world.kafka.all_down("t")
    publish_all(world, KEYS * 3)
    world.run_for(10.0)
    world.kafka.all_down("u")
    others = publish_all(world, KEYS * 2, "u")
    world.run_for(10.0)
    assert not is_in_kafka(world, others)
    world.kafka.down = {each for each in world.kafka.down if each[0] == "t"}

    others += publish_all(world, KEYS, "u")
    world.run_for(5.0)

    assert is_in_kafka(world, others)
    assert "spool_full" == world.bridge.machine.state
    world.finish()


def test_a_failing_disk_is_tried_again_ever_more_slowly_while_forwarding_goes_on() -> None:
    machine = Outage(after_s=AFTER_S, bytes_max=1 << 30)
    machine.divert([Entry("t", b"k", b"", b"r")], 0.0)

    now, tries = 0.0, []
    while now < 120.0:
        if isinstance(machine.due(now).disk, Write):
            tries.append(now)
            machine.write_failed("disk I/O error", now)
        now += 0.5

    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert [RETRY_MIN_S, 1.0, 2.0, 4.0, 8.0, 16.0, RETRY_MAX_S] == gaps[:7]
    assert ("spool_failed", "disk I/O error") == (machine.state, machine.error)
    assert not machine.follows("u", b"k")


def test_a_disk_that_cannot_be_read_is_tried_again_later() -> None:
    machine = Outage(after_s=AFTER_S, bytes_max=1 << 30)
    machine.restore([Scanned(1, "t", b"k", b"")], 3)
    machine.permit_drain()
    assert isinstance(machine.due(10.0).disk, Read)

    machine.read_failed("disk I/O error", 10.0)

    assert machine.due(10.0 + READ_AGAIN_S / 2).disk is None
    assert "spool_failed" == machine.state
    assert isinstance(machine.due(10.0 + READ_AGAIN_S).disk, Read)
    assert [b"k"] == [
        each.key for each in machine.read([Row(1, b"k", b"", b"r")], 12.0, is_last=True).taken
    ]
    assert machine.state is None


def test_rows_that_kafka_has_already_go_at_once_though_the_topic_has_still_to_prove_itself() -> (
    None
):
    rows = [Row(number, b"k%d" % number, b"", b"r") for number in range(1, 1_001)]
    machine = Outage(after_s=5.0, bytes_max=1 << 30)
    machine.restore((Scanned(each.sequence, "t", each.key, each.identity) for each in rows), 0)
    machine.permit_drain()
    job = machine.due(10.0).disk
    assert isinstance(job, Read)

    drained = machine.read(rows, 10.0, is_last=True, is_in_kafka=lambda row: row.sequence != 7)
    write = machine.due(10.0).disk

    assert [7] == [each.sequence for each in drained.taken]
    assert 999 == len(drained.found)
    assert isinstance(write, Write)
    assert 999 == len(write.removed)
    assert 1 == machine.spooled


def test_a_letter_that_a_full_disk_does_not_take_keeps_no_row_from_going() -> None:
    rows = [Row(number, b"k%d" % number, b"", b"r") for number in (1, 2)]
    machine = Outage(after_s=5.0, bytes_max=1 << 30)
    machine.restore((Scanned(each.sequence, "t", each.key, each.identity) for each in rows), 0)
    machine.permit_drain()
    machine.alive(["t"], 9.0)
    machine.due(10.0)
    first, second = machine.read(rows, 10.0, is_last=True).taken
    machine.replace(first, Entry("dlq", b"k1", b"", b"letter"), 10.0)
    machine.due(10.0)
    machine.write_failed("database or disk is full", 10.0)

    machine.confirmed([second], 11.0)
    tried = []
    for turn in (12.0, 50.0):
        write = machine.due(turn).disk
        assert isinstance(write, Write)
        tried.append((len(write.entries), len(write.removed)))
        machine.write_failed("database or disk is full", turn)

    assert [(0, 1), (1, 1)] == sorted(tried)


@pytest.mark.parametrize(
    ("keys", "probe"),
    [
        ([b"a", b"b", b"a"], [b"b"]),
        ([b"a", b"a"], [b"a", b"a"]),
        ([b"a", b"b", b"a", b"b"], [b"a", b"a"]),
    ],
)
def test_a_silent_topic_is_probed_with_all_of_a_key_and_with_the_key_that_has_the_least(
    keys: list[bytes], probe: list[bytes]
) -> None:
    machine = Outage(after_s=AFTER_S, bytes_max=1)
    assert ["x"] == machine.choose("t", [(b"x", 0.0, "x")], 10.0).stuck
    refused = Entry("t", b"x", b"", b"record", is_in_hand=True)
    machine.divert([refused], 10.0, is_stuck=True)
    machine.divert([Entry("t", key, b"%d" % each, b"r") for each, key in enumerate(keys)], 10.0)
    machine.replace(refused, Entry("dlq", b"x", b"", b"letter"), 10.0)
    machine.due(10.0)
    machine.written([1], 7)  # The letter, which no bound keeps out.
    assert ["t"] == machine.silent_topics

    machine.permit_drain()
    forward: list[Entry] = []
    while not forward:
        due = machine.due(10.0)
        forward = due.forward
        if due.disk is not None:
            assert isinstance(due.disk, Read), "nothing fits"
            machine.read([], 10.0, is_last=True)

    assert probe == [each.key for each in forward]
    assert sorted(each.identity for each in forward) == [each.identity for each in forward]


def test_turned_off_nothing_is_ever_diverted() -> None:
    world = World(1, bytes_max=0)
    world.kafka.all_down("t")
    publish_all(world, KEYS)

    world.run_for(60.0)

    assert len(KEYS) == len(world.unacknowledged)
    assert world.bridge.machine.is_quiet
    world.finish()


def test_at_the_end_everything_pending_is_one_write_whatever_failed_before() -> None:
    machine = Outage(after_s=AFTER_S, bytes_max=1 << 30)
    machine.divert([Entry("t", b"k", b"", b"1")], 0.0)
    machine.due(0.0)
    machine.write_failed("disk I/O error", 0.0)
    machine.divert([Entry("u", b"k", b"", b"2"), Entry("t", b"k", b"", b"3")], 0.0)

    write = machine.last_write()

    assert write is not None
    assert [b"1", b"3", b"2"] == [each.record for each in write.entries]
    assert write.entries == machine.written([1, 2, 3], 9)
    assert machine.last_write() is None


# ---------------------------------------------------------------- refused for good


def test_a_refused_row_goes_in_the_transaction_that_brings_its_letter() -> None:
    world = World(1)
    world.kafka.all_down("t")
    world.publish(b"k", is_refused=True)
    world.publish(b"k")
    world.run_for(AFTER_S + 1)
    world.kafka.all_down("dlq")
    world.kafka.down -= {("t", each) for each in range(PARTITIONS)}

    world.run_for(10.0)

    assert [("dlq", b"0")] == [(each.kafka_topic, each.identity) for each in world.disk.scan()]
    world.finish()


# ---------------------------------------------------------------- bounds


def rows_of(count: int, keys: int) -> Iterator[Row]:
    return (Row(1 + n, b"device-%d" % (n % keys), b"", b"r") for n in range(count))


def test_draining_past_a_stuck_partition_takes_memory_for_neither_rows_nor_keys() -> None:
    rows, keys = 60_000, 5_000
    machine = Outage(
        after_s=AFTER_S,
        bytes_max=1 << 30,
        group_of=lambda _, key: bucket_of(key) % 4,
        bounds=Bounds(window_rows=1_000),
    )
    machine.restore((Scanned(each.sequence, "t", each.key, b"") for each in rows_of(rows, keys)), 1)
    machine.permit_drain()
    source = list(rows_of(rows, keys))
    tracemalloc.start()

    now, held, confirmed = 0.0, 0, 0
    while confirmed < rows * 3 // 4 - 2_000 and now < 1_000:
        now += 0.05
        disk = machine.due(now).disk
        if isinstance(disk, Write):
            machine.written([], 0)
        elif isinstance(disk, Read):
            found = source[disk.after : disk.after + disk.rows_max]
            taken = machine.read(found, now, is_last=len(found) < disk.rows_max).taken
            held += sum(each.group == 0 for each in taken)
            reported = [each for each in taken if each.group != 0]
            machine.confirmed(reported, now)
            confirmed += len(reported)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert confirmed >= rows * 3 // 4 - 2_000
    assert held <= 1_000, "no more than a window of the stuck partition"
    assert peak < 4_000_000, f"{peak} bytes"
