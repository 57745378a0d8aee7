"""One bridge process: the real core, joined as the product joins it, around doubles."""

import asyncio
import io
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import msgspec

from bridge.config.sections import Route, ValidationSection
from bridge.fleet.dedup_window import DedupWindow
from bridge.fleet.duplicates import Duplicates
from bridge.fleet.registry import Priority, Registry
from bridge.kafka.outbox import Outbox
from bridge.kafka.partitions import partition_of
from bridge.kafka.shipment import Unsettled
from bridge.mqtt.session import Session, SessionSettings
from bridge.observe.active_devices import ActiveDevices
from bridge.observe.catalogue.entry import Level
from bridge.observe.counters import Counters, LatencyHistogram
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_console
from bridge.pipeline.flow import Flow
from bridge.pipeline.policy import Policy
from bridge.runtime.accounts import Books
from bridge.runtime.importances import Importances
from bridge.runtime.shedder import LoadShedder
from bridge.runtime.spool_start import open_spool
from bridge.runtime.spooling import Spooling
from bridge.runtime.traffic import Traffic
from bridge.spool.entry import bucket_of
from bridge.spool.outage import Outage
from bridge.spool.shedding import Shedding
from bridge.spool.topic import Bounds
from tests.simulation.clock import Life
from tests.simulation.disk import SimDisk
from tests.simulation.journal import JournalFiles, SimJournal
from tests.simulation.kafka import LOCAL_BYTES_MAX, Cluster, SimProducer
from tests.simulation.link import Link
from tests.simulation.messages import FILTERS, LETTERS, PACKET_BYTES_MAX
from tests.simulation.recovery import SimRecovery

if TYPE_CHECKING:
    from bridge.runtime.spool_disk import SpoolDisk

TICK_S = 1.0
FINISH_S = 3.0
DRAIN_POLL_S = 0.02
EARLY_TURN = 7
"""Packets and records of what waited, judged in one turn; few, so that there are many."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of one bridge; small ones reach their bounds."""

    receive_maximum: int
    unsettled_max: int
    after_s: float
    spool_bytes_max: int
    is_grouped_by_partition: bool
    queue_max: int
    grain_s: float
    bounds: Bounds
    priorities: tuple[Priority, ...]
    """Of the routes."""


class Process:
    """From start to crash or stop; whoever holds it does not use it afterwards."""

    def __init__(
        self,
        shape: Shape,
        *,
        life: Life,
        link: Callable[[Session], Link],
        cluster: Cluster,
        disk: SimDisk,
        journal: JournalFiles,
        level: Level,
    ) -> None:
        self.shape = shape
        self.life = life
        self.cluster = cluster
        self.disk = disk
        self.bug: Exception | None = None
        self.is_stopping = False
        self.lines = io.StringIO()
        self.log = EventLog(
            level=level,
            lines=StreamLines(self.lines),
            renderer=render_console,
            unix_now=lambda: life.instant().unix_us / 1e6,
            monotonic_now=life.monotonic_s,
        )
        self.counters = Counters()
        self.session = Session(
            SessionSettings(
                client_id="simulated",
                topic_filters=tuple(FILTERS),
                session_expiry_s=3_600,
                receive_maximum=shape.receive_maximum,
                keep_alive_s=30,
                packet_bytes_max=PACKET_BYTES_MAX,
            )
        )
        self.duplicates = Duplicates(
            DedupWindow(ttl_s=3_600.0, keys_max=100_000, keys_min=2 * shape.unsettled_max)
        )
        self.unsettled = Unsettled(shape.unsettled_max, 1 << 30)
        self.outbox = Outbox(self.unsettled)
        self.producer = SimProducer(cluster, queue_max=shape.queue_max)
        self.journal = SimJournal(journal)
        self.routes = [
            Route(filter=topic_filter, kafka_topic=kafka_topic, priority=priority)
            for (topic_filter, kafka_topic), priority in zip(
                FILTERS.items(), shape.priorities, strict=True
            )
        ]
        self.importances = Importances(self.routes, LETTERS, None)
        self.spooling = self._make_spooling()
        self.spooling.shedder = self.shedder = self._make_shedder()
        self.traffic = self._make_traffic()
        self.link = link(self.session)
        self.recovery = SimRecovery(
            self.traffic,
            self.journal,
            self.producer,
            cluster,
            life,
            after_s=shape.after_s,
            can_lack=shape.is_grouped_by_partition and shape.spool_bytes_max > 0,
        )

    def _make_spooling(self) -> Spooling:
        shape = self.shape
        machine = Outage(
            after_s=shape.after_s,
            bytes_max=shape.spool_bytes_max,
            group_of=self._group_of,
            bounds=shape.bounds,
            importance_of=self.importances.of_topic,
        )
        return Spooling(
            machine,
            self.outbox,
            # A double of what is used of it.
            self.disk,
            counters=self.counters,
            clock=self.life,
            after_s=shape.after_s,
            bytes_max=shape.spool_bytes_max,
        )

    def _make_traffic(self) -> Traffic:
        books = Books(
            self.counters,
            LatencyHistogram(),
            ActiveDevices(now_s=self.life.monotonic_s()),
            self.log,
        )
        return Traffic(
            flow=Flow(
                routes=self.routes,
                dead_letter_topic=LETTERS,
                validation=ValidationSection(),
                entropy=bytes,
                duplicates=self.duplicates,
                policy=Policy.of(ValidationSection(flagged_copy_interval_s=0), Registry()),
            ),
            duplicates=self.duplicates,
            session=self.session,
            outbox=self.outbox,
            spooling=self.spooling,
            producer=self.producer,
            journal=self.journal,
            value_bytes_max=LOCAL_BYTES_MAX - 512,
            books=books,
            clock=self.life,
            on_bug=self._on_bug,
            on_rebuilt=self._on_rebuilt,
            shedder=self.shedder,
            early_turn=EARLY_TURN,
        )

    def _make_shedder(self) -> LoadShedder:
        return LoadShedder(
            Shedding(low_above=0.7, medium_above=0.9),
            importances=self.importances,
            may_drop=False,
            session=self.session,
            outbox=self.outbox,
            spooling=self.spooling,
            counters=self.counters,
            log=self.log,
        )

    def _group_of(self, _: str, key: bytes) -> int:
        if self.shape.is_grouped_by_partition and key:
            return partition_of(key, self.cluster.partitions)
        return bucket_of(key)

    def _on_rebuilt(self) -> None:
        self.recovery.on_rebuilt()

    def _on_bug(self, error: Exception) -> None:
        self.bug = error

    # ------------------------------------------------------------------ start

    def start(self) -> None:
        """Open the spool, connect, ask Kafka for its tail, tick: as `Daemon.run` does."""
        opening = open_spool(
            cast("SpoolDisk", self.disk),
            self.spooling,
            self.duplicates,
            bytes_max=self.shape.spool_bytes_max,
            counters=self.counters,
            log=self.log,
            clock=self.life,
        )
        try:
            opening.send(None)
        except StopIteration:
            pass
        else:
            raise AssertionError("opening the spool did not end at once")
        self.recovery.start()
        self.link.start(self.traffic)
        self.life.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self.life.call_later(TICK_S, self._tick)
        self.traffic.serve()
        self.recovery.tick()

    # ------------------------------------------------------------------ end

    def crash(self) -> None:
        """Vanish: what is on the wire, in sockets and on the disk goes its own way."""
        self.life.is_over = True
        self.producer.close()
        self.disk.crash()
        self.journal.crash()
        if self.link.connection is not None:
            self.link.connection.cut()

    def stop(
        self, *, drain_s: float, turn: Callable[[], bool], on_left: Callable[[], None]
    ) -> None:
        """Do as `Daemon._drain`; `turn` lets the world go on while the last rows are written."""
        self.is_stopping = True
        until = self.life.monotonic_s() + drain_s
        self.link.stop_connecting()
        self.traffic.stop_reading()
        self.session.say_offline(now=self.life.monotonic_s())
        self.link.flush()

        def drain() -> None:
            self.traffic.serve_guarded()
            if not self.unsettled.records:
                self._leave(on_left)
            elif self.life.monotonic_s() >= until:
                if self.spooling.is_on:
                    self._spool_the_rest(turn)
                if not self.life.is_over:
                    self._leave(on_left)
            else:
                self.life.call_later(DRAIN_POLL_S, drain)

        self.life.call_later(0.0, drain)

    def _spool_the_rest(self, turn: Callable[[], bool]) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._finish(turn))

    async def _finish(self, turn: Callable[[], bool]) -> None:
        until = self.life.monotonic_s() + FINISH_S
        finishing = asyncio.ensure_future(self.spooling.finish(timeout_s=1e6))
        await asyncio.sleep(0)
        while not finishing.done() and not self.life.is_over:
            if self.life.monotonic_s() >= until or not turn():
                break
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        if finishing.done():
            finishing.result()
        finishing.cancel()

    def _leave(self, on_left: Callable[[], None]) -> None:
        self.session.disconnect(now=self.life.monotonic_s())
        self.link.close()
        self.traffic.close()
        self.recovery.stop()
        self.producer.close()
        self.disk.close()
        self.journal.close()
        self.life.is_over = True
        on_left()

    # ------------------------------------------------------------------ what the oracle asks

    def residue(self) -> int:
        return self.counters.residue(self.traffic.count_in_flight(), self.spooling.spooled)

    @property
    def is_quiet(self) -> bool:
        return (
            self.traffic.is_released
            and not self.outbox.is_sealed
            and not len(self.outbox)
            and not self.unsettled.records
            and not self.traffic.waiting
            and not self.link.is_paused
            and self.spooling.is_quiet
            and not len(self.session.ledger)
        )
