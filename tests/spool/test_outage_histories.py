"""Whatever happens to disk, Kafka and bridge: once, in order, and nothing left behind."""

from collections import Counter

from hypothesis import given, settings, strategies as st

from tests.spool.world import LETTERS, PARTITIONS, World

FACTS = {
    "crashes",
    "crashes with rows",
    "forwarded",
    "found",
    "handed out",
    "letters for rows",
    "safe in hand",
    "safe and resting",
    "skipped passes",
    "spool_failed",
    "spool_full",
    "probes",
    "stuck and unwritten",
}
TOPICS = ("t", "u", LETTERS)


def publish_some(world: World, keys: int) -> None:
    for _ in range(world.chance.randint(0, 6)):
        key = b"k%d" % world.chance.randrange(keys)
        topic = world.chance.choice(("t", "t", "u"))
        world.publish(key, topic, is_refused=world.chance.random() < 0.04)


def change_the_cluster(world: World) -> None:
    chance = world.chance
    topic = chance.choice(TOPICS)
    match chance.randrange(4):
        case 0:
            world.kafka.all_down(topic)
        case 1:
            world.kafka.down.add((topic, chance.randrange(PARTITIONS)))
        case 2:
            world.kafka.down -= {each for each in world.kafka.down if each[0] == topic}
        case _:
            world.kafka.down.clear()


def change_the_disk(world: World) -> None:
    if world.chance.random() < 0.04:
        world.disk.is_failing = not world.disk.is_failing
    if world.chance.random() < 0.15:
        change_the_cluster(world)


def start_or_crash(world: World) -> None:
    if not world.bridge.is_permitted and world.chance.random() < 0.3:
        world.bridge.permit()
    elif world.chance.random() < 0.05:
        world.crash()


def happen(world: World, keys: int) -> None:
    """Let one thing happen, in any order with all others."""
    chance, bridge = world.chance, world.bridge
    things = (
        lambda: publish_some(world, keys),
        lambda: publish_some(world, keys),
        lambda: world.deliver(chance.randint(1, 12)),
        world.append_some,
        world.report_some,
        bridge.tick,
        bridge.tick,
        bridge.run_job,
        bridge.tell_result,
        lambda: world.pass_time(chance.choice((0.01, 0.1, 1.0, 3.0))),
        lambda: change_the_disk(world),
        lambda: start_or_crash(world),
    )
    chance.choice(things)()


def live(seed: int, *, bytes_max: int, by_partition: bool, keys: int) -> World:
    world = World(seed, bytes_max=bytes_max, by_partition=by_partition)
    for _ in range(700):
        happen(world, keys)
        world.check_stuck()
    world.finish()
    return world


@given(
    st.integers(0, 2**32),
    st.sampled_from((1 << 30, 150, 0)),
    st.booleans(),
    st.sampled_from((2, 12)),
)
@settings(max_examples=250, deadline=None)
def test_every_message_ends_in_kafka_once_and_in_order(
    seed: int,
    bytes_max: int,
    by_partition: bool,  # noqa: FBT001  drawn by name
    keys: int,
) -> None:
    live(seed, bytes_max=bytes_max, by_partition=by_partition, keys=keys)


def test_the_histories_do_contain_what_they_are_about() -> None:
    facts = Counter[str]()
    for seed in range(60):
        facts += live(
            seed,
            bytes_max=(1 << 30, 150)[seed % 2],
            by_partition=bool(seed // 2 % 2),
            keys=12,
        ).facts

    rare = {name: count for name, count in facts.items() if count < 60}

    assert {} == rare
    assert FACTS == set(facts)
