"""Knowing what Kafka has: what `Recovery` does with the tail, on simulated time.

The reading of the tail is a double; Checkpoints is the real one.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from bridge.kafka.partitions import Place
from bridge.runtime.checkpoints import Checkpoints
from bridge.runtime.kafka_tail import Ends
from bridge.runtime.recovery import STUCK_PRODUCER_S
from bridge.runtime.traffic import Traffic
from tests.simulation.clock import Life
from tests.simulation.journal import SimJournal
from tests.simulation.kafka import Cluster, SimProducer

TAIL_RETRY_S = 1.0
ANSWER_S = 0.3


class Answer:
    """As much of a future as Checkpoints asks for."""

    def __init__(self) -> None:
        self._is_done = False
        self._ends: Ends | None = None

    def tell(self, ends: Ends | None) -> None:
        self._is_done, self._ends = True, ends

    def done(self) -> bool:
        return self._is_done

    def result(self) -> Ends | None:
        return self._ends


class SimRecovery:
    """Read the ends of the partitions whenever the traffic waits for it."""

    def __init__(
        self,
        traffic: Traffic,
        journal: SimJournal,
        producer: SimProducer,
        cluster: Cluster,
        life: Life,
        *,
        after_s: float,
        can_lack: bool,
    ) -> None:
        self._traffic = traffic
        self._journal = journal
        self._cluster = cluster
        self._life = life
        self._after_s = after_s
        self._can_lack = can_lack
        self.partial_starts = 0
        self._began_s = life.monotonic_s()
        self._start_ends: Ends | None = None
        self._last_answer: asyncio.Future[Ends | None] | None = None
        self.checkpoints = Checkpoints(
            traffic, journal, ask_ends=self._ask_ends, generation=lambda: producer.generation
        )

    def start(self) -> None:
        content = self._journal.load()
        self._traffic.recall(content.chunks)
        self._start_ends = content.ends
        self._when_quiet(self._release, may_lack=self._can_lack)

    def _release(self) -> None:
        lacking = frozenset(self._cluster.leaderless)
        places = [each for each in self._cluster.logs if each not in lacking]
        chunks = self._cluster.read_tail(self._start_ends, places)
        ends = {place: end for place, end in self._cluster.ends().items() if place not in lacking}
        self._journal.begin(chunks, ends)
        self.checkpoints.begin(ends)
        self._traffic.release(chunks, is_whole=self._start_ends is None, closed=lacking)
        if lacking:
            self.partial_starts += 1
            self._open_when_led(lacking)

    def _open_when_led(self, lacking: frozenset[Place]) -> None:
        """Read what had no leader once all of it has one, and has been quiet."""

        def look() -> None:
            chunks = self._cluster.read_tail(self._start_ends, lacking)
            self._journal.note([key for chunk in chunks for key in chunk.split()])
            self._traffic.open(lacking, chunks)

        self._when_quiet(look)

    def tick(self) -> None:
        now = self._life.monotonic_s()
        self.checkpoints.turn(now)
        traffic = self._traffic
        if not traffic.is_released:
            if now - self._began_s >= self._after_s:
                traffic.go_blind()
            return
        alive_s = max(traffic.last_progress_s, traffic.last_reported_s, traffic.rebuilt_s)
        is_willing = self._cluster.answers and not self._cluster.refused
        if traffic.is_owed and is_willing and now - alive_s > STUCK_PRODUCER_S:
            traffic.rebuild("no delivery report", cause="stuck")

    def stop(self) -> None:
        """Take the last checkpoint, where Kafka still answers."""

        async def close() -> None:
            asked: asyncio.Future[Ends | None] = asyncio.get_running_loop().create_future()
            asked.set_result(self._cluster.ends() if self._cluster.answers else None)
            self._last_answer = asked
            await self.checkpoints.close(timeout_s=1.0)

        with asyncio.Runner() as runner:
            runner.run(close())

    def on_rebuilt(self) -> None:
        oldest_us = self._traffic.oldest_received_us

        def reconcile() -> None:
            found: set[bytes] = set()
            if oldest_us is not None:
                for chunk in self._cluster.read_tail(self.checkpoints.last_ends):
                    found.update(chunk.split())
            self._traffic.reconcile(found)

        self._when_quiet(reconcile)

    def _when_quiet(self, then: Callable[[], None], *, may_lack: bool = False) -> None:
        """Wait until the cluster has answered for the quiet time, then look.

        After a while a start goes on without the partitions that have no leader.
        """
        has_waited = self._life.monotonic_s() - self._began_s >= self._after_s
        answers = self._cluster.answers
        if may_lack and has_waited:
            answers = self._cluster.can_be_asked
        if not answers:
            self._life.call_later(TAIL_RETRY_S, lambda: self._when_quiet(then, may_lack=may_lack))
            return
        epoch = self._cluster.epoch

        def look() -> None:
            if self._cluster.epoch == epoch:
                then()
            else:
                self._when_quiet(then, may_lack=may_lack)

        self._life.call_later(self._cluster.quiet_s, look)

    def _ask_ends(self) -> "asyncio.Future[Ends | None]":
        if self._last_answer is not None:
            return self._last_answer
        answer = Answer()

        def look() -> None:
            ends = self._cluster.ends() if self._cluster.answers else None
            self._life.call_later(
                self._cluster.chance.random() * ANSWER_S, lambda: answer.tell(ends)
            )

        self._life.call_later(self._cluster.chance.random() * ANSWER_S, look)
        return cast("asyncio.Future[Ends | None]", answer)
