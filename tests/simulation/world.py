"""All of it: one seed, one world, one history; `live` runs it and judges it."""

import random
from collections import Counter, deque
from collections.abc import Callable

from bridge.observe.catalogue.entry import Level
from bridge.observe.counters import Outcome
from bridge.spool.topic import Bounds
from tests.simulation import oracle
from tests.simulation.broker import Broker
from tests.simulation.clock import Life, SimClock
from tests.simulation.disk import MemoryRows, Rows, SimDisk
from tests.simulation.faults import FAULTS, OUTAGES, Fault
from tests.simulation.journal import JournalFiles
from tests.simulation.kafka import Cluster
from tests.simulation.link import Link
from tests.simulation.messages import (
    LETTERS,
    METERS,
    TELEMETRY,
    TOPIC_BYTES_MAX,
    Content,
    Message,
    make_content,
)
from tests.simulation.process import Process, Shape

HISTORY_S = 25.0
SETTLE_S = 240.0
"""When all peers are well, everything must be settled within this: 60 s to find a stuck producer,
30 s until a disk that failed is asked again, and the drain."""
EVENTS_SHOWN = 60

Event = tuple[float, str, tuple[object, ...]]


class World:
    """The peers, the process in their middle, and what was published."""

    def __init__(self, seed: int, *, rows: Rows | None = None, is_traced: bool = False) -> None:
        self.seed = seed
        self.chance = chance = random.Random(seed)  # noqa: S311  repeatable
        self.clock = SimClock()
        self.events: deque[Event] = deque(maxlen=None if is_traced else EVENTS_SHOWN)
        self.is_traced = is_traced
        self.facts: Counter[str] = Counter()
        self.published: list[Message] = []
        self.contents: list[Content] = []
        self.shape = _draw_shape(chance, seed)
        self.broker = Broker(self.clock, chance, on_puback=self._on_puback)
        small = {TELEMETRY: TOPIC_BYTES_MAX, METERS: TOPIC_BYTES_MAX}
        if chance.random() < 0.2:
            small[LETTERS] = TOPIC_BYTES_MAX
        self.cluster = Cluster(
            self.clock,
            chance,
            partitions=chance.choice((1, 2, 3)),
            quiet_s=chance.choice((0.3, 2.0)),
            bytes_max=small,
        )
        self.disk = SimDisk(self.clock, chance, rows or MemoryRows(self.shape.spool_bytes_max))
        self.journal = JournalFiles(self.clock, chance)
        self.process: Process | None = None
        self.processes = 0
        self._devices = chance.randint(2, 6)
        self._spans_s = chance.choice(((0.1, 1.0, 4.0, 12.0), (0.5, 8.0), (8.0, 16.0)))
        self._is_over = False

    def note(self, what: str, *details: object) -> None:
        self.events.append((self.clock.now, what, details))
        self.facts[what] += 1

    def later(self, delay_s: float, happen: Callable[[], None]) -> None:
        """Let something happen, unless all is well by then."""
        self.clock.call_later(delay_s, lambda: None if self._is_over else happen())

    def span_s(self) -> float:
        return self.chance.choice(self._spans_s) * self.chance.uniform(0.5, 1.5)

    # ------------------------------------------------------------------ the process

    def start(self) -> None:
        if self.process is not None:
            return
        self.note("bridge started")
        self.processes += 1
        life = Life(
            self.clock,
            begins_at_s=self.chance.choice((10.0, 3_000.0)),
            grain_s=self.shape.grain_s,
        )
        self.process = Process(
            self.shape,
            life=life,
            link=lambda session: Link(self.broker, life, self.chance, session),
            cluster=self.cluster,
            disk=self.disk,
            journal=self.journal,
            level=Level.DEBUG if self.is_traced else Level.ERROR,
        )
        self.process.link.note = self.note
        self.process.start()

    def crash(self) -> None:
        process = self.process
        if process is None:
            return
        self.note("bridge crashed", f"rows {process.spooling.machine.spooled}")
        process.crash()
        self._left()

    def stop(self) -> None:
        process = self.process
        if process is None or process.is_stopping:
            return
        self.note("bridge stopping")
        drain_s = self.chance.choice((0.0, 1.0, 5.0))
        process.stop(drain_s=drain_s, turn=self._turn, on_left=self._left_in_peace)

    def _left_in_peace(self) -> None:
        assert self.process is not None
        self.note("bridge stopped", f"rows {self.process.spooling.machine.spooled}")
        oracle.check_process(self.process)
        self._left()

    def _left(self) -> None:
        assert self.process is not None
        self._count_facts(self.process)
        self.process = None
        self.clock.call_later(self.chance.choice((0.05, 0.5, 3.0)), self.start)

    def _count_facts(self, process: Process) -> None:
        counters = process.counters
        self.facts["rows written"] += counters.spool_rows_written
        self.facts["rows drained"] += counters.spool_rows_drained
        self.facts["rows at start"] += counters.spooled_at_start
        self.facts["disk refusals"] += counters.spool_failures
        self.facts["producer rebuilt"] += counters.producer_rebuilds
        self.facts["produced again"] += counters.records_produced_again
        self.facts["reordered"] += counters.records_reordered
        self.facts["records shed"] += sum(counters.shed.values())
        self.facts["partial starts"] += process.recovery.partial_starts
        self.facts["duplicates"] += counters.settled[Outcome.DUPLICATE]

    # ------------------------------------------------------------------ the devices

    def _publish_some(self) -> None:
        for _ in range(self.chance.randint(1, 8)):
            if not self.broker.is_up:
                self.later(0.5, self._publish_some)
                return
            if self.contents and self.chance.random() < 0.1:
                content = self.chance.choice(self.contents[-12:])
            else:
                device = self.chance.randrange(self._devices)
                content = make_content(len(self.contents), device, self.chance)
                self.contents.append(content)
            message = Message(len(self.published), content)
            self.published.append(message)
            self.broker.take(message)
            self.note("published", message.number, content.number, content.kind.value)

    def _on_puback(self, message: Message) -> None:
        self.note("PUBACK", message.number, message.content.number)
        number = message.content.number
        assert self.cluster.counts[number] or self.disk.counts[number], (
            f"PUBACK of message {number}, which is neither in Kafka nor on disk"
        )

    # ------------------------------------------------------------------ time

    def _turn(self) -> bool:
        is_going = self.clock.turn()
        process = self.process
        if process is not None:
            oracle.check_process(process)
            self.facts["blind"] += process.spooling.is_blind
            self.facts["paused"] += process.traffic.reading.is_paused
            if process.spooling.machine.state is not None:
                self.facts[process.spooling.machine.state] += 1
        return is_going

    def live(self) -> None:
        """Run the history, make everybody well, wait until all is settled, and judge.

        Raises:
            AssertionError: The sentence that does not hold, the seed, and the last events.
        """
        try:
            self._live()
        except AssertionError as error:
            raise AssertionError(f"seed {self.seed}: {error}\n{self.story()}") from error
        except Exception as error:
            raise AssertionError(
                f"seed {self.seed}: the bridge raised {error!r}\n{self.story()}"
            ) from error

    def _live(self) -> None:
        chance = self.chance
        self.start()
        faults: list[Fault] = chance.sample(FAULTS, chance.randint(1, 6))
        for _ in range(chance.randint(3, 12)):
            self.later(0.5 + chance.random() * HISTORY_S, self._publish_some)
        if chance.random() < 0.4:
            faults += OUTAGES  # A spool is for those.
        for _ in range(chance.randint(1, 9)):
            fault = chance.choice(faults)
            self.later(chance.random() * HISTORY_S, lambda fault=fault: fault(self))  # type: ignore[misc]
        while self.clock.now < HISTORY_S and self._turn():
            pass
        self._heal()
        until = self.clock.now + SETTLE_S
        while not self._is_settled():
            assert self.clock.now < until, f"not settled {SETTLE_S:.0f} s after all was well"
            self._turn()
        assert self.process is not None
        self._count_facts(self.process)
        self.facts["sent again"] += self.broker.duplicates_sent
        oracle.check_end(self)

    def _heal(self) -> None:
        self.note("all is well")
        self._is_over = True
        self.broker.is_up = True
        self.broker.refusal = 0
        self.broker.slowness_s = 0.01
        self.disk.heal()
        self.cluster.change(self.cluster.heal)

    def _is_settled(self) -> bool:
        process = self.process
        return process is not None and process.is_quiet and self.broker.is_idle()

    def story(self) -> str:
        """Tell the last events, and in full what the bridge itself said if it is traced."""
        lines = [
            f"{at:9.3f} {what} {' '.join(map(str, details))}" for at, what, details in self.events
        ]
        process = self.process
        if process is not None:
            lines.append(
                f"in hand {len(process.outbox)}, unsettled {process.unsettled.records},"
                f" ledger {len(process.session.ledger)}, rows {process.spooling.machine.spooled},"
                f" pending {process.spooling.machine.pending}, phase {process.session.phase.name},"
                f" released {process.traffic.is_released}, held {process.outbox.held_topics}"
            )
            lines.append(process.lines.getvalue())
        return "\n".join(lines)


def _draw_shape(chance: random.Random, seed: int) -> Shape:
    # Drawn apart, so that what a seed finds in the rest stays what it was.
    priorities = random.Random(f"priorities {seed}")  # noqa: S311  repeatable
    return Shape(
        priorities=priorities.choice(
            (("medium", "medium"), ("high", "low"), ("high", "medium"), ("low", "medium"))
        ),
        receive_maximum=chance.choice((3, 20, 60)),
        unsettled_max=chance.choice((4, 25, 200)),
        after_s=chance.choice((1.0, 3.0)),
        spool_bytes_max=chance.choice((1 << 30, 1 << 30, 4_000, 0)),
        is_grouped_by_partition=chance.random() < 0.5,
        queue_max=chance.choice((3, 1_000)),
        grain_s=chance.choice((0.005, 0.1, 0.4)),
        bounds=Bounds(
            window_rows=chance.choice((2, 8, 100)),
            in_hand_max=chance.choice((6, 60)),
            removals_max=chance.choice((4, 30)),
        ),
    )
