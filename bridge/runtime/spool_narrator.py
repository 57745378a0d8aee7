"""What the spool does, told to the log: once for each change, however many records it concerns."""

from collections import Counter
from collections.abc import Collection
from typing import Final

import msgspec

from bridge.kafka.outbox import Outbox
from bridge.observe.log import EventLog
from bridge.observe.spool_facts import FULL_REMEDY, SpoolFacts, disk_remedy
from bridge.runtime.spooling import Spooling

ROOM_AGAIN: Final = 0.9


class _Detour(msgspec.Struct):
    """A topic that is told to go over the disk."""

    since_s: float
    rows_at_peak: int = 0
    is_draining: bool = False


class SpoolNarrator:
    """Compare what is with what was told last; call `tell` each second."""

    def __init__(
        self,
        spooling: Spooling,
        outbox: Outbox,
        log: EventLog,
        *,
        bytes_max: int,
    ) -> None:
        self._spooling = spooling
        self._outbox = outbox
        self._log = log
        self._bytes_max = bytes_max
        self._taken_over: dict[str, _Detour] = {}
        self._obstacle: str | None = None
        self._obstacle_since_s = 0.0

    def facts(self) -> SpoolFacts:
        """Say what the spool is now."""
        machine = self._spooling.machine
        return SpoolFacts(
            rows=machine.spooled,
            pending=machine.pending,
            live_bytes=machine.live_bytes,
            bytes_max=self._bytes_max,
            obstacle=machine.state,
            error=machine.error or "",
            silent_topics=machine.silent_topics,
            stuck_topics=machine.stuck_topics,
        )

    def note_start(self, kafka_topics: Collection[str], now: float) -> None:
        """Note the topics of which an earlier process left rows."""
        self._taken_over |= {each: _Detour(now) for each in kafka_topics}

    def tell(self, facts: SpoolFacts, now: float, *, outage_budget_s: float | None) -> None:
        """Tell what changed since the last time."""
        known, self._spooling.known_rows = self._spooling.known_rows, Counter()
        for kafka_topic, rows in known.items():
            self._log.emit("spool_rows_known", kafka_topic=kafka_topic, rows=rows)
        if self._spooling.machine.is_quiet and not self._taken_over and self._obstacle is None:
            return
        self._tell_topics(facts, now)
        self._tell_obstacle(facts, now, outage_budget_s)

    def _tell_topics(self, facts: SpoolFacts, now: float) -> None:
        rows_by_topic = self._spooling.machine.rows_by_topic
        barred = set(facts.silent_topics) | set(facts.stuck_topics)
        for kafka_topic, rows in rows_by_topic.items():
            detour = self._taken_over.get(kafka_topic)
            if detour is None or (detour.is_draining and kafka_topic in barred):
                self._tell_taken_over(kafka_topic, rows, facts)
                detour = self._taken_over.setdefault(kafka_topic, _Detour(now))
                detour.is_draining = False
            elif not detour.is_draining and rows and self._may_drain(kafka_topic, barred):
                detour.is_draining = True
                self._log.emit("spool_drain_started", kafka_topic=kafka_topic, rows=rows)
            detour.rows_at_peak = max(detour.rows_at_peak, rows)
        for kafka_topic in [each for each in self._taken_over if each not in rows_by_topic]:
            detour = self._taken_over.pop(kafka_topic)
            self._log.emit(
                "spool_drained",
                kafka_topic=kafka_topic,
                rows_at_peak=detour.rows_at_peak,
                took_s=round(now - detour.since_s, 1),
            )

    def _may_drain(self, kafka_topic: str, barred: Collection[str]) -> bool:
        return self._spooling.is_permitted and kafka_topic not in barred

    def _tell_taken_over(self, kafka_topic: str, rows: int, facts: SpoolFacts) -> None:
        self._log.emit(
            "spool_took_over",
            kafka_topic=kafka_topic,
            records=rows,
            cause=self._cause_of(kafka_topic, facts),
            error=self._outbox.held_topics.get(kafka_topic, ""),
        )

    def _cause_of(self, kafka_topic: str, facts: SpoolFacts) -> str:
        if not self._spooling.is_permitted:
            return "start"
        if kafka_topic in facts.silent_topics:
            return "silent"
        is_shed = self._spooling.is_shedding and kafka_topic not in facts.stuck_topics
        return "shed" if is_shed else "stuck"

    def _tell_obstacle(self, facts: SpoolFacts, now: float, outage_budget_s: float | None) -> None:
        obstacle = facts.obstacle
        if obstacle is None and self._obstacle == "spool_full":
            # At the bound each row that leaves makes room for the next: that is no news.
            is_room = not facts.pending or facts.live_bytes < ROOM_AGAIN * facts.bytes_max
            obstacle = None if is_room else self._obstacle
        if obstacle == self._obstacle:
            return
        lasted_s = round(now - self._obstacle_since_s, 1)
        if self._obstacle == "spool_full":
            self._log.emit(
                "spool_room_again",
                bytes=facts.live_bytes,
                bytes_max=facts.bytes_max,
                full_s=lasted_s,
            )
        elif self._obstacle == "spool_failed":
            self._log.emit("spool_recovered", failed_s=lasted_s)
        if obstacle == "spool_full":
            self._log.emit(
                "spool_full",
                rows=facts.rows,
                bytes=facts.live_bytes,
                bytes_max=facts.bytes_max,
                outage_budget_s=outage_budget_s,
                remedy=FULL_REMEDY,
            )
        elif obstacle == "spool_failed":
            self._log.emit(
                "spool_failed",
                error=facts.error,
                pending=facts.pending,
                remedy=disk_remedy(facts.error),
            )
        self._obstacle, self._obstacle_since_s = obstacle, now
