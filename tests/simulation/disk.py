"""The disk of the spool: one job at a time, whole or not at all, told later or never."""

import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from bridge.errors import ConfigError
from bridge.runtime.spool_disk import DiskResult, Failed, Fetched, Written
from bridge.spool.entry import Read, Write
from bridge.spool.row import Row, Scanned
from bridge.spool.store import SpoolFailedError, SpoolFullError, Store
from tests.simulation.clock import SimClock
from tests.simulation.messages import is_copy, number_in

Job = Write | Read


class Rows(Protocol):
    """What keeps the rows: the double below, or the real store."""

    live_bytes: int

    def run(self, job: Job) -> DiskResult: ...

    def scan(self) -> Iterator[Scanned]: ...

    def count_by_topic(self) -> dict[str, int]: ...

    def crash(self) -> None: ...

    def close(self) -> None: ...


class MemoryRows:
    """Rows that survive the process, in a dictionary."""

    def __init__(self, bytes_max: int) -> None:
        self.live_bytes = 0
        self._bytes_max = bytes_max
        self._rows: dict[str, dict[int, Row]] = defaultdict(dict)
        self._topic_of: dict[int, str] = {}
        self._sequence = 0

    def run(self, job: Job) -> DiskResult:
        if isinstance(job, Read):
            rows = [
                each
                for sequence, each in self._rows[job.kafka_topic].items()
                if sequence > job.after
            ]
            return Fetched(rows[: job.rows_max], len(rows) < job.rows_max)
        added = sum(each.size_bytes for each in job.entries)
        if job.entries and not job.may_exceed and self.live_bytes + added > self._bytes_max:
            return Failed("spool is full")
        sequences = []
        for each in job.entries:
            self._sequence += 1
            row = Row(self._sequence, each.key, each.identity, each.record)
            self._rows[each.kafka_topic][self._sequence] = row
            self._topic_of[self._sequence] = each.kafka_topic
            sequences.append(self._sequence)
        for sequence in job.removed_sequences:
            row = self._rows[self._topic_of.pop(sequence)].pop(sequence)
            added -= len(row.key) + len(row.identity) + len(row.record)
        self.live_bytes += added
        return Written(sequences, self.live_bytes)

    def scan(self) -> Iterator[Scanned]:
        for name, rows in self._rows.items():
            for sequence, each in rows.items():
                yield Scanned(sequence, name, each.key, each.identity)

    def count_by_topic(self) -> dict[str, int]:
        return {name: len(rows) for name, rows in self._rows.items() if rows}

    def crash(self) -> None:
        """Keep everything."""

    def close(self) -> None:
        """Keep everything."""


class StoreRows:
    """The real store; a crash leaves a copy of its files, as they are at that moment."""

    def __init__(self, directory: Path, bytes_max: int) -> None:
        self._root = directory
        self._bytes_max = bytes_max
        self._lives = 0
        self._directory = directory / "0"
        self._directory.mkdir()
        self._left: list[Store] = []
        self._store = self._open()

    def _open(self) -> Store:
        return Store(self._directory, client_id="simulated", bytes_max=self._bytes_max)

    @property
    def live_bytes(self) -> int:
        return self._store.live_bytes

    @live_bytes.setter
    def live_bytes(self, _: int) -> None:
        raise AssertionError("the store counts by itself")

    def run(self, job: Job) -> DiskResult:
        store = self._store
        try:
            if isinstance(job, Read):
                rows, is_last = store.read(
                    job.kafka_topic,
                    after=job.after,
                    rows_max=job.rows_max,
                    bytes_max=job.bytes_max,
                )
                return Fetched(rows, is_last)
            sequences = store.write(job.entries, job.removed_sequences, may_exceed=job.may_exceed)
        except (SpoolFullError, SpoolFailedError) as error:
            return Failed(str(error))
        return Written(sequences, store.live_bytes)

    def scan(self) -> Iterator[Scanned]:
        return self._store.scan()

    def count_by_topic(self) -> dict[str, int]:
        return self._store.count_by_topic()

    def crash(self) -> None:
        self._lives += 1
        following = self._root / str(self._lives)
        shutil.copytree(self._directory, following, ignore=shutil.ignore_patterns("*-shm"))
        self._left.append(self._store)
        self._directory = following
        self._store = self._open()

    def close(self) -> None:
        self._store.close()
        self._store = self._open()

    def end(self) -> None:
        for store in (*self._left, self._store):
            with suppress(ConfigError):
                store.close()


class SimDisk:
    """What Spooling takes for the disk; between a commit and its result a crash may come."""

    def __init__(self, clock: SimClock, chance: random.Random, rows: Rows) -> None:
        self.is_failing = False
        self.slowness_s = 0.004
        self.counts: Counter[int] = Counter()
        """How many rows each content has on disk."""
        self.directory = Path("simulated")
        self.was_clean = True
        self.lost = ""
        self.set_aside: Path | None = None
        self.corruption = ""
        self._clock = clock
        self._chance = chance
        self._rows = rows
        self._undone: Callable[[], None] | None = None
        """What the job under way will do to the disk."""
        self._life = 0
        self._numbers: dict[int, int] = {}

    # ------------------------------------------------------------------ as SpoolDisk, as Store

    async def open(self, take: Callable[["SimDisk"], object]) -> object:
        return take(self)

    @property
    def live_bytes(self) -> int:
        return self._rows.live_bytes

    def scan(self) -> Iterator[Scanned]:
        return self._rows.scan()

    def count_by_topic(self) -> dict[str, int]:
        return self._rows.count_by_topic()

    def start(self, job: Job, on_done: Callable[[DiskResult], None]) -> None:
        assert self._undone is None, "two jobs of the disk at once"
        results: list[DiskResult] = []
        life = self._life

        def do() -> None:
            if self._undone is do:
                self._undone = None
                results.append(self._run(job))
                self._clock.call_later(self._delay_s(), tell)

        def tell() -> None:
            if self._life == life:
                on_done(results[0])

        self._undone = do
        self._clock.call_later(self._delay_s(), do)

    def _delay_s(self) -> float:
        return self._chance.random() * self.slowness_s

    def _run(self, job: Job) -> DiskResult:
        if self.is_failing:
            return Failed("disk I/O error")
        result = self._rows.run(job)
        if isinstance(result, Written):
            assert isinstance(job, Write)
            for entry, sequence in zip(job.entries, result.sequences, strict=True):
                if not is_copy(entry.record):
                    self._numbers[sequence] = number_in(entry.record)
                    self.counts[self._numbers[sequence]] += 1
            for sequence in job.removed_sequences:
                if sequence in self._numbers:
                    self.counts[self._numbers.pop(sequence)] -= 1
        return result

    # ------------------------------------------------------------------ the end of a process

    def crash(self) -> None:
        """End a process: the job under way is on disk as a whole, or not at all."""
        if self._undone is not None and self._chance.random() < 0.5:
            self._undone()
        self._undone = None
        self._life += 1
        self._rows.crash()

    def close(self) -> None:
        """End a process in peace: the thread does its job first."""
        if self._undone is not None:
            self._undone()
        self._life += 1
        self._rows.close()

    def heal(self) -> None:
        self.is_failing = False
        self.slowness_s = 0.004
