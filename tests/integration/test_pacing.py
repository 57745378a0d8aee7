"""One producer follows another because the pace changed: nothing is lost, doubled or reordered.

The parts of a bridge in this process, a real Kafka behind them, and packets as a broker would send
them: so the test says how fast the seconds pass, and when.
"""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import mqtt5
import msgspec

from bridge.config.sections import BridgeConfig
from bridge.kafka.pace import BACKLOG_LINGER_MS, CALM_LINGER_MS, FAST_PER_S, SLOW_FOR_S
from bridge.mqtt.events import Received
from bridge.observe.catalogue.entry import Level
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.runtime.kafka_renewal import KafkaRenewal
from bridge.runtime.pacing import AGAIN_S, Pacing
from bridge.runtime.parts import Parts
from tests.integration.scene import Scene
from tests.mqtt.given import subscribed
from tests.support.devices import telemetry
from tests.support.eventually import eventually_async
from tests.support.kafka_cluster import KafkaProcess

if TYPE_CHECKING:
    from bridge.runtime.mqtt_transport import LinkObserver

DEVICES = 20
AT_ONCE = 500
DEADLINE_S = 60.0
NO_LIMITS = {"per_device_per_s": 0}


class Stand:
    """The parts, joined and released, with a session that is subscribed to nobody."""

    def __init__(self, scene: Scene, state: Path, **sections: Any) -> None:
        self.bugs: list[BaseException] = []
        self.stream = io.StringIO()
        log = EventLog(level=Level.INFO, lines=StreamLines(self.stream), renderer=render_json)
        self.parts = Parts(
            msgspec.convert(scene.config(limits=NO_LIMITS, **sections), BridgeConfig),
            environment={"STATE_DIRECTORY": str(state)},
            log=log,
            link_observer=cast("LinkObserver", self),
            on_bug=self.bugs.append,
            on_task=self._watch,
            on_kafka_error=lambda *_: None,
            on_kafka_change=lambda: None,
        )
        self.renewal = KafkaRenewal(self.parts, log)
        self.pacing = Pacing(self.parts, self.renewal, log, on_task=self._watch)
        self.sent = 0
        self.now_s = 1_000.0
        subscribed(self.parts.session)
        self.parts.traffic.release([])
        self.tick_calm()

    def _watch(self, task: "asyncio.Task[None]") -> None:
        task.add_done_callback(self._note_end)

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.bugs.append(error)

    def publish(self, count: int = AT_ONCE) -> None:
        """Let the MQTT broker send so many messages at once."""
        data = bytearray()
        for number in range(self.sent, self.sent + count):
            each = telemetry(f"device-{number % DEVICES}", number)
            data += mqtt5.PublishPacket(
                each.topic, each.payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1 + number % 65_000
            ).write()
        self.sent += count
        for event in self.parts.session.receive_data(bytes(data), now=0.0):
            assert isinstance(event, Received)
            self.parts.traffic.take(event)

    def tick_calm(self) -> None:
        """Let a second pass in which no more came than came before."""
        self.now_s += 1.0
        self.pacing.tick(self.now_s)

    def tick_fast(self) -> None:
        """Let a moment pass in which records went as in a backlog."""
        self.publish()
        self.now_s += AT_ONCE / (1.1 * FAST_PER_S)
        self.pacing.tick(self.now_s)

    @property
    def linger_ms(self) -> object:
        return self.parts.producer.properties["linger.ms"]

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(each) for each in self.stream.getvalue().splitlines()]
        return [each for each in lines if each["event"] == name]

    async def until(self, is_so: Callable[[], object], *, publishing: bool = False) -> None:
        """Wait, and let messages come meanwhile."""

        def look() -> object:
            if publishing and len(self.parts.session.ledger) < 2 * AT_ONCE:
                self.publish(10)
            return is_so()

        await eventually_async(look, deadline_s=DEADLINE_S, poll_s=0.001)

    async def until_changed(self, linger_ms: int, *, publishing: bool = True) -> None:
        changed = len(self.events("kafka_linger_changed"))
        await self.until(
            lambda: len(self.events("kafka_linger_changed")) > changed, publishing=publishing
        )
        assert linger_ms == self.linger_ms

    async def until_acknowledged(self) -> None:
        await self.until(lambda: not self.parts.session.ledger)


@asynccontextmanager
async def standing(scene: Scene, state: Path, **sections: Any) -> AsyncIterator[Stand]:
    stand = Stand(scene, state, **sections)
    try:
        yield stand
    finally:
        await stand.pacing.close()
        stand.parts.traffic.close()
        stand.parts.producer.close()
        stand.parts.tail.close()
        stand.parts.watch.close()
    assert [] == stand.bugs


def assert_each_is_there_once_and_in_order(scene: Scene, stand: Stand) -> None:
    records = scene.read().telemetry
    numbers = [json.loads(each.value or b"")["metrics"]["sequence"] for each in records]
    assert list(range(stand.sent)) == sorted(numbers)
    by_key: dict[bytes | None, list[int]] = {}
    for record, number in zip(records, numbers, strict=True):
        by_key.setdefault(record.key, []).append(number)
    assert DEVICES == len(by_key)
    for of_key in by_key.values():
        assert sorted(of_key) == of_key


async def test_the_linger_follows_the_pace_there_and_back(scene: Scene, tmp_path: Path) -> None:
    scene.create_topics()
    async with standing(scene, tmp_path) as stand:
        for _ in range(2):
            assert CALM_LINGER_MS == stand.linger_ms
            stand.tick_fast()
            await stand.until_changed(BACKLOG_LINGER_MS)
            stand.tick_calm()
            stand.now_s += SLOW_FOR_S
            stand.tick_calm()
            await stand.until_changed(CALM_LINGER_MS)
        await stand.until_acknowledged()

        assert 4 == len(stand.events("kafka_linger_changed"))
        assert [] == stand.events("reading_paused")
        assert 0 == stand.parts.producer.generation, "nothing was in doubt"
    assert_each_is_there_once_and_in_order(scene, stand)


async def test_what_is_sent_aside_is_waited_for(scene: Scene, tmp_path: Path) -> None:
    scene.create_topics()
    async with standing(scene, tmp_path) as stand:
        told: list[str | None] = []
        stand.tick_fast()
        assert stand.parts.producer.send_aside(scene.dead_letters, b"k", b"{}", told.append)
        await stand.until_changed(BACKLOG_LINGER_MS)

        assert [None] == told
        assert 0 == stand.parts.producer.generation
        await stand.until_acknowledged()
    assert 1 == len(scene.read().dead_letters)


async def test_a_producer_that_cannot_deliver_in_a_moment_goes_on(
    victim_scene: Scene, victim: KafkaProcess, tmp_path: Path
) -> None:
    victim_scene.create_topics()
    async with standing(victim_scene, tmp_path) as stand:
        stand.publish()
        await stand.until_acknowledged()
        producer = stand.parts.producer
        before = producer.properties
        successor = producer.prepare({**before, "linger.ms": BACKLOG_LINGER_MS})
        assert successor.try_it(timeout_s=DEADLINE_S) is None
        victim.freeze()
        assert producer.send_aside(victim_scene.dead_letters, b"k", b"{}", lambda _: None)
        taking = asyncio.create_task(stand.renewal.take_soon(successor))
        await stand.until(lambda: producer.is_handing_over)
        stand.publish()  # It waits for the successor, and then for nobody.

        assert not await taking
        victim.thaw()
        await stand.until_acknowledged()
        assert not stand.parts.traffic.reading.is_handover
        assert before is producer.properties
        assert [] == stand.events("reading_paused")
    assert_each_is_there_once_and_in_order(victim_scene, stand)


async def test_a_kafka_that_does_not_answer_is_asked_again_later(
    victim_scene: Scene, victim: KafkaProcess, tmp_path: Path
) -> None:
    victim_scene.create_topics()
    async with standing(victim_scene, tmp_path) as stand:
        stand.publish()
        await stand.until_acknowledged()
        stand.tick_calm()
        victim.freeze()
        stand.tick_fast()
        await stand.until(lambda: stand.events("kafka_linger_kept"))
        (kept,) = stand.events("kafka_linger_kept")
        assert (CALM_LINGER_MS, AGAIN_S) == (kept["linger_ms"], kept["retry_in_s"])
        assert kept["error"]
        victim.thaw()
        await stand.until_acknowledged()

        stand.tick_fast()
        assert not stand.renewal.turn.locked(), "it is too early"
        stand.now_s += AGAIN_S
        stand.tick_calm()
        stand.tick_fast()
        await stand.until_changed(BACKLOG_LINGER_MS)
        await stand.until_acknowledged()
    assert_each_is_there_once_and_in_order(victim_scene, stand)


async def test_a_stop_in_the_middle_leaves_all_to_the_old_producer(
    victim_scene: Scene, victim: KafkaProcess, tmp_path: Path
) -> None:
    victim_scene.create_topics()
    async with standing(victim_scene, tmp_path) as stand:
        producer = stand.parts.producer
        stand.tick_fast()
        await stand.until(lambda: producer.is_handing_over or stand.linger_ms)
        victim.freeze()
        stand.publish()
        await stand.pacing.close()

        assert not producer.is_handing_over
        assert not stand.renewal.turn.locked()
        victim.thaw()
        await stand.until_acknowledged()
        stand.tick_fast()
        assert not stand.renewal.turn.locked(), "no change begins after a stop"
        await stand.until_acknowledged()
    assert_each_is_there_once_and_in_order(victim_scene, stand)


async def test_a_stop_in_the_middle_of_a_reload_leaves_all_to_the_old_producer(
    victim_scene: Scene, victim: KafkaProcess, tmp_path: Path
) -> None:
    victim_scene.create_topics()
    async with standing(victim_scene, tmp_path) as stand:
        producer = stand.parts.producer
        stand.publish()
        await stand.until_acknowledged()
        config = msgspec.convert(victim_scene.config(limits=NO_LIMITS), BridgeConfig)
        victim.freeze()
        stand.publish()
        successor = producer.prepare(producer.properties)
        taking = asyncio.create_task(stand.renewal.take(config, successor, None))
        await stand.until(lambda: producer.is_handing_over)
        stand.publish()
        taking.cancel()
        await asyncio.wait([taking])
        stand.renewal.close()

        victim.thaw()
        await stand.until_acknowledged()
    assert_each_is_there_once_and_in_order(victim_scene, stand)


async def test_a_linger_that_the_configuration_names_stays(scene: Scene, tmp_path: Path) -> None:
    scene.create_topics()
    kafka = {"properties": {"linger.ms": 1}}
    async with standing(scene, tmp_path, kafka=kafka) as stand:
        stand.tick_fast()

        assert not stand.renewal.turn.locked()
        assert 1 == stand.linger_ms
        await stand.until_acknowledged()


async def test_no_change_begins_while_another_producer_is_made(
    scene: Scene, tmp_path: Path
) -> None:
    scene.create_topics()
    async with standing(scene, tmp_path) as stand:
        async with stand.renewal.turn:
            stand.tick_fast()
            await stand.until_acknowledged()
        assert CALM_LINGER_MS == stand.linger_ms

        stand.tick_fast()
        await stand.until_changed(BACKLOG_LINGER_MS)
        await stand.until_acknowledged()
    assert_each_is_there_once_and_in_order(scene, stand)
