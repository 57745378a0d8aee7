"""A slow Kafka behind a broker that never has more open than Receive Maximum: shedding makes room.

Here every message that waits for its PUBACK takes one place of 2,000, also what is on the disk
already and only waits for its turn.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.hostile.bench import Bench
from tests.support.devices import Ledger
from tests.support.eventually import eventually_async
from tests.support.in_process_kafka import InProcessKafka
from tests.support.kafka_proxy import KafkaProxy
from tests.support.oracle import reckon
from tests.support.priorities import PRIORITIES, speak
from tests.support.strict_queue import Speaker, StrictQueue

RECEIVE_MAXIMUM = 2_000
DEVICES = 20
WARM_UP = 1_000
RATES = {"high": 200.0, "medium": 1_300.0, "low": 500.0}
DEADLINE_S = 120.0


@pytest.fixture
def kafka(make_kafka: Callable[[int], InProcessKafka]) -> InProcessKafka:
    """A Kafka of this test alone."""
    return make_kafka(1)


@pytest.fixture
def link(kafka: InProcessKafka) -> Iterator[KafkaProxy]:
    """The way to it, which may be narrowed."""
    made = KafkaProxy(kafka.bootstrap).start()
    yield made
    made.close()


async def drained(queue: StrictQueue) -> None:
    """Wait until everything is acknowledged."""
    await eventually_async(
        lambda: queue.owed,
        lambda owed: owed == 0,
        what="everything is acknowledged",
        deadline_s=DEADLINE_S,
    )


async def warm_up(queue: StrictQueue, link: KafkaProxy) -> tuple[dict[str, Ledger], float]:
    """Let all devices speak at full speed; return their ledgers, and the bytes of a record."""
    before_bytes = link.bytes_to_server
    ledgers: dict[str, Ledger] = {}
    for each in PRIORITIES:
        messages = list(speak(each, DEVICES, WARM_UP))
        ledgers[each] = Ledger(sent=messages, acknowledged=list(messages))
        queue.offer(messages)
        await drained(queue)
    return ledgers, (link.bytes_to_server - before_bytes) / (len(PRIORITIES) * WARM_UP)


async def test_low_then_medium_make_room_in_a_window_that_is_kept_to_and_all_arrives_in_order(
    bench: Bench, kafka: InProcessKafka, link: KafkaProxy, unique_name: Callable[[str], str]
) -> None:
    topics = {each: kafka.create_topic(unique_name(each), [1, 1]) for each in PRIORITIES}
    broker = await bench.broker()
    bridge = bench.bridge(
        broker,
        bootstrap=link.bootstrap,
        routes=[(f"{each}/+/telemetry", topic) for each, topic in topics.items()],
        priorities=PRIORITIES,
        spool={"after_s": 20.0},
        receive_maximum=RECEIVE_MAXIMUM,
    )
    queue = StrictQueue(await broker.accept(), RECEIVE_MAXIMUM)
    await bridge.ready()
    ledgers, record_bytes = await warm_up(queue, link)

    link.levers.bytes_per_s_to_server = record_bytes * sum(RATES.values()) / 2
    speakers = {
        each: Speaker(queue, speak(each, DEVICES, first=WARM_UP), rate).start()
        for each, rate in RATES.items()
    }
    await bridge.event("shedding_changed", priorities=["low", "medium"])
    await bridge.reaches(2_000, "bridge_records_shed_total", priority="medium")
    link.heal()
    await bridge.event("shedding_ended")
    for speaker in speakers.values():
        speaker.stop()
    await drained(queue)

    first, second = bridge.events("shedding_changed")[:2]
    assert [["low"], ["low", "medium"]] == [first["priorities"], second["priorities"]]
    assert first["load"] >= 0.7
    assert second["load"] >= 0.9
    assert (RECEIVE_MAXIMUM, []) == (queue.open_most, queue.violations)
    for each, topic in topics.items():
        said = speakers[each].ledger.sent
        whole = Ledger(
            sent=ledgers[each].sent + said, acknowledged=ledgers[each].acknowledged + said
        )
        records = await bench.records(len(whole.sent), kafka_topic=topic, kafka=kafka)
        reckoning = reckon([whole], telemetry=records, dead_letters=[])
        reckoning.assert_holds()
        reckoning.assert_nothing_doubled()
    metrics = await eventually_async(
        bridge.metrics,
        lambda seen: seen.get("bridge_messages_spooled") == 0,
        what="the disk is empty",
    )
    assert 0 == metrics["bridge_conservation_residue"]
    assert ["low", "medium"] == sorted(
        name.split('"')[1] for name in metrics if name.startswith("bridge_records_shed_total{")
    )
