"""Where the device registry comes from, and how it stays current while the bridge runs.

Theory of operation. A reader blocks in a thread of its own, one `step` at a time, and each step
gives the news there are; the source takes them over on the event loop, where the registry is read.
No message ever waits for it: until the registry is known, layer 4 flags nothing.

The file is read before the start goes on, since a wrong one is a wrong configuration; afterwards a
wrong one is refused, and what was read before goes on. The Kafka topic is read once Kafka answers;
where it does not, the snapshot in the state directory stands in for it.
"""

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import msgspec

from bridge.config.paths import quoted, quoted_path
from bridge.config.sections import RegistrySection
from bridge.errors import ConfigError
from bridge.fleet.registry import Changes, DeviceEntry, Prepared, Registry
from bridge.kafka.properties import Properties
from bridge.observe.log import EventLog
from bridge.runtime.file_watch import Look, look_at
from bridge.runtime.registry_disk import (
    SNAPSHOT_NAME,
    load_snapshot,
    read_registry_file,
    save_snapshot,
)
from bridge.runtime.registry_topic import (
    RefusedRecord,
    RegistryTopic,
    TopicUnavailableError,
    Update,
)

POLL_S: Final = 1.0
RETRY_S: Final = 2.0
SAVE_EVERY_S: Final = 60.0
"""A snapshot may be so much older than the topic; only a start without Kafka reads it."""
CLOSE_TIMEOUT_S: Final = 2.0
_LINE: Final = re.compile(r'" line (\d+):')


class Loaded(msgspec.Struct, frozen=True, kw_only=True):
    """The whole registry was read."""

    prepared: Prepared
    took_s: float
    refused: tuple[RefusedRecord, ...] = ()


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """The registry of an earlier run stands in for the topic."""

    prepared: Prepared
    path: Path
    saved_at: str
    error: str


class Changed(msgspec.Struct, frozen=True):
    """Changes came."""

    entries: dict[str, DeviceEntry | None]
    refused: tuple[RefusedRecord, ...] = ()


class Refused(msgspec.Struct, frozen=True):
    """The file cannot be used."""

    path: Path
    problems: tuple[str, ...]


class Unavailable(msgspec.Struct, frozen=True):
    """The topic cannot be read."""

    error: str


class NotSaved(msgspec.Struct, frozen=True):
    """The snapshot could not be written, or be read."""

    path: Path
    error: str


News: TypeAlias = Loaded | Restored | Changed | Refused | Unavailable | NotSaved


class Reader(Protocol):
    """Who reads the registry, in a thread."""

    source: str
    """The file, or the Kafka topic, in words."""

    def open(self) -> list[News]:
        """Read what has to be there before a start may go on; raises ConfigError."""

    def step(self) -> list[News]:
        """Wait a while for news, and tell them."""

    def stop(self) -> None:
        """End a `step` that waits; called from another thread."""

    def close(self) -> None:
        """Let go of everything."""


class Topic(Protocol):
    """One reading of the Kafka topic, as `RegistryTopic` does it."""

    def read_all(self) -> Update:
        """Read it from its beginning to its end; raises TopicUnavailableError."""

    def follow(self, timeout_s: float) -> Update:
        """Wait for changes; raises TopicUnavailableError."""

    def close(self) -> None:
        """Let go of the consumer."""


class RegistryFileReader:
    """Reads the file, and reads it again when it has changed and come to rest."""

    def __init__(self, path: Path, registry: Registry, *, poll_s: float = POLL_S) -> None:
        self.source = f"file {quoted_path(path)}"
        self._path = path
        self._registry = registry
        self._poll_s = poll_s
        self._stopped = threading.Event()
        self._read_state: Look = None
        """What the file looked like when it was read last."""
        self._seen_state: Look = None

    def open(self) -> list[News]:
        """Read the file.

        Raises:
            ConfigError: With every problem of the file.
        """
        self._read_state = self._seen_state = look_at(self._path)
        return [self._read()]

    def step(self) -> list[News]:
        """Look at the file; one that is still being written looks different the next time."""
        if self._stopped.wait(self._poll_s):
            return []
        state = look_at(self._path)
        is_at_rest = state == self._seen_state
        self._seen_state = state
        if state == self._read_state or not is_at_rest:
            return []
        self._read_state = state
        try:
            return [self._read()]
        except ConfigError as error:
            return [Refused(self._path, error.problems)]

    def _read(self) -> Loaded:
        begun = time.monotonic()
        entries = read_registry_file(self._path)
        prepared = self._registry.prepare(entries)
        return Loaded(prepared=prepared, took_s=time.monotonic() - begun)

    def stop(self) -> None:
        """End the wait."""
        self._stopped.set()

    def close(self) -> None:
        """Nothing is held."""


class RegistryTopicReader:
    """Reads the Kafka topic in full, follows it, and keeps a snapshot of what it knows."""

    def __init__(  # noqa: PLR0913 - all named
        self,
        topic: Topic,
        registry: Registry,
        *,
        kafka_topic: str,
        snapshot_path: Path,
        poll_s: float = POLL_S,
        retry_s: float = RETRY_S,
        save_every_s: float = SAVE_EVERY_S,
    ) -> None:
        self.source = f"Kafka topic {quoted(kafka_topic)}"
        self._topic = topic
        self._registry = registry
        self._kafka_topic = kafka_topic
        self._snapshot_path = snapshot_path
        self._poll_s = poll_s
        self._retry_s = retry_s
        self._save_every_s = save_every_s
        self._stopped = threading.Event()
        self._entries: dict[str, DeviceEntry] = {}
        """What the topic says, for snapshots: the registry's own belongs to the event loop."""
        self._is_followed = False
        self._is_first = True
        self._is_save_due = False
        self._saved_at = 0.0

    def open(self) -> list[News]:
        """Nothing has to be there: a start does not wait for Kafka."""
        return []

    def step(self) -> list[News]:
        """Read all, or follow."""
        if not self._is_followed and not self._is_first and self._stopped.wait(self._retry_s):
            return []
        try:
            news = self._follow() if self._is_followed else self._read_all()
        except TopicUnavailableError as error:
            self._is_followed = False
            news = self._restore(str(error)) if self._is_first else [Unavailable(str(error))]
        self._is_first = False
        if self._is_save_due and time.monotonic() - self._saved_at >= self._save_every_s:
            news += self._save()
        return news

    def _read_all(self) -> list[News]:
        begun = time.monotonic()
        update = self._topic.read_all()
        entries = {name: entry for name, entry in update.changes.items() if entry is not None}
        if not entries:
            # Nobody has filled it yet: that is no reason to flag the whole fleet.
            raise TopicUnavailableError("the topic has no device")
        prepared = self._registry.prepare(entries)
        self._entries = dict(entries)
        self._is_followed = self._is_save_due = True
        return [
            Loaded(
                prepared=prepared,
                took_s=time.monotonic() - begun,
                refused=tuple(update.refused),
            )
        ]

    def _follow(self) -> list[News]:
        update = self._topic.follow(self._poll_s)
        if not update.changes and not update.refused:
            return []
        for name, entry in update.changes.items():
            if entry is None:
                self._entries.pop(name, None)
            else:
                self._entries[name] = entry
        self._is_save_due = True
        return [Changed(update.changes, tuple(update.refused))]

    def _restore(self, error: str) -> list[News]:
        try:
            snapshot = load_snapshot(self._snapshot_path, self._kafka_topic)
        except (OSError, ValueError) as problem:
            return [NotSaved(self._snapshot_path, _reason(problem)), Unavailable(error)]
        if snapshot is None:
            return [Unavailable(error)]
        return [
            Restored(
                prepared=self._registry.prepare(snapshot.entries),
                path=self._snapshot_path,
                saved_at=snapshot.head.saved_at,
                error=error,
            )
        ]

    def _save(self) -> list[News]:
        self._is_save_due = False
        self._saved_at = time.monotonic()
        try:
            save_snapshot(self._snapshot_path, self._kafka_topic, self._entries)
        except OSError as problem:
            return [NotSaved(self._snapshot_path, _reason(problem))]
        return []

    def stop(self) -> None:
        """End the wait for another try; following waits no longer than its poll."""
        self._stopped.set()

    def close(self) -> None:
        """Keep what is known, and let go of the consumer."""
        if self._is_save_due:
            self._save()
        self._topic.close()


def _nobody_minds(_: Sequence[str]) -> None:
    pass


class RegistrySource:
    """Runs a reader and takes its news over, on the event loop.

    Invariant: the registry is written here and nowhere else, and what is written is told.
    """

    def __init__(
        self,
        reader: Reader,
        registry: Registry,
        log: EventLog,
        *,
        on_change: Callable[[Sequence[str]], None] = _nobody_minds,
    ) -> None:
        """`on_change` is told the devices that are gone, after each change."""
        self._reader = reader
        self._registry = registry
        self._log = log
        self._on_change = on_change
        self._thread = ThreadPoolExecutor(1, "registry")
        self._told_error = ""
        self._is_snapshot_told = False
        self.is_settled = False
        """The first reading is over, well or not: readiness waits for no more than that."""
        self.is_restored = False
        """The registry is that of an earlier run; the topic could not be read since."""

    async def start(self) -> None:
        """Read what a start needs.

        Raises:
            ConfigError: The file cannot be used; every problem of it.
        """
        loop = asyncio.get_running_loop()
        self._take_all(await loop.run_in_executor(self._thread, self._reader.open))

    async def follow(self) -> None:
        """Stay current, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            self._take_all(await loop.run_in_executor(self._thread, self._reader.step))

    async def close(self) -> None:
        """Stop reading, `follow` being cancelled; what hangs in the thread is left behind."""
        self._reader.stop()
        closing = asyncio.get_running_loop().run_in_executor(self._thread, self._reader.close)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await closing
        self._thread.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------ news

    def _take_all(self, news: list[News]) -> None:
        for each in news:
            self._take(each)

    def _take(self, news: News) -> None:
        match news:
            case Loaded():
                self._take_loaded(news)
            case Restored():
                self._take_restored(news)
            case Changed():
                self._take_changed(news)
            case Refused():
                self._tell_refused(news)
            case Unavailable():
                self._tell_unavailable(news.error)
            case NotSaved():
                self._tell_not_saved(news)
        self.is_settled = True

    def _take_loaded(self, news: Loaded) -> None:
        changes = self._registry.adopt(news.prepared)
        self.is_restored = False
        self._told_error = ""
        facts = self._registry.facts()
        self._log.emit(
            "registry_loaded",
            source=self._reader.source,
            devices=facts.devices,
            **changes._asdict(),
            types=facts.types,
            digest=facts.digest,
            took_s=round(news.took_s, 3),
        )
        self._tell_refused_records(news.refused)
        self._on_change(news.prepared.gone)

    def _take_restored(self, news: Restored) -> None:
        self._registry.adopt(news.prepared)
        self.is_restored = True
        self._log.emit(
            "registry_snapshot_used",
            source=self._reader.source,
            path=str(news.path),
            devices=len(self._registry),
            saved_at=news.saved_at,
            error=news.error,
        )
        self._on_change(news.prepared.gone)

    def _take_changed(self, news: Changed) -> None:
        parts = [self._registry.apply(name, entry) for name, entry in news.entries.items()]
        changes = Changes(*(sum(each[column] for each in parts) for column in range(3)))
        if any(changes):
            facts = self._registry.facts()
            self._log.emit(
                "registry_changed",
                source=self._reader.source,
                devices=facts.devices,
                **changes._asdict(),
                digest=facts.digest,
            )
            self._on_change([name for name, entry in news.entries.items() if entry is None])
        self._tell_refused_records(news.refused)

    def _tell_refused(self, news: Refused) -> None:
        line = _LINE.search(news.problems[0])
        self._log.emit(
            "registry_reload_refused",
            path=str(news.path),
            line=int(line[1]) if line else None,
            problem=news.problems[0],
            problems=len(news.problems),
        )

    def _tell_unavailable(self, error: str) -> None:
        """Say it once for each cause: it is tried again every two seconds."""
        if error == self._told_error:
            return
        self._told_error = error
        self._log.emit(
            "registry_not_followed" if self._registry.is_known else "registry_not_known",
            source=self._reader.source,
            error=error,
            retry_in_s=RETRY_S,
        )

    def _tell_not_saved(self, news: NotSaved) -> None:
        if not self._is_snapshot_told:
            self._is_snapshot_told = True
            self._log.emit("registry_snapshot_failed", path=str(news.path), error=news.error)

    def _tell_refused_records(self, refused: tuple[RefusedRecord, ...]) -> None:
        if refused:
            self._log.emit(
                "registry_entry_refused",
                source=self._reader.source,
                **msgspec.structs.asdict(refused[0]),
                refused=len(refused),
            )


def make_registry_source(  # noqa: PLR0913 - all named but the first two
    section: RegistrySection,
    registry: Registry,
    *,
    properties: Callable[[], Properties],
    state: Path,
    log: EventLog,
    on_change: Callable[[Sequence[str]], None] = _nobody_minds,
) -> RegistrySource:
    """Make the source that the configuration names; it does nothing yet."""
    reader: Reader
    if section.file is not None:
        reader = RegistryFileReader(Path(section.file), registry)
    else:
        kafka_topic = section.kafka_topic
        assert kafka_topic is not None, "the rules see to it that there is one of the two"
        reader = RegistryTopicReader(
            RegistryTopic(properties(), kafka_topic, renewed=properties),
            registry,
            kafka_topic=kafka_topic,
            snapshot_path=state / SNAPSHOT_NAME,
        )
    return RegistrySource(reader, registry, log, on_change=on_change)


def _reason(problem: Exception) -> str:
    return getattr(problem, "strerror", None) or str(problem)
