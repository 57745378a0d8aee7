"""What befalls the world in one run: drawn from the seed, each with its end."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from tests.simulation.kafka import FATAL_ERRORS, REFUSALS

if TYPE_CHECKING:
    from tests.simulation.world import World

Fault: TypeAlias = "Callable[[World], None]"
BUSY_CODES = (0x88, 0x89, 0x97)


def cut_the_link(world: "World") -> None:
    world.note("link cut")
    world.broker.cut()


def restart_the_broker(world: "World") -> None:
    world.note("broker down")
    world.broker.is_up = False
    world.broker.cut()

    def come_back() -> None:
        world.note("broker up")
        world.broker.is_up = True

    world.later(world.span_s(), come_back)


def restore_the_broker(world: "World") -> None:
    world.note("broker snapshot")
    snapshot = world.broker.snapshot()

    def restore() -> None:
        is_requeued = world.chance.random() < 0.6
        world.note("broker restored", is_requeued)
        world.broker.restore(snapshot, is_requeued=is_requeued)

    world.later(world.span_s(), restore)


def lose_the_session(world: "World") -> None:
    world.note("session lost")
    world.broker.restore(None, is_requeued=False)


def refuse_connections(world: "World") -> None:
    code = world.chance.choice(BUSY_CODES)
    world.note("broker refuses", hex(code))
    world.broker.refusal = code
    world.broker.cut()

    def accept() -> None:
        world.broker.refusal = 0

    world.later(world.span_s(), accept)


def slow_the_network(world: "World") -> None:
    world.note("network slow")
    world.broker.slowness_s = world.chance.choice((0.2, 1.0))

    def hurry() -> None:
        world.broker.slowness_s = 0.01

    world.later(world.span_s(), hurry)


def crash_the_bridge(world: "World") -> None:
    world.crash()
    # The start is a moment like any other.
    if world.chance.random() < 0.3:
        world.later(world.span_s(), world.crash)


def crash_as_rows_leave(world: "World") -> None:
    """Crash when rows are in Kafka and still on disk, and once more soon after."""
    world.disk.slowness_s = 1.0
    crashes = [world.crash] * 2

    def watch() -> None:
        process = world.process
        is_moment = process is not None and world.chance.random() < 0.4
        if is_moment and process is not None and process.spooling.machine.removals_due:
            world.note("bridge crashed as rows left")
            crashes.pop()()
        if crashes:
            world.later(0.2, watch)

    watch()


def stop_the_bridge(world: "World") -> None:
    world.stop()


def _for_a_while(world: "World", begin: Callable[[], None], end: Callable[[], None]) -> None:
    world.cluster.change(begin)

    def finish() -> None:
        world.note("kafka better")
        world.cluster.change(end)

    world.later(world.span_s(), finish)


def freeze_kafka(world: "World") -> None:
    world.note("kafka frozen")
    _for_a_while(
        world,
        lambda: setattr(world.cluster, "is_frozen", True),
        lambda: setattr(world.cluster, "is_frozen", False),
    )


def send_kafka_away(world: "World") -> None:
    world.note("kafka away")
    _for_a_while(
        world,
        lambda: setattr(world.cluster, "is_away", True),
        lambda: setattr(world.cluster, "is_away", False),
    )


def take_leaders(world: "World") -> None:
    places = list(world.cluster.logs)
    taken = set(world.chance.sample(places, world.chance.randint(1, max(1, len(places) // 2))))
    world.note("leaderless", sorted(taken))
    _for_a_while(
        world,
        lambda: world.cluster.leaderless.update(taken),
        lambda: world.cluster.leaderless.difference_update(taken),
    )


def crash_with_leaders_gone(world: "World") -> None:
    """Let a start find partitions that nobody can read."""
    take_leaders(world)
    world.later(world.chance.random(), world.crash)


def refuse_a_topic(world: "World") -> None:
    topic = world.chance.choice(world.cluster.topics)
    error = world.chance.choice(REFUSALS)
    world.note("topic refused", topic, error)
    _for_a_while(
        world,
        lambda: world.cluster.refused.update({topic: error}),
        world.cluster.refused.clear,
    )


def fail_some_batches(world: "World") -> None:
    world.note("batches fail")
    world.cluster.failing_share = world.chance.choice((0.1, 0.5))

    def mend() -> None:
        world.cluster.failing_share = 0.0

    world.later(world.span_s(), mend)


def slow_the_reports(world: "World") -> None:
    world.note("reports slow")
    world.cluster.report_s = world.chance.choice((0.5, 4.0))

    def hurry() -> None:
        world.cluster.report_s = 0.01

    world.later(world.span_s(), hurry)


def kill_the_producer(world: "World") -> None:
    if world.process is not None:
        error = world.chance.choice(FATAL_ERRORS)
        world.note("producer fatal", error)
        world.process.producer.client.fail(error)


def stick_the_producer(world: "World") -> None:
    process = world.process
    if process is None or world.chance.random() > 0.2:
        return
    world.note("producer stuck")
    process.producer.client.is_stuck = True


def fail_the_disk(world: "World") -> None:
    world.note("disk fails")
    world.disk.is_failing = True

    def mend() -> None:
        world.note("disk mended")
        world.disk.is_failing = False

    world.later(world.span_s(), mend)


def slow_the_disk(world: "World") -> None:
    world.note("disk slow")
    world.disk.slowness_s = world.chance.choice((0.3, 3.0))

    def hurry() -> None:
        world.disk.slowness_s = 0.004

    world.later(world.span_s(), hurry)


FAULTS: tuple[Fault, ...] = (
    crash_the_bridge,
    crash_as_rows_leave,
    cut_the_link,
    restart_the_broker,
    restore_the_broker,
    lose_the_session,
    refuse_connections,
    slow_the_network,
    crash_the_bridge,
    stop_the_bridge,
    freeze_kafka,
    send_kafka_away,
    take_leaders,
    crash_with_leaders_gone,
    refuse_a_topic,
    fail_some_batches,
    slow_the_reports,
    kill_the_producer,
    stick_the_producer,
    fail_the_disk,
    slow_the_disk,
)
OUTAGES: tuple[Fault, ...] = (freeze_kafka, send_kafka_away, take_leaders, refuse_a_topic)
