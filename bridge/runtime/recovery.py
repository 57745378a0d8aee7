"""Knowing what Kafka has before anything is produced that may be there already."""

import asyncio
from collections.abc import Callable
from typing import Final

from bridge.kafka.partitions import Place
from bridge.runtime import clock
from bridge.runtime.checkpoints import Checkpoints
from bridge.runtime.kafka_tail import Ends
from bridge.runtime.kafka_watch import KafkaWatch
from bridge.runtime.tail_reader import TailReader
from bridge.runtime.traffic import Traffic
from bridge.runtime.window_files import JournalContent
from bridge.runtime.window_journal import WindowJournal

STUCK_PRODUCER_S: Final = 60.0
"""A producer silent for so long, twice librdkafka's own request time-out, is replaced."""


class Recovery:
    """Read the ends of the partitions whenever the traffic waits for it."""

    def __init__(  # noqa: PLR0913  the parts that it joins
        self,
        traffic: Traffic,
        tail: TailReader,
        watch: KafkaWatch,
        journal: WindowJournal,
        checkpoints: Checkpoints,
        *,
        on_task: Callable[["asyncio.Task[None]"], None],
        after_s: float,
    ) -> None:
        self._traffic = traffic
        self._tail = tail
        self._watch = watch
        self._journal = journal
        self._checkpoints = checkpoints
        self._content = JournalContent()
        self._on_task = on_task
        self._after_s = after_s
        self._asked_since_s: float | None = None
        """Since when Kafka is asked for what it has."""
        self._reconciling: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Read what the journal knows, before anything can come."""
        self._content = await self._journal.read()
        self._traffic.recall(self._content.chunks)

    async def release(self) -> None:
        """Let messages pass once it is known what Kafka already has."""
        starts = self._content.ends
        self._asked_since_s = clock.monotonic_s()
        if self._traffic.has_rows:
            self._tail.expect_late()
        reading = await self._tail.read_start(self._content)
        self._content = JournalContent()  # 16 MB for a million keys.
        self._journal.begin(reading.tail, is_whole=reading.is_whole)
        self._checkpoints.begin(reading.ends)
        if reading.tail is not None:
            self._watch.note_partitions(reading.tail.partitions)
        lacking = reading.lacking
        self._checkpoints.is_held = bool(lacking)
        self._traffic.release(reading.chunks, is_whole=reading.is_whole, closed=lacking)
        while lacking:
            lacking = await self._open_what_has_a_leader(lacking, starts)
            self._checkpoints.is_held = bool(lacking)

    async def _open_what_has_a_leader(
        self, lacking: frozenset[Place], starts: Ends | None
    ) -> frozenset[Place]:
        """Read partitions that had no leader at the start; return those that have none yet."""
        tail = await self._tail.read_rest(lacking, starts)
        left: frozenset[Place] = frozenset() if tail is None else tail.lacking
        chunks = [] if tail is None else tail.chunks
        for chunk in chunks:
            self._journal.note(chunk.split())
            self._journal.flush()
            await asyncio.sleep(0)
        self._traffic.open(lacking - left, chunks)
        return left

    def tick(self, now: float) -> None:
        """Go on without Kafka if it does not say what it has, and replace a stuck producer."""
        self._checkpoints.turn(now)
        traffic = self._traffic
        if not traffic.is_released:
            asked_since_s = self._asked_since_s
            if asked_since_s is not None and now - asked_since_s >= self._after_s:
                traffic.go_blind()
            return
        # An error is a sign of life too: what is held is tried again and again.
        alive_s = max(
            traffic.last_progress_s,
            traffic.last_reported_s,
            traffic.rebuilt_s,
            self._watch.answers_since_s,
        )
        is_cluster_willing = self._watch.answers and not self._watch.topic_errors
        if traffic.is_owed and is_cluster_willing and now - alive_s > STUCK_PRODUCER_S:
            traffic.rebuild("no delivery report", cause="stuck")

    def on_rebuilt(self) -> None:
        """Find out what the old producer brought home."""
        self._reconciling = asyncio.get_running_loop().create_task(
            self._reconcile(), name="reconcile"
        )
        self._on_task(self._reconciling)

    async def _reconcile(self) -> None:
        found: set[bytes] = set()
        oldest_us = self._traffic.oldest_received_us
        if oldest_us is not None:
            ends = self._checkpoints.last_ends
            for chunk in await self._tail.read_again(ends, oldest_unix_ms=oldest_us // 1_000):
                found.update(chunk.split())
        self._traffic.reconcile(found)

    async def stop(self, *, timeout_s: float) -> None:
        """Read nothing more, and keep for the next start what Kafka has."""
        if self._reconciling is not None:
            self._reconciling.cancel()
        await self._checkpoints.close(timeout_s=timeout_s)
        await self._journal.close()
