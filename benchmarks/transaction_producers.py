"""Two ways to make a record safe: by its delivery report, or by the commit of its transaction.

The transactional way is written as one would write it for speed, so that it is not rejected for
want of care. A record that waits opens a transaction; it is committed once it has been open for
the interval, or at once when the window is full, since then nothing more can come. librdkafka
allows one transaction at a time and refuses `produce` from the first step of a commit to its end
(`_STATE`), so what comes in that time waits. Success has no callback of its own: the commit speaks
for all.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from bridge.kafka.properties import Value

TICK_S: Final = 0.001
COMMIT_TIMEOUT_S: Final = 30.0
INIT_TIMEOUT_S: Final = 60.0
_NS_PER_MS: Final = 1_000_000


class Record(msgspec.Struct, frozen=True):
    """What is produced; `number` is its place among the records of a phase."""

    number: int
    key: str
    value: bytes
    headers: list[tuple[str, bytes]]


class Way(Protocol):
    """Takes records and notes when each is safe to acknowledge."""

    safe_at_ns: dict[int, int]
    commits: int

    def begin_phase(self, kafka_topic: str) -> None:
        """Forget the numbers so far; what comes goes to this topic."""

    def send(self, records: Sequence[Record]) -> None:
        """Take these records, in order."""

    def turn(self, *, is_full: bool) -> None:
        """Do what is due; full means that no record comes until one is safe."""

    def rest(self) -> None:
        """Wait for news, a tick at most."""


class Idempotent:
    """The bridge's way: every record has a delivery report, and that makes it safe."""

    def __init__(self, properties: Mapping[str, Value]) -> None:
        self.safe_at_ns: dict[int, int] = {}
        self.commits = 0
        self._producer = Producer(dict(properties))
        self._kafka_topic = ""

    def begin_phase(self, kafka_topic: str) -> None:
        """Forget the numbers so far; what comes goes to this topic."""
        self.safe_at_ns = {}
        self._kafka_topic = kafka_topic

    def send(self, records: Sequence[Record]) -> None:
        """Produce them at once."""
        for record in records:
            self._producer.produce(
                self._kafka_topic,
                record.value,
                record.key,
                on_delivery=partial(self._on_delivery, record.number),
                headers=list(record.headers),
            )

    def _on_delivery(self, number: int, error: KafkaError | None, _: Message) -> None:
        assert error is None, error
        self.safe_at_ns[number] = time.monotonic_ns()

    def turn(self, *, is_full: bool) -> None:  # noqa: ARG002  Reports come when they come.
        """Take the delivery reports that are there."""
        self._producer.poll(0)

    def rest(self) -> None:
        """Wait for a delivery report."""
        self._producer.poll(TICK_S)


class Transactional:
    """Begin, produce, commit every interval; a commit that returned makes its records safe."""

    def __init__(
        self, properties: Mapping[str, Value], *, transactional_id: str, interval_ms: int
    ) -> None:
        self.safe_at_ns: dict[int, int] = {}
        self.commits = 0
        self._interval_ns = interval_ms * _NS_PER_MS
        self._producer = Producer(
            {
                **properties,
                "transactional.id": transactional_id,
                "delivery.report.only.error": True,
            }
        )
        self._producer.init_transactions(INIT_TIMEOUT_S)
        self._committer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="commit")
        self._kafka_topic = ""
        self._waiting: list[Record] = []
        self._open: list[Record] = []
        self._begun_at_ns = 0
        self._commit: Future[None] | None = None

    def begin_phase(self, kafka_topic: str) -> None:
        """Forget the numbers so far; what comes goes to this topic."""
        assert not self._open
        assert not self._waiting
        self.safe_at_ns = {}
        self._kafka_topic = kafka_topic

    def send(self, records: Sequence[Record]) -> None:
        """Produce them into the open transaction, or let them wait for the next."""
        if self._commit is None and self._open:
            self._produce(records)
        else:
            self._waiting.extend(records)

    def _produce(self, records: Sequence[Record]) -> None:
        self._open.extend(records)
        for record in records:
            self._producer.produce(
                self._kafka_topic,
                record.value,
                record.key,
                on_delivery=_on_failure,
                headers=list(record.headers),
            )

    def turn(self, *, is_full: bool) -> None:
        """Note a commit that returned, begin with what waits, commit what is old enough."""
        if self._commit is not None:
            if not self._commit.done():
                return
            self._commit.result()
            self._commit = None
            self.commits += 1
            now_ns = time.monotonic_ns()
            self.safe_at_ns.update((record.number, now_ns) for record in self._open)
            self._open = []
        if not self._open and self._waiting:
            self._producer.begin_transaction()
            self._begun_at_ns = time.monotonic_ns()
            waiting, self._waiting = self._waiting, []
            self._produce(waiting)
        elif self._open:
            self._producer.poll(0)
            age_ns = time.monotonic_ns() - self._begun_at_ns
            if is_full or age_ns >= self._interval_ns:
                # In a thread: it blocks until Kafka has answered, and a loop may not.
                self._commit = self._committer.submit(
                    self._producer.commit_transaction, COMMIT_TIMEOUT_S
                )

    def rest(self) -> None:
        """Wait for the commit, or for a tick."""
        if self._commit is None:
            time.sleep(TICK_S)
            return
        with suppress(TimeoutError):
            self._commit.result(TICK_S)


def _on_failure(error: KafkaError | None, _: Message) -> None:
    raise AssertionError(error)
