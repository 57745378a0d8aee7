"""Asking for the tail until it is there: patient, in a thread, told to the log."""

import asyncio
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from bridge.config.sections import BridgeConfig
from bridge.fleet.dedup_window import DedupWindow, Kind
from bridge.fleet.duplicates import Duplicates
from bridge.kafka.partitions import Place
from bridge.kafka.properties import Properties
from bridge.observe.log import EventLog
from bridge.runtime import clock
from bridge.runtime.kafka_tail import (
    Chunk,
    Ends,
    KafkaTail,
    Scope,
    Tail,
    TailForbiddenError,
    TailUnavailableError,
    Window,
)
from bridge.runtime.window_files import JournalContent

RETRY_S: Final = 1.0


class StartReading(msgspec.Struct, frozen=True):
    """What a start found in Kafka."""

    tail: Tail | None
    """None: it may not be read, or the dedup window is off."""
    is_whole: bool
    """All that the window should hold was read: what the journal says of rows counts for nothing.
    As in a bridge that ran on, the dedup window knows it all the same, for its time."""

    @property
    def chunks(self) -> list[Chunk]:
        """Give the keys that were found."""
        return [] if self.tail is None else self.tail.chunks

    @property
    def lacking(self) -> frozenset[Place]:
        """Tell of which partitions nothing is known, since they have no leader."""
        return frozenset() if self.tail is None else self.tail.lacking

    @property
    def ends(self) -> Ends | None:
        """Tell up to where all is known."""
        return None if self.tail is None else self.tail.ends


class TailReader:
    """Reads the tail again and again until it could be read, or may not be read at all."""

    def __init__(
        self,
        tail: KafkaTail,
        window: Window,
        *,
        quiet_s: float,
        lacking_after_s: float,
        log: EventLog,
    ) -> None:
        """`lacking_after_s` is how long a start waits for partitions that have no leader."""
        self._tail = tail
        self._window = window
        self._quiet_s = quiet_s
        self._lacking_after_s = lacking_after_s
        self._log = log
        self._was_away = False
        self._thread = ThreadPoolExecutor(1, "kafka-tail")

    def renew(self, properties: Properties) -> None:
        """Connect with these from the next reading on."""
        self._tail.renew(properties)

    def add(self, kafka_topics: Iterable[str]) -> None:
        """Read these topics too, from now on."""
        self._tail.add(kafka_topics)

    def expect_late(self) -> None:
        """Let the ends stand still for `quiet_s`, as after an outage.

        The process before has left rows: it may have handed some of them to Kafka, over a link
        so slow that they have not arrived yet.
        """
        self._was_away = True

    async def read_start(self, journal: JournalContent) -> StartReading:
        """Read what the journal does not know: from its last checkpoint on, or the whole window.

        Where a partition ends before the checkpoint the journal speaks of records that are gone,
        and which of its keys were theirs it cannot tell: so the whole window is read.
        """
        window, starts = self._window, journal.ends
        if not window.keys_max:
            return StartReading(None, is_whole=False)
        if starts is not None:
            tail = await self._persist(
                "checkpoint",
                lambda scope: self._tail.read_from(
                    starts, window, quiet_s=self._quiet_s, was_away=self._was_away, scope=scope
                ),
            )
            if tail is None or not tail.shrunk:
                return StartReading(tail, is_whole=False)
            self._tell_shrunk(tail)
        tail = await self._persist("window", self._read_window)
        return StartReading(tail, is_whole=tail is not None)

    async def read_again(self, ends: Ends | None, *, oldest_unix_ms: int) -> list[Chunk]:
        """Read what an old producer may have brought home, before it is produced again.

        From the last checkpoint on, or, before there was one, from the time when the oldest
        record that is unconfirmed was received; nothing where reading is forbidden.
        """
        if ends is None:
            return await self.read_since(oldest_unix_ms)
        tail = await self._persist(
            "rebuild",
            lambda _: self._tail.read_from(
                ends, self._window, quiet_s=self._quiet_s, was_away=True
            ),
        )
        if tail is None:
            return []
        if tail.shrunk:
            self._tell_shrunk(tail)
        return tail.chunks

    def ask_ends(self) -> "asyncio.Future[Ends | None]":
        """Ask once where the partitions end; None where Kafka does not say."""
        return asyncio.get_running_loop().run_in_executor(self._thread, self._ends_or_none)

    def _ends_or_none(self) -> Ends | None:
        try:
            return self._tail.ends()
        except (TailForbiddenError, TailUnavailableError):
            return None  # Whoever needs Kafka says so; a checkpoint can wait.

    async def read_since(self, unix_ms: int) -> list[Chunk]:
        """Read what is not older than a moment; nothing where reading is forbidden."""
        tail = await self._persist(
            "rebuild", lambda _: self._tail.read_since(unix_ms, quiet_s=self._quiet_s)
        )
        return [] if tail is None else tail.chunks

    async def read_rest(self, lacking: frozenset[Place], starts: Ends | None) -> Tail | None:
        """Read what had no leader at the start, as far as it has one now; None: it may not be."""
        while True:
            await asyncio.sleep(RETRY_S)
            tail = await self._persist("rest", lambda _: self._read_places(lacking, starts))
            if tail is None or tail.lacking != lacking:
                return tail

    def _read_places(self, places: frozenset[Place], starts: Ends | None) -> Tail:
        scope = Scope(only=places, may_lack=True)
        return self._tail.read_from(
            starts or {}, self._window, quiet_s=self._quiet_s, was_away=True, scope=scope
        )

    def _read_window(self, scope: Scope) -> Tail:
        return self._tail.read_window(
            self._window, quiet_s=self._quiet_s, was_away=self._was_away, scope=scope
        )

    async def _persist(self, purpose: str, read: Callable[[Scope], Tail]) -> Tail | None:
        loop = asyncio.get_running_loop()
        started_s = clock.monotonic_s()
        while True:
            try:
                may_lack = clock.monotonic_s() - started_s >= self._lacking_after_s
                tail = await loop.run_in_executor(self._thread, read, Scope(may_lack=may_lack))
            except TailForbiddenError as error:
                self._log.emit(
                    "deduplication_not_durable",
                    error=str(error),
                    remedy="grant READ on the Kafka topics that the bridge writes",
                )
                return None
            except TailUnavailableError as error:
                self._was_away = True
                self._log.emit(
                    "kafka_tail_unavailable",
                    purpose=purpose,
                    error=str(error),
                    retry_in_s=RETRY_S,
                )
                await asyncio.sleep(RETRY_S)
                continue
            if purpose == "rest" and not tail.ends:
                return tail  # Asked again each second: no news.
            if tail.lacking:
                self._tell("kafka_partition_without_leader", tail.lacking)
            self._log.emit(
                "kafka_tail_read",
                purpose=purpose,
                keys=tail.count_keys(),
                took_s=round(clock.monotonic_s() - started_s, 3),
            )
            return tail

    def _tell_shrunk(self, tail: Tail) -> None:
        self._tell("kafka_partition_shrunk", tail.shrunk)

    def _tell(self, name: str, places: Collection[Place]) -> None:
        for kafka_topic in sorted({topic for topic, _ in places}):
            self._log.emit(
                name,
                kafka_topic=kafka_topic,
                partitions=sorted(number for topic, number in places if topic == kafka_topic),
            )

    def close(self) -> None:
        """Let the thread end by itself."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def make_duplicates(config: BridgeConfig) -> Duplicates:
    """Make the dedup window that the configuration asks for, empty."""
    window = window_of(config)
    if not window.keys_max:
        return Duplicates(None)
    return Duplicates(
        DedupWindow(ttl_s=window.ttl_s, keys_max=window.keys_max, keys_min=window.keys_min)
    )


def make_tail_reader(config: BridgeConfig, properties: Properties, log: EventLog) -> TailReader:
    """Make the reader of every topic that the bridge writes."""
    topics = {each.kafka_topic: Kind.TELEMETRY for each in config.route}
    topics[config.dead_letter.kafka_topic] = Kind.DEAD_LETTER
    return TailReader(
        KafkaTail(properties, topics),
        window_of(config),
        quiet_s=config.kafka.quiet_s,
        lacking_after_s=config.spool.after_s if config.spool.bytes_max else float("inf"),
        log=log,
    )


def window_of(config: BridgeConfig) -> Window:
    """Tell how deep the dedup window is, in memory, in the journal and in Kafka."""
    return Window(
        ttl_s=config.dedup.ttl_s,
        keys_max=config.dedup.keys_max,
        # What the MQTT broker may send again, and as much once more for what was just settled.
        keys_min=2 * config.mqtt.unsettled_max,
    )
