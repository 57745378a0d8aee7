import asyncio
import io
import json
import queue
from pathlib import Path
from typing import Any

import pytest

from bridge.config.sections import RegistrySection
from bridge.errors import ConfigError
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.observe.catalogue.entry import Level
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.runtime.registry_source import (
    Changed,
    Loaded,
    News,
    NotSaved,
    Refused,
    RegistrySource,
    Restored,
    Unavailable,
    make_registry_source,
)
from bridge.runtime.registry_topic import RefusedRecord
from tests.support.eventually import eventually_async

A, B = DeviceEntry(type="a"), DeviceEntry(type="b")


class ScriptedReader:
    """Tells the news that the test puts in."""

    source = 'Kafka topic "device-registry"'

    def __init__(self) -> None:
        self.news: queue.Queue[list[News]] = queue.Queue()
        self.is_closed = False

    def open(self) -> list[News]:
        return []

    def step(self) -> list[News]:
        return self.news.get()

    def stop(self) -> None:
        self.news.put([])

    def close(self) -> None:
        self.is_closed = True


class Stand:
    """A source on the running loop, and what it wrote to the log."""

    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.log = EventLog(level=Level.DEBUG, lines=StreamLines(self.stream), renderer=render_json)
        self.registry = Registry()
        self.reader = ScriptedReader()
        self.source = RegistrySource(self.reader, self.registry, self.log)

    async def take(self, *news: News) -> None:
        """Let the source take the news over, and end."""
        following = asyncio.create_task(self.source.follow())
        self.reader.news.put(list(news))
        self.reader.news.put([Unavailable("the end")])
        await eventually_async(
            self.stream.getvalue, lambda text: "the end" in text, what="all news taken"
        )
        following.cancel()
        await self.source.close()

    def loaded(self, entries: dict[str, DeviceEntry], **more: Any) -> Loaded:
        return Loaded(prepared=self.registry.prepare(entries), took_s=0.25, **more)

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [
            {name: value for name, value in line.items() if name not in {"timestamp", "level"}}
            for line in lines
            if line.get("error") != "the end"
        ]


SOURCE = 'Kafka topic "device-registry"'


async def test_a_whole_registry_and_its_changes_are_taken_over_and_told() -> None:
    stand = Stand()

    await stand.take(stand.loaded({"a": A, "b": B}), Changed({"a": None, "b": A, "c": A}))

    assert {"b": A, "c": A} == stand.registry.entries()
    digests = [event.pop("digest") for event in stand.events]
    assert stand.registry.facts().digest == digests[-1] != digests[0]
    assert [
        {
            "event": "registry_loaded",
            "source": SOURCE,
            "devices": 2,
            "added": 2,
            "changed": 0,
            "removed": 0,
            "types": 2,
            "took_s": 0.25,
        },
        {
            "event": "registry_changed",
            "source": SOURCE,
            "devices": 2,
            "added": 1,
            "changed": 1,
            "removed": 1,
        },
    ] == [{k: v for k, v in event.items() if k != "digest"} for event in stand.events]
    assert stand.reader.is_closed


async def test_a_registry_that_is_not_known_is_told_once_and_nobody_waits() -> None:
    stand = Stand()

    await stand.take(Unavailable("away"), Unavailable("away"))

    assert [
        {"event": "registry_not_known", "source": SOURCE, "error": "away", "retry_in_s": 2.0}
    ] == stand.events
    assert stand.source.is_settled
    assert not stand.registry.is_known


async def test_a_known_registry_goes_on_while_its_topic_cannot_be_followed() -> None:
    stand = Stand()

    await stand.take(stand.loaded({"a": A}), Unavailable("gone"))

    assert ["registry_loaded", "registry_not_followed"] == [e["event"] for e in stand.events]
    assert {"a": A} == stand.registry.entries()


async def test_the_registry_of_an_earlier_run_is_said_to_be_one(tmp_path: Path) -> None:
    stand = Stand()
    restored = Restored(
        prepared=stand.registry.prepare({"a": A}),
        path=tmp_path,
        saved_at="2026-01-01T00:00:00Z",
        error="away",
    )

    await stand.take(restored)

    assert [
        {
            "event": "registry_snapshot_used",
            "source": SOURCE,
            "path": str(tmp_path),
            "devices": 1,
            "saved_at": "2026-01-01T00:00:00Z",
            "error": "away",
        }
    ] == stand.events
    assert stand.source.is_restored
    assert stand.registry.is_known


async def test_a_refused_file_is_told_with_its_line_and_how_many_problems_there_are() -> None:
    stand = Stand()
    problems = ('registry file "x" line 7: device.a: wrong', 'registry file "x" line 9: more')

    await stand.take(Refused(Path("x"), problems))

    assert [
        {
            "event": "registry_reload_refused",
            "path": "x",
            "line": 7,
            "problem": problems[0],
            "problems": 2,
        }
    ] == stand.events


async def test_records_that_are_no_entries_are_told_by_the_first() -> None:
    stand = Stand()
    record = RefusedRecord("a\x1b", 3, 17, "Expected `object`, got `array`")

    await stand.take(stand.loaded({"a": A}, refused=(record, record)), Changed({}, (record,)))

    refused = [event for event in stand.events if event["event"] == "registry_entry_refused"]
    assert [2, 1] == [event["refused"] for event in refused]
    assert ("a\\x1b", 3, 17) == tuple(refused[0][key] for key in ("key", "partition", "offset"))


async def test_a_snapshot_that_fails_is_told_once() -> None:
    stand = Stand()

    await stand.take(NotSaved(Path("x"), "full"), NotSaved(Path("x"), "full"))

    assert [{"event": "registry_snapshot_failed", "path": "x", "error": "full"}] == stand.events


async def test_the_file_that_the_configuration_names_is_read_before_the_start_goes_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "devices.toml"
    path.write_text("[device.a]\ntype = 'a'")
    stand = Stand()
    source = make_registry_source(
        RegistrySection(file=str(path)),
        stand.registry,
        properties=dict,
        state=tmp_path,
        log=stand.log,
    )

    await source.start()
    await source.close()

    assert {"a": A} == stand.registry.entries()
    assert [f'file "{path}"'] == [event["source"] for event in stand.events]


async def test_a_start_with_a_bad_file_is_a_wrong_configuration(tmp_path: Path) -> None:
    stand = Stand()
    source = make_registry_source(
        RegistrySection(file=str(tmp_path / "absent")),
        stand.registry,
        properties=dict,
        state=tmp_path,
        log=stand.log,
    )

    with pytest.raises(ConfigError, match="could not be read: No such file or directory"):
        await source.start()
    await source.close()
