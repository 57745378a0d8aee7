"""What must hold: after each event for the process, at the end for everything."""

from typing import TYPE_CHECKING

from tests.simulation.messages import LETTERS, Content, Kind

if TYPE_CHECKING:
    from tests.simulation.kafka import Landed
    from tests.simulation.process import Process
    from tests.simulation.world import World


def check_process(process: "Process") -> None:
    """Look at the conservation equation and at the bounds."""
    if process.bug is not None:
        raise AssertionError(f"the bridge raised {process.bug!r}") from process.bug
    residue = process.residue()
    assert residue == 0, f"conservation leaves {residue} over"
    records, most = process.unsettled.records, process.shape.unsettled_max
    # Reading stops after the read that reached the bound; before it is known what Kafka has, each
    # connection brings the read that holds its CONNACK.
    beyond = process.link.largest_read * (1 + process.link.early_connections)
    assert 0 <= records <= most + beyond, f"{records} unsettled, the bound is {most}"


def check_end(world: "World") -> None:
    """Every message once, in its place, in order; nothing else, nothing left."""
    _check_counts(world)
    _check_places(world)
    late = [
        (place, number) for place, log in world.cluster.logs.items() for number in _late(world, log)
    ]
    unexcused = [each for each in late if each[1] not in world.cluster.failed]
    assert not unexcused, f"order: {unexcused} came after newer ones of their device"
    process = world.process
    assert process is not None
    if world.processes == 1:  # Another does not know what its predecessor had confirmed.
        counted = process.outbox.reordered
        assert len(late) <= counted, f"order: {late} came late, {counted} are counted as reordered"
    assert not +world.disk.counts, f"rows are left on disk: {+world.disk.counts}"
    assert process.spooling.spooled == 0, f"{process.spooling.spooled} are said to be spooled"


def _check_counts(world: "World") -> None:
    published = {each.content.number for each in world.published}
    kept = {each.content.number for each in world.published if not each.is_lost}
    counts = world.cluster.counts
    unknown = set(counts) - published
    assert not unknown, f"messages {sorted(unknown)} were never published"
    missing = sorted(number for number in kept if not counts[number])
    assert not missing, f"messages {missing} are nowhere"
    doubled = sorted(number for number in counts if counts[number] > 1)
    assert not doubled, f"messages {doubled} are in Kafka twice"


def _check_places(world: "World") -> None:
    for (kafka_topic, _), log in world.cluster.logs.items():
        for landed in log:
            content = world.contents[landed.number]
            if landed.is_copy:
                assert kafka_topic == LETTERS, f"a copy of {content} came out in {kafka_topic}"
                continue
            assert content.kafka_topic == kafka_topic, f"{content} came out in {kafka_topic}"
            assert content.key == landed.key, f"{content} came out under {landed.key!r}"


def _late(world: "World", log: "list[Landed]") -> list[int]:
    """List what came after something newer of its device.

    What was published again after the broker had lost it has no place of its own, and what Kafka
    refused becomes a letter, or a shorter one, whenever that is known.
    """
    newest: dict[bytes, int] = {}
    late: list[int] = []
    lost = {each.content.number for each in world.published if each.is_lost}
    for landed in log:
        if landed.is_copy or landed.number in lost or _is_refused(world.contents[landed.number]):
            continue
        if landed.number < newest.get(landed.key, -1):
            late.append(landed.number)
        newest[landed.key] = max(landed.number, newest.get(landed.key, -1))
    return late


def _is_refused(content: Content) -> bool:
    return content.kind in (Kind.KAFKA_REFUSES, Kind.PACKET_TOO_LARGE)
