"""A world to try the outage machine in: an MQTT broker, a disk and a Kafka cluster as doubles.

`Bridge` does what the runtime does: it owns the doubles' ends and does as the machine says. A crash
leaves what a crash leaves: the rows on disk, what Kafka has, and what the broker has no PUBACK for.
"""

import random
from collections import Counter, defaultdict, deque
from collections.abc import Sequence

import msgspec

from bridge.spool.entry import Due, Entry, Read, State, Write, bucket_of
from bridge.spool.outage import Outage
from bridge.spool.row import Row, Scanned, Writable
from bridge.spool.topic import Bounds, Stuck

PARTITIONS = 3
LETTERS = "dlq"
AFTER_S = 5.0


class DiskError(Exception):
    pass


class Message(msgspec.Struct, frozen=True, eq=False):
    number: int
    kafka_topic: str
    key: bytes
    is_refused: bool = False


class Receipt(msgspec.Struct, eq=False):
    message: Message
    settled: bool = False


class Shipment(msgspec.Struct, eq=False):
    number: int
    kafka_topic: str
    key: bytes
    receipt: Receipt | None
    since_s: float
    entry: Entry | None = None


class Disk:
    """Rows that survive; a transaction is whole or nothing."""

    def __init__(self, bytes_max: int) -> None:
        self.rows: dict[str, dict[int, Row]] = defaultdict(dict)
        self.bytes_max = bytes_max
        self.live_bytes = 0
        self.is_failing = False
        self.high = 0
        self.transactions = 0
        self._next = 0

    def write(
        self, entries: Sequence[Writable], removed: Sequence[int], *, may_exceed: bool
    ) -> list[int]:
        if self.is_failing:
            raise DiskError("disk I/O error")
        added = sum(len(each.key + each.identity + each.record) for each in entries)
        assert may_exceed or not entries or self.live_bytes + added <= self.bytes_max
        sequences = []
        for each in entries:
            self._next += 1
            sequences.append(self._next)
            row = Row(self._next, each.key, each.identity, each.record)
            self.rows[each.kafka_topic][self._next] = row
        for sequence in removed:
            (topic,) = [each for each in self.rows.values() if sequence in each]
            row = topic.pop(sequence)
            added -= len(row.key + row.identity + row.record)
        self.live_bytes += added
        self.high = max(self.high, self.live_bytes)
        self.transactions += 1
        return sequences

    def read(self, job: Read) -> tuple[list[Row], bool]:
        if self.is_failing:
            raise DiskError("disk I/O error")
        rows = [
            each for sequence, each in self.rows[job.kafka_topic].items() if sequence > job.after
        ]
        return rows[: job.rows_max], len(rows) < job.rows_max

    def scan(self) -> list[Scanned]:
        return [
            Scanned(sequence, name, each.key, each.identity)
            for name, rows in self.rows.items()
            for sequence, each in rows.items()
        ]

    def numbers(self) -> set[int]:
        return {int(each.identity) for rows in self.rows.values() for each in rows.values()}


class Kafka:
    """Partitions that are up or down, each with its log; reports come after the append."""

    def __init__(self) -> None:
        self.down: set[tuple[str, int]] = set()
        self.logs: dict[tuple[str, int], list[tuple[bytes, int]]] = defaultdict(list)
        self.queues: dict[tuple[str, int], deque[Shipment]] = defaultdict(deque)
        self.landed: list[tuple[Shipment, bool]] = []

    def produce(self, shipment: Shipment) -> None:
        self.queues[partition_of(shipment.kafka_topic, shipment.key)].append(shipment)

    def append(self, partition: tuple[str, int], refused: set[int]) -> None:
        shipment = self.queues[partition].popleft()
        is_taken = shipment.number not in refused or shipment.kafka_topic == LETTERS
        if is_taken:
            self.logs[partition].append((shipment.key, shipment.number))
        self.landed.append((shipment, is_taken))

    def numbers(self) -> set[int]:
        return {number for log in self.logs.values() for _, number in log}

    def all_down(self, kafka_topic: str) -> None:
        self.down |= {(kafka_topic, each) for each in range(PARTITIONS)}


def partition_of(kafka_topic: str, key: bytes) -> tuple[str, int]:
    return kafka_topic, bucket_of(key) % PARTITIONS


class Bridge:
    """One process: gone whole at a crash."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.ledger: deque[Receipt] = deque()
        self.direct: dict[str, dict[Shipment, None]] = defaultdict(dict)
        self.job: Write | Read | None = None
        self.result: list[int] | tuple[list[Row], bool] | DiskError | None = None
        self.machine = Outage(
            after_s=AFTER_S,
            bytes_max=world.disk.bytes_max,
            group_of=world.group_of,
            bounds=world.bounds,
        )
        self.machine.restore(world.disk.scan(), world.disk.live_bytes)
        self.known = world.disk.numbers()
        self.is_permitted = False

    def permit(self) -> None:
        """The ends of the partitions were read."""
        self.is_permitted = True
        self.known |= (in_kafka := self.world.kafka.numbers())
        self.in_kafka = in_kafka
        self.machine.permit_drain()

    # ---------------------------------------------------------------- records

    def take(self, messages: Sequence[Message]) -> None:
        followers: dict[str, list[Entry]] = defaultdict(list)
        for message in messages:
            receipt = Receipt(message)
            self.ledger.append(receipt)
            if message.number in self.known:
                receipt.settled = True
                continue
            self.known.add(message.number)
            if not self.is_permitted or self.machine.follows(message.kafka_topic, message.key):
                followers[message.kafka_topic].append(
                    self.entry(message.number, message.kafka_topic, message.key, receipt)
                )
            else:
                self.send(message.number, message.kafka_topic, message.key, receipt)
        for kafka_topic, entries in followers.items():
            self.follow(kafka_topic, entries)
        self.acknowledge()

    def entry(self, number: int, kafka_topic: str, key: bytes, item: object) -> Entry:
        record = b"%d" % number
        return Entry(kafka_topic, key, record, record, item)

    def send(self, number: int, kafka_topic: str, key: bytes, receipt: Receipt | None) -> None:
        shipment = Shipment(number, kafka_topic, key, receipt, self.world.now)
        self.direct[kafka_topic][shipment] = None
        self.world.kafka.produce(shipment)

    def follow(self, kafka_topic: str, entries: list[Entry]) -> None:
        self.divert_direct(kafka_topic, {each.key for each in entries})
        self.machine.divert(entries, self.world.now)

    def divert_direct(self, kafka_topic: str, followed: set[bytes]) -> None:
        owed = [(each.key, each.since_s, each) for each in self.direct[kafka_topic]]
        chosen = self.machine.choose(kafka_topic, owed, self.world.now, followed)
        for shipments, is_stuck in ((chosen.stuck, True), (chosen.along, False)):
            entries = []
            for each in shipments:
                each.entry = self.entry(each.number, kafka_topic, each.key, each.receipt)
                each.entry.is_in_hand = True
                del self.direct[kafka_topic][each]
                entries.append(each.entry)
            self.machine.divert(entries, self.world.now, is_stuck=is_stuck)

    # ---------------------------------------------------------------- reports

    def report(self, shipment: Shipment, *, is_taken: bool) -> None:
        now = self.world.now
        if not is_taken:
            self.refuse(shipment)
        elif shipment.entry is None:
            del self.direct[shipment.kafka_topic][shipment]
            self.machine.alive([shipment.kafka_topic], now)
            self.settle(shipment.receipt)
        else:
            self.machine.confirmed([shipment.entry], now)
            self.settle(shipment.receipt)
        self.acknowledge()

    def refuse(self, shipment: Shipment) -> None:
        number, key = shipment.number, shipment.key
        if shipment.entry is not None:
            self.world.facts["letters for rows"] += shipment.entry.sequence > 0
            letter = self.entry(number, LETTERS, key, shipment.receipt)
            self.machine.replace(shipment.entry, letter, self.world.now)
            return
        del self.direct[shipment.kafka_topic][shipment]
        if self.machine.follows(LETTERS, key):
            self.follow(LETTERS, [self.entry(number, LETTERS, key, shipment.receipt)])
        else:
            self.send(number, LETTERS, key, shipment.receipt)

    def settle(self, receipt: object) -> None:
        if isinstance(receipt, Receipt) and not receipt.settled:
            receipt.settled = True

    def acknowledge(self) -> None:
        while self.ledger and self.ledger[0].settled:
            self.world.puback(self.ledger.popleft().message)

    # ---------------------------------------------------------------- the machine

    def tick(self) -> None:
        for kafka_topic in list(self.direct):
            self.divert_direct(kafka_topic, set())
        due: Due = self.machine.due(self.world.now)
        for entry in due.forward:
            self.world.facts["forwarded"] += 1
            receipt = entry.item
            assert isinstance(receipt, Receipt)
            if int(entry.record) in self.in_kafka:
                self.settle(receipt)
            else:
                self.send(int(entry.record), entry.kafka_topic, entry.key, receipt)
        if self.machine.state is not None:
            self.world.facts[self.machine.state] += 1
        if due.disk is not None:
            assert self.job is None
            self.job = due.disk
        self.acknowledge()

    def run_job(self) -> None:
        """Do the job; its result is told in a step of its own, or never."""
        if self.job is None or self.result is not None:
            return
        disk = self.world.disk
        try:
            if isinstance(self.job, Read):
                self.result = disk.read(self.job)
            else:
                self.world.check_removals(self.job)
                self.result = disk.write(
                    self.job.entries, self.job.removed_sequences, may_exceed=self.job.may_exceed
                )
        except DiskError as error:
            self.result = error

    def tell_result(self) -> None:
        job, result, now = self.job, self.result, self.world.now
        if result is None:
            return
        self.job = self.result = None
        if isinstance(result, DiskError):
            if isinstance(job, Read):
                self.machine.read_failed(str(result), now)
            else:
                self.machine.write_failed(str(result), now)
        elif isinstance(result, tuple):
            assert isinstance(job, Read)
            drained = self.machine.read(
                result[0],
                now,
                is_last=result[1],
                is_in_kafka=lambda row: int(row.identity) in self.in_kafka,
            )
            taken = drained.taken
            self.world.facts["found"] += len(drained.found)
            self.world.facts["probes"] += job.hand_out_max == 1
            self.world.facts["skipped passes"] += len(taken) < len(result[0])
            self.hand_out(taken)
        else:
            for entry in self.machine.written(result, self.world.disk.live_bytes):
                self.world.facts["safe in hand" if entry.is_in_hand else "safe and resting"] += 1
                self.settle(entry.item)
        self.acknowledge()

    def hand_out(self, entries: list[Entry]) -> None:
        for entry in entries:
            number = int(entry.record)
            self.world.facts["handed out"] += 1
            shipment = Shipment(number, entry.kafka_topic, entry.key, None, self.world.now, entry)
            self.world.kafka.produce(shipment)


class World:
    """All of it, driven by one chance; `finish` makes everybody well and waits."""

    def __init__(self, seed: int, *, bytes_max: int = 1 << 30, by_partition: bool = False) -> None:
        self.chance = random.Random(seed)  # noqa: S311  repeatable
        self.now = 100.0
        self.disk = Disk(bytes_max)
        self.kafka = Kafka()
        self.bounds = Bounds(window_rows=8, in_hand_max=60, removals_max=30)
        self.group_of = (lambda name, key: partition_of(name, key)[1]) if by_partition else None
        self.published: list[Message] = []
        self.unsent: deque[Message] = deque()
        self.unacknowledged: deque[Message] = deque()
        self.window = 40
        self.refused: set[int] = set()
        self.facts: Counter[str] = Counter()
        self.bridge = Bridge(self)
        self.bridge.permit()

    # ---------------------------------------------------------------- the broker

    def publish(self, key: bytes, kafka_topic: str = "t", *, is_refused: bool = False) -> Message:
        message = Message(len(self.published), kafka_topic, key, is_refused)
        self.published.append(message)
        self.unsent.append(message)
        if is_refused:
            self.refused.add(message.number)
        return message

    def deliver(self, most: int = 1 << 30) -> None:
        batch: list[Message] = []
        while self.unsent and len(self.unacknowledged) < self.window and len(batch) < most:
            batch.append(self.unsent.popleft())
            self.unacknowledged.append(batch[-1])
        if batch:
            self.bridge.take(batch)

    def puback(self, message: Message) -> None:
        assert self.unacknowledged.popleft() is message, "PUBACK out of order"
        is_safe = message.number in self.disk.numbers() or message.number in self.kafka.numbers()
        assert is_safe, f"PUBACK of {message.number}, which is nowhere"

    # ---------------------------------------------------------------- oracles

    def check_removals(self, job: Write) -> None:
        in_kafka = self.kafka.numbers()
        arriving = {int(each.identity) for each in job.entries if each.kafka_topic == LETTERS}
        for entry in job.removed:
            number = int(entry.identity)
            assert number in in_kafka or number in arriving, f"row of {number} removed too early"

    def check_stuck(self) -> None:
        """Every shipment that is stuck is counted, and whether the disk has it."""
        owed = [each for queue in self.kafka.queues.values() for each in queue]
        owed += [shipment for shipment, _ in self.kafka.landed]
        entries = [each.entry for each in owed if each.entry is not None and each.entry.is_stuck]
        unwritten = [each for each in entries if each.state is not State.ROW]
        self.facts["stuck and unwritten"] += bool(unwritten)
        unwritten_bytes = sum(each.hand_bytes for each in unwritten)
        expected = Stuck(len(entries) - len(unwritten), len(unwritten), unwritten_bytes)
        assert expected == self.bridge.machine.stuck

    def check_end(self) -> None:
        counts = Counter(number for log in self.kafka.logs.values() for _, number in log)
        assert dict.fromkeys(range(len(self.published)), 1) == dict(counts)
        for (kafka_topic, _), log in self.kafka.logs.items():
            newest: dict[bytes, int] = {}
            for key, number in log if kafka_topic != LETTERS else ():
                assert newest.get(key, -1) < number, f"{key!r}: {number} after {newest[key]}"
                newest[key] = number
        assert not self.unacknowledged
        assert self.bridge.machine.is_quiet
        assert (0, 0) == (self.bridge.machine.spooled, self.bridge.machine.pending)
        assert self.disk.live_bytes == self.bridge.machine.live_bytes == 0

    # ---------------------------------------------------------------- time

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    def append_some(self) -> None:
        for partition in list(self.kafka.queues):
            if partition not in self.kafka.down:
                for _ in range(self.chance.randint(0, len(self.kafka.queues[partition]))):
                    self.kafka.append(partition, self.refused)

    def report_some(self) -> None:
        for _ in range(self.chance.randint(0, len(self.kafka.landed))):
            shipment, is_taken = self.kafka.landed.pop(0)
            self.bridge.report(shipment, is_taken=is_taken)

    def crash(self) -> None:
        self.facts["crashes"] += 1
        self.facts["crashes with rows"] += bool(self.disk.live_bytes)
        self.append_some()  # Requests that were on the wire.
        self.kafka.queues.clear()
        self.kafka.landed.clear()
        self.unsent.extendleft(reversed(self.unacknowledged))
        self.unacknowledged.clear()
        self.bridge = Bridge(self)

    def step(self, dt: float = 0.05) -> None:
        """Let everybody do what there is to do, in the usual order."""
        self.now += dt
        self.deliver()
        self.append_some()
        self.report_some()
        self.bridge.tick()
        self.bridge.run_job()
        self.bridge.tell_result()
        self.check_stuck()

    def run_for(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            self.step()

    def finish(self, steps: int = 4_000) -> None:
        self.kafka.down.clear()
        self.disk.is_failing = False
        if not self.bridge.is_permitted:
            self.bridge.permit()
        for _ in range(steps):
            self.step(self.chance.choice((0.01, 0.2, 0.5)))
            is_owing = self.unsent or self.unacknowledged or any(self.kafka.queues.values())
            if not (is_owing or self.kafka.landed) and self.bridge.machine.is_quiet:
                break
        self.check_end()
