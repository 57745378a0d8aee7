"""A Kafka cluster and the producers that write to it: what a batch meets, and what is told of it.

Theory of operation. A producer keeps one channel a partition: what waits in its queue, then batches
on the wire, landed in their order (an idempotent producer never overtakes itself). A landed batch
is appended or refused as a whole, and reported some time later. A producer that dies takes its
queue with it; what is on the wire lands a little later, and on a frozen cluster only once it thaws,
but always within the quiet time that the reading of the tail waits for.
"""

import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from bridge.fleet.dedup_window import Kind, compact, compact_copy
from bridge.kafka.partitions import partition_of
from bridge.kafka.record import Record
from bridge.kafka.shipment import Shipment
from bridge.runtime.kafka_tail import Chunk, Ends
from tests.simulation.clock import SimClock, SimTimer
from tests.simulation.messages import LETTERS, METERS, TELEMETRY, number_in

Place = tuple[str, int]
Report = tuple[Shipment, str | None]

LOCAL_BYTES_MAX = 40_000
ON_THE_WIRE_MAX = 3
FATAL_ERRORS = ("_FATAL", "OUT_OF_ORDER_SEQUENCE_NUMBER", "UNKNOWN_PRODUCER_ID")
REFUSALS = ("TOPIC_AUTHORIZATION_FAILED", "UNKNOWN_TOPIC_OR_PART", "POLICY_VIOLATION", "NEVER_SEEN")


class Landed(msgspec.Struct, frozen=True):
    """A record in a partition."""

    number: int
    key: bytes
    dedup_key: bytes
    unix_ms: int
    is_refused_letter: bool
    is_copy: bool
    """A copy of a flagged message: nobody owes it, and it stands for nothing."""


class Cluster:
    """Partitions with their logs, and what keeps them from growing."""

    def __init__(
        self,
        clock: SimClock,
        chance: random.Random,
        *,
        partitions: int,
        quiet_s: float,
        bytes_max: dict[str, int],
    ) -> None:
        self.clock = clock
        self.chance = chance
        self.quiet_s = quiet_s
        self.partitions = partitions
        self.topics = (TELEMETRY, METERS, LETTERS)
        self.logs: dict[Place, list[Landed]] = {
            (topic, number): [] for topic in self.topics for number in range(partitions)
        }
        self.counts: Counter[int] = Counter()
        """How often each content is in the logs."""
        self.copies = 0
        self.failed: set[int] = set()
        """Contents whose record was refused at least once, while newer ones may have passed."""
        self.is_frozen = False
        self.is_away = False
        self.leaderless: set[Place] = set()
        self.refused: dict[str, str] = {}
        self.failing_share = 0.0
        """How many batches fail once for a passing reason."""
        self.report_s = 0.01
        self.epoch = 0
        """Changes whenever the cluster stops answering, or begins to."""
        self.channels: list[Channel] = []
        self._bytes_max = bytes_max

    @property
    def answers(self) -> bool:
        """True while every partition would tell its end."""
        return self.can_be_asked and not self.leaderless

    @property
    def can_be_asked(self) -> bool:
        """True while it says where each partition with a leader ends."""
        return not (self.is_frozen or self.is_away)

    def change(self, change: Callable[[], None]) -> None:
        """Let something befall the cluster, or end; what waited for it goes on."""
        change()
        self.epoch += 1
        self.channels = [each for each in self.channels if not each.is_gone]
        for channel in self.channels:
            channel.go_on()

    def heal(self) -> None:
        self.is_frozen = self.is_away = False
        self.leaderless.clear()
        self.refused.clear()
        self.failing_share = 0.0
        self.report_s = 0.01

    def place_of(self, record: Record) -> Place:
        key = record.key
        number = partition_of(key, self.partitions) if key else 0
        return record.kafka_topic, number

    # ------------------------------------------------------------------ a batch

    def judge(self, place: Place, batch: Sequence[Shipment]) -> str | None:
        """Tell the error of a whole batch, or None where it is appended."""
        if place[0] in self.refused:
            return self.refused[place[0]]
        most = self._bytes_max.get(place[0], LOCAL_BYTES_MAX)
        if any(len(each.record.value) > most for each in batch):
            return "MSG_SIZE_TOO_LARGE"
        if self.failing_share and self.chance.random() < self.failing_share:
            return self.chance.choice(("UNKNOWN", "INVALID_PRODUCER_EPOCH"))
        return None

    def append(self, place: Place, shipment: Shipment) -> None:
        record = shipment.record
        number = number_in(record.value)
        headers = dict(record.headers)
        kind = Kind.DEAD_LETTER if place[0] == LETTERS else Kind.TELEMETRY
        key = compact(headers["idempotency-key"], kind)
        is_copy = headers.get("dlq.copy") == b"true"
        if is_copy:
            self.copies += 1
            key = compact_copy(headers["idempotency-key"], headers["dlq.reason"])
        else:
            self.counts[number] += 1
        self.logs[place].append(
            Landed(
                number,
                record.key,
                key,
                record.received.unix_us // 1_000,
                headers.get("dlq.reason") == b"kafka_refused",
                is_copy,
            )
        )

    def ends(self) -> dict[Place, int]:
        return {place: len(log) for place, log in self.logs.items()}

    def read_tail(self, starts: Ends | None, places: Iterable[Place] | None = None) -> list[Chunk]:
        """Give the keys in the logs, from these offsets on, as the reading of the tail does."""
        chunks = []
        for place in self.logs if places is None else places:
            log = self.logs[place]
            # A partition without a start is read as for a whole window.
            found = log[starts.get(place, 0) :] if starts else log
            if found:
                newest = max(each.unix_ms for each in found)
                chunks.append(Chunk(newest, b"".join(each.dedup_key for each in found)))
        return sorted(chunks, key=lambda each: each.unix_ms)


class Channel:
    """One partition of one producer."""

    def __init__(self, cluster: Cluster, client: "Client", place: Place) -> None:
        self.place = place
        self._cluster = cluster
        self._client = client
        self._queue: deque[Shipment] = deque()
        self._wire: deque[list[Shipment]] = deque()
        self._timer: SimTimer | None = None
        self._reported_at = 0.0

    @property
    def is_gone(self) -> bool:
        """True when nothing of a dead producer is on the wire any more."""
        return not self._client.is_alive and not self._wire

    def take(self, shipment: Shipment) -> None:
        self._queue.append(shipment)
        self.go_on()

    def go_on(self) -> None:
        """Put batches on the wire, and let the first of them land in a moment."""
        cluster, chance = self._cluster, self._cluster.chance
        is_sending = self._client.is_sending and not cluster.is_away
        while is_sending and self._queue and len(self._wire) < ON_THE_WIRE_MAX:
            size = chance.choice((1, 3, 20))
            self._wire.append([self._queue.popleft() for _ in range(min(size, len(self._queue)))])
        if self._wire and self._timer is None and not cluster.is_frozen:
            delay_s = chance.random() * min(0.02, 0.2 * cluster.quiet_s)
            if chance.random() < 0.1:
                delay_s = chance.random() * 0.8 * cluster.quiet_s
            self._timer = cluster.clock.call_later(delay_s, self._land)

    def _land(self) -> None:
        self._timer = None
        cluster = self._cluster
        if cluster.is_frozen:
            return
        if cluster.is_away or self.place in cluster.leaderless:
            self._take_back()
            return
        while self._wire:
            self._arrive(self._wire.popleft())
            if self._client.is_alive:
                break
        self.go_on()

    def _take_back(self) -> None:
        """Try again once the leader is there; a dead producer tries no more."""
        if self._client.is_alive:
            self._queue.extendleft(
                shipment for batch in reversed(self._wire) for shipment in reversed(batch)
            )
        self._wire.clear()

    def _arrive(self, batch: list[Shipment]) -> None:
        cluster = self._cluster
        error = cluster.judge(self.place, batch)
        for shipment in batch:
            if error is None:
                cluster.append(self.place, shipment)
            else:
                cluster.failed.add(number_in(shipment.record.value))
        delay_s = cluster.chance.random() * cluster.report_s
        # Reports of one partition come in their order, those of several in any.
        self._reported_at = max(self._reported_at, cluster.clock.now + delay_s)
        cluster.clock.call_later(
            self._reported_at - cluster.clock.now,
            lambda: self._client.report([(each, error) for each in batch]),
        )

    def die(self) -> None:
        """Lose the queue; so much of what is on the wire lands as had left the host."""
        self._queue.clear()
        left = self._cluster.chance.randint(0, len(self._wire))
        while len(self._wire) > left:
            self._wire.pop()

    def fail(self) -> None:
        """Lose the queue as a producer does that had a fatal error; it goes on living."""
        self._queue.clear()


class Client:
    """One producer of librdkafka, until it is replaced or its process dies."""

    def __init__(self, cluster: Cluster) -> None:
        self.is_alive = True
        self.is_stuck = False
        """It sends nothing and reports nothing, without a word."""
        self.fatal_error = ""
        self.unreported: dict[Shipment, None] = {}
        self.reports: list[Report] = []
        self._cluster = cluster
        self._channels: dict[Place, Channel] = {}

    @property
    def is_sending(self) -> bool:
        return self.is_alive and not self.is_stuck and not self.fatal_error

    def take(self, shipment: Shipment) -> None:
        if self.fatal_error:
            self.reports.append((shipment, self.fatal_error))
            return
        self.unreported[shipment] = None
        place = self._cluster.place_of(shipment.record)
        channel = self._channels.get(place)
        if channel is None:
            channel = self._channels[place] = Channel(self._cluster, self, place)
            self._cluster.channels.append(channel)
        channel.take(shipment)

    def report(self, reports: list[Report]) -> None:
        if not self.is_alive or self.is_stuck or self.fatal_error:
            return
        for shipment, error in reports:
            del self.unreported[shipment]
            self.reports.append((shipment, error))

    def fail(self, error: str) -> None:
        """Report everything unreported as failed, though some of it lands, or has landed."""
        self.fatal_error = error
        for channel in self._channels.values():
            channel.fail()
        self.reports += [(shipment, error) for shipment in self.unreported]
        self.unreported.clear()

    def die(self) -> None:
        self.is_alive = False
        for channel in self._channels.values():
            channel.die()


class SimProducer:
    """What Traffic takes for the producer."""

    def __init__(self, cluster: Cluster, *, queue_max: int) -> None:
        self.client = Client(cluster)
        self.generation = 0
        self._cluster = cluster
        self._queue_max = queue_max

    def send(self, shipments: Sequence[Shipment]) -> Sequence[Shipment]:
        client = self.client
        for position, shipment in enumerate(shipments):
            if len(client.unreported) + len(client.reports) >= self._queue_max:
                return shipments[position:]
            if len(shipment.record.value) > LOCAL_BYTES_MAX:
                shipment.is_refused_locally = True
                client.reports.append((shipment, "MSG_SIZE_TOO_LARGE"))
            else:
                client.take(shipment)
        return ()

    def poll(self) -> list[Report]:
        reports, self.client.reports = self.client.reports, []
        return reports

    def rebuild(self) -> str:
        died_of = self.client.fatal_error
        self.close()
        self.generation += 1
        self.client = Client(self._cluster)
        return died_of

    def close(self) -> None:
        self.client.die()
