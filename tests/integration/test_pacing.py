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
from bridge.runtime.clock import monotonic_s
from bridge.runtime.kafka_renewal import KafkaRenewal
from bridge.runtime.pacing import AGAIN_MAX_S, AGAIN_S, Pacing
from bridge.runtime.parts import Parts
from bridge.spool.shedding import RISE_S
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
CHANGED, KEPT = "kafka_linger_changed", "kafka_linger_kept"


def configuration(scene: Scene, **sections: Any) -> BridgeConfig:
    """Read a configuration in which nothing but Kafka decides what becomes of a record."""
    plain: dict[str, Any] = {"limits": {"per_device_per_s": 0}, "spool": {"bytes_max": 0}}
    whole = scene.config(**plain | sections)
    if "shedding" in sections:  # Nothing is shed but in favour of something else.
        high = {"filter": "high/+", "kafka_topic": scene.dead_letters, "priority": "high"}
        whole["route"].append(high)
    return msgspec.convert(whole, BridgeConfig)


class Stand:
    """The parts, joined and released, with a session that is subscribed to nobody."""

    def __init__(self, scene: Scene, state: Path, **sections: Any) -> None:
        self.bugs: list[BaseException] = []
        self.stream = io.StringIO()
        log = EventLog(level=Level.INFO, lines=StreamLines(self.stream), renderer=render_json)
        self.parts = Parts(
            configuration(scene, **sections),
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
        """Let a moment pass in which records went as in a backlog.

        A calm second goes before it: what a slow machine sent since the last tick is not of it.
        """
        self.tick_calm()
        self.publish()
        self.now_s += AT_ONCE / (1.1 * FAST_PER_S)
        self.pacing.tick(self.now_s)

    async def has_begun(self) -> bool:
        """Tell whether the last tick began a change."""
        await asyncio.sleep(0)
        return self.renewal.turn.locked()

    def send_aside_into_the_void(self) -> None:
        """Send what no topic takes: librdkafka looks for the topic for some seconds."""
        assert self.parts.producer.send_aside("no-such-topic", b"k", b"{}", lambda _: None)

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

    async def until_changed(self, linger_ms: int) -> None:
        """Wait for it, and try again as often as a busy machine takes longer than a moment."""
        changed, kept = (len(self.events(each)) for each in (CHANGED, KEPT))

        def is_changed() -> bool:
            nonlocal kept
            if len(self.events(KEPT)) > kept:
                kept += 1
                self.now_s += AGAIN_MAX_S
                (self.tick_fast if linger_ms == BACKLOG_LINGER_MS else self.tick_calm)()
            return len(self.events(CHANGED)) > changed

        await self.until(is_changed, publishing=True)
        assert linger_ms == self.linger_ms

    async def carry_some(self) -> None:
        """Let all that is new at a first message be over."""
        self.publish()
        await self.until_acknowledged()

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

        lingers = [each["linger_ms"] for each in stand.events(CHANGED)]
        assert [BACKLOG_LINGER_MS, CALM_LINGER_MS] * 2 == lingers
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
        await stand.carry_some()
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
        await stand.carry_some()
        stand.tick_calm()
        victim.freeze()
        stand.tick_fast()
        await stand.until(lambda: stand.events(KEPT))
        (kept,) = stand.events(KEPT)
        assert (CALM_LINGER_MS, AGAIN_S) == (kept["linger_ms"], kept["retry_in_s"])
        assert kept["error"]
        victim.thaw()
        await stand.until_acknowledged()

        stand.tick_fast()
        assert not await stand.has_begun(), "it is too early"
        stand.now_s += AGAIN_S
        stand.tick_fast()
        await stand.until_changed(BACKLOG_LINGER_MS)
        await stand.until_acknowledged()
    assert_each_is_there_once_and_in_order(victim_scene, stand)


async def test_a_stop_in_the_middle_leaves_all_to_the_old_producer(
    scene: Scene, tmp_path: Path
) -> None:
    scene.create_topics()
    async with standing(scene, tmp_path) as stand:
        producer = stand.parts.producer
        stand.send_aside_into_the_void()
        stand.tick_fast()
        await stand.until(lambda: producer.is_handing_over)
        stand.publish()
        await stand.pacing.close()

        assert not producer.is_handing_over
        assert not stand.renewal.turn.locked()
        assert CALM_LINGER_MS == stand.linger_ms
        await stand.until_acknowledged()
        stand.tick_fast()
        assert not await stand.has_begun(), "no change begins after a stop"
        await stand.until_acknowledged()
    assert_each_is_there_once_and_in_order(scene, stand)


async def test_what_is_sent_into_the_void_holds_the_records_for_a_moment_alone(
    scene: Scene, tmp_path: Path
) -> None:
    scene.create_topics()
    async with standing(scene, tmp_path) as stand:
        stand.send_aside_into_the_void()
        stand.tick_fast()
        await stand.until(lambda: stand.events(KEPT), publishing=True)

        (kept,) = stand.events(KEPT)
        assert AGAIN_S == kept["retry_in_s"]
        assert CALM_LINGER_MS == stand.linger_ms
        await stand.until_acknowledged()
    assert_each_is_there_once_and_in_order(scene, stand)


async def test_a_topic_that_takes_nothing_lets_no_change_begin(
    scene: Scene, tmp_path: Path
) -> None:
    async with standing(scene, tmp_path) as stand:
        stand.publish()
        await stand.until(lambda: stand.parts.outbox.held_topics)
        stand.tick_fast()

        assert not await stand.has_begun()
        scene.create_topics()
        await stand.until_acknowledged()
        stand.tick_fast()
        await stand.until_changed(BACKLOG_LINGER_MS)
        await stand.until_acknowledged()
    assert_each_is_there_once_and_in_order(scene, stand)


async def test_a_producer_that_is_replaced_in_the_middle_is_followed_by_the_successor(
    victim_scene: Scene, victim: KafkaProcess, tmp_path: Path
) -> None:
    victim_scene.create_topics()
    async with standing(victim_scene, tmp_path) as stand:
        await stand.carry_some()
        producer = stand.parts.producer
        successor = producer.prepare({**producer.properties, "linger.ms": BACKLOG_LINGER_MS})
        victim.freeze()
        stand.publish()
        taking = asyncio.create_task(stand.renewal.take_soon(successor))
        await stand.until(lambda: producer.is_handing_over)
        stand.publish()
        stand.parts.traffic.rebuild("as if it had died", cause="stuck")

        assert await taking
        assert BACKLOG_LINGER_MS == stand.linger_ms
        assert 1 == producer.generation
        victim.thaw()
        await stand.until_acknowledged()
    assert_each_is_there_once_and_in_order(victim_scene, stand)


async def test_a_stop_in_the_middle_of_a_reload_leaves_all_to_the_old_producer(
    victim_scene: Scene, victim: KafkaProcess, tmp_path: Path
) -> None:
    victim_scene.create_topics()
    sections: dict[str, Any] = {
        "route": {"priority": "low"},
        "shedding": {"low_above": 0.4, "medium_above": 0.9},
    }
    async with standing(victim_scene, tmp_path, **sections) as stand:
        producer = stand.parts.producer
        await stand.carry_some()
        config = configuration(victim_scene, **sections)
        victim.freeze()
        stand.publish()
        successor = producer.prepare(producer.properties)
        taking = asyncio.create_task(stand.renewal.take(config, successor, None))
        await stand.until(lambda: producer.is_handing_over)
        stand.publish()
        ends_s = monotonic_s() + 2 * RISE_S
        await stand.until(lambda: monotonic_s() > ends_s)
        assert not stand.parts.shedder.is_shedding, "what waits for a producer is no load"
        taking.cancel()
        await asyncio.wait([taking])
        stand.renewal.close()

        assert not stand.parts.outbox.is_blocked
        victim.thaw()
        await stand.until_acknowledged()
    assert_each_is_there_once_and_in_order(victim_scene, stand)


async def test_a_change_that_had_to_wait_is_not_made_when_the_backlog_is_gone(
    scene: Scene, tmp_path: Path
) -> None:
    scene.create_topics()
    async with standing(scene, tmp_path) as stand:
        async with stand.renewal.turn:
            stand.tick_fast()
        stand.tick_calm()

        assert not await stand.has_begun()
        assert CALM_LINGER_MS == stand.linger_ms
        await stand.until_acknowledged()


async def test_a_linger_that_the_configuration_names_stays(scene: Scene, tmp_path: Path) -> None:
    scene.create_topics()
    kafka = {"properties": {"linger.ms": 1}}
    async with standing(scene, tmp_path, kafka=kafka) as stand:
        stand.tick_fast()

        assert not await stand.has_begun()
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
