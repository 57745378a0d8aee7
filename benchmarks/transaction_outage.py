"""One partition without leader: what becomes of the records of all the others."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from benchmarks.terms import Terms
from tests.support.eventually import let_last
from tests.support.kafka_cluster import KafkaCluster

_TOPIC: Final = "no-leader"
_PARTITIONS: Final = 6
_GAP_S: Final = 0.005
"""200 records a second."""
_INTERVAL_S: Final = 0.02
_HEALTHY_S: Final = 3.0
_AWAY_S: Final = 20.0
_AFTER_S: Final = 15.0
_TIMEOUT_MS: Final = 10_000
"""Half the outage, so that what the time-out does is seen too; the default is a minute."""
_CALL_S: Final = 1.0
_STUCK_S: Final = 5.0
"""A commit that hangs so long: the producer is replaced, as the bridge does with a silent one."""


class Feed(Protocol):
    """Writes at a steady rate and counts what became safe, by partition."""

    name: str
    safe: Counter[int]
    notes: list[str]

    def run(self, until_s: float) -> None:
        """Write until then."""


def _properties(cluster: KafkaCluster) -> dict[str, Any]:
    terms = Terms(
        mqtt_port=1,  # Not used: only Kafka's side is looked at.
        bootstrap_servers=cluster.bootstrap,
        client_id="outage",
        kafka_topic=_TOPIC,
        dead_letter_topic=_TOPIC,
    )
    return {**terms.producer_properties(), "log_level": 0}


class PlainFeed:
    """The bridge's way."""

    def __init__(self, cluster: KafkaCluster) -> None:
        self.name = "idempotent"
        self.safe: Counter[int] = Counter()
        self.notes: list[str] = []
        self._producer = Producer(_properties(cluster))

    def run(self, until_s: float) -> None:
        """Write until then, each partition in its turn."""
        number = 0
        while time.monotonic() < until_s:
            partition = number % _PARTITIONS
            self._producer.produce(
                _TOPIC, b"x", partition=partition, on_delivery=partial(self._on_delivery, partition)
            )
            number += 1
            self._producer.poll(0)
            let_last(_GAP_S)

    def _on_delivery(self, partition: int, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self.safe[partition] += 1


class TransactionalFeed:
    """Begin, produce, commit; what was not committed is produced again."""

    def __init__(self, cluster: KafkaCluster) -> None:
        self.name = "transactional"
        self.safe: Counter[int] = Counter()
        self.notes: list[str] = []
        self._properties = _properties(cluster) | {
            "transactional.id": "outage",
            "transaction.timeout.ms": _TIMEOUT_MS,
        }
        self._producer = Producer(self._properties)
        self._producer.init_transactions(30.0)
        self._began_s = time.monotonic()

    def _note(self, text: str) -> None:
        if not self.notes or not self.notes[-1].endswith(text):
            self.notes.append(f"{time.monotonic() - self._began_s:.1f} s: {text}")

    def run(self, until_s: float) -> None:
        """Write until then, each partition in its turn."""
        owed: list[int] = []
        written_s = time.monotonic()
        while time.monotonic() < until_s:
            let_last(_INTERVAL_S)
            new = int((time.monotonic() - written_s) / _GAP_S)
            owed.extend(number % _PARTITIONS for number in range(new))
            written_s += new * _GAP_S
            try:
                self._producer.begin_transaction()
                for partition in owed:
                    self._producer.produce(_TOPIC, b"x", partition=partition)
                self._call("commit", self._producer.commit_transaction, _STUCK_S)
            except KafkaException as error:
                self._note(f"{_describe(error.args[0])}, a new producer")
                self._producer = Producer(self._properties)
                left_s = max(0.0, until_s - time.monotonic())
                self._call("init", self._producer.init_transactions, left_s)
                self._note("the new producer may produce")
            else:
                self.safe.update(owed)
                owed = []

    def _call(self, what: str, call: Callable[[float], object], patience_s: float) -> None:
        """Call again while it only takes long, up to the patience."""
        ends_at_s = time.monotonic() + patience_s
        while True:
            try:
                call(_CALL_S)
            except KafkaException as error:
                self._note(f"{what} {_describe(error.args[0])}")
                if not error.args[0].retriable() or time.monotonic() >= ends_at_s:
                    raise
            else:
                return


def _describe(error: KafkaError) -> str:
    return f"{error.name()}{' (fatal)' if error.fatal() else ''}"


def compare_without_leader(cluster: KafkaCluster) -> None:
    """Take one node away, with a topic of one replica on it, and see who goes on."""
    cluster.client.create_topic(_TOPIC, partitions=_PARTITIONS, replication_factor=1)
    feeds: list[Feed] = [PlainFeed(cluster), TransactionalFeed(cluster)]
    coordinator = cluster.leader_of("__transaction_state")
    victim = next(
        node
        for partition in range(_PARTITIONS)
        if (node := cluster.leader_of(_TOPIC, partition)) is not coordinator
    )
    ends_at_s = time.monotonic() + _HEALTHY_S + _AWAY_S + _AFTER_S
    threads = [threading.Thread(target=feed.run, args=(ends_at_s,)) for feed in feeds]
    for thread in threads:
        thread.start()
    let_last(_HEALTHY_S)
    led = {each for each in range(_PARTITIONS) if cluster.leader_of(_TOPIC, each) is victim}
    victim.kill()
    let_last(2.0)  # What was on its way has ended.
    before = [feed.safe.copy() for feed in feeds]
    let_last(_AWAY_S - 4.0)
    away = [feed.safe.copy() for feed in feeds]
    victim.start()
    for thread in threads:
        thread.join()
    for feed, first, last in zip(feeds, before, away, strict=True):
        others = sum(last[each] - first[each] for each in range(_PARTITIONS) if each not in led)
        after = sum(feed.safe.values()) - sum(last.values())
        print(
            f"{len(led)} of {_PARTITIONS} partitions without leader for {_AWAY_S:.0f} s,"
            f" {feed.name}: {others / (_AWAY_S - 4.0):.0f} records/s safe in the others;"
            f" {after} safe after its return; {'; '.join(feed.notes[:12])}"
        )
