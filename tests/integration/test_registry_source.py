"""The registry from a real Kafka topic, through the source, into what layer 4 judges by."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.config.sections import RegistrySection
from bridge.fleet.registry import UNREGISTERED, DeviceEntry, Registry, encode_entry
from bridge.observe.catalogue.entry import Level
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.runtime.registry_source import RegistrySource, make_registry_source
from tests.support.eventually import eventually_async
from tests.support.kafka_choice import ChosenKafka
from tests.support.processes import free_port

A, B = DeviceEntry(type="a"), DeviceEntry(type="b")


class Bridge:
    """As much of a bridge as the registry needs; two on one directory are two runs."""

    def __init__(self, bootstrap: str, kafka_topic: str, state: Path) -> None:
        self.stream = io.StringIO()
        self.registry = Registry()
        self.source: RegistrySource = make_registry_source(
            RegistrySection(kafka_topic=kafka_topic),
            self.registry,
            properties=lambda: {"bootstrap.servers": bootstrap},
            state=state,
            log=EventLog(level=Level.DEBUG, lines=StreamLines(self.stream), renderer=render_json),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.source.start()
        following = asyncio.create_task(self.source.follow())
        yield
        following.cancel()
        await self.source.close()

    async def until_known(self, *devices: str) -> None:
        await eventually_async(
            lambda: sorted(self.registry.entries()),
            lambda names: names == sorted(devices),
            what="the registry is known",
        )

    @property
    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def kafka_topic(kafka: ChosenKafka, unique_name: Callable[[str], str]) -> str:
    return kafka.client.create_topic(unique_name("registry"), 2, {"cleanup.policy": "compact"})


async def test_the_topic_is_known_and_followed_and_stands_in_for_itself_when_kafka_is_away(
    kafka: ChosenKafka, kafka_topic: str, tmp_path: Path
) -> None:
    kafka.client.produce(kafka_topic, [encode_entry(A)], key=b"d1")
    kafka.client.produce(kafka_topic, [encode_entry(A)], key=b"d2")
    bridge = Bridge(kafka.bootstrap, kafka_topic, tmp_path)
    async with bridge.running():
        await bridge.until_known("d1", "d2")
        kafka.client.produce(kafka_topic, [None], key=b"d1")
        kafka.client.produce(kafka_topic, [encode_entry(B)], key=b"d3")
        await bridge.until_known("d2", "d3")

    later = Bridge(f"127.0.0.1:{free_port()}", kafka_topic, tmp_path)
    async with later.running():
        await later.until_known("d2", "d3")

    assert "registry_loaded" == bridge.events[0]
    assert {"registry_changed"} == set(bridge.events[1:])
    assert ["registry_snapshot_used"] == later.events
    assert bridge.registry.facts().digest == later.registry.facts().digest
    assert later.registry.look_up("d1") is UNREGISTERED


async def test_a_topic_that_nobody_has_filled_is_known_once_it_is(
    kafka: ChosenKafka, kafka_topic: str, tmp_path: Path
) -> None:
    bridge = Bridge(kafka.bootstrap, kafka_topic, tmp_path)
    async with bridge.running():
        await eventually_async(lambda: bridge.source.is_settled, what="the first reading is over")
        judged_before = bridge.registry.look_up("d1")
        kafka.client.produce(kafka_topic, [encode_entry(A)], key=b"d1")
        await bridge.until_known("d1")

    assert judged_before is None
    assert ["registry_not_known", "registry_loaded"] == bridge.events
