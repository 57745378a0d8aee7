"""What transactions do to faults: a crash, a frozen broker, a partition without leader.

Each scenario runs with and without transactions and says in a line what it saw. The victim is a
process of its own (this module with arguments), so that it can be killed with a transaction open.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from benchmarks.terms import Terms
from benchmarks.transaction_outage import compare_without_leader
from tests.support.eventually import eventually, let_last
from tests.support.kafka_cluster import KafkaCluster, KafkaProcess
from tests.support.processes import ChildProcess

_REPOSITORY: Final = Path(__file__).resolve().parents[1]
_PARTITIONS: Final = 6
_RECORDS: Final = 600
_TURNS: Final = 3
_SHORT_TIMEOUT_MS: Final = 10_000
_DEFAULT_TIMEOUT_MS: Final = 60_000
_PATIENCE_S: Final = 60.0
_NEIGHBOUR: Final = b"neighbour"


def make_producer(
    bootstrap: str, *, transactional_id: str | None, timeout_ms: int = _DEFAULT_TIMEOUT_MS
) -> Producer:
    """Make a producer with the bridge's own properties, transactional or not."""
    properties: dict[str, Any] = Terms(
        mqtt_port=1,  # Not used: only Kafka's side is looked at.
        bootstrap_servers=bootstrap,
        client_id="fault",
        kafka_topic="",
        dead_letter_topic="",
    ).producer_properties()
    properties["log_level"] = 0  # Brokers go down on purpose.
    if transactional_id is None:
        return Producer(properties)
    properties |= {"transactional.id": transactional_id, "transaction.timeout.ms": timeout_ms}
    return Producer(properties)


def _fill(producer: Producer, topic: str, value: bytes, records: int = _RECORDS) -> None:
    for number in range(records):
        producer.produce(topic, value, partition=number % _PARTITIONS)
    producer.flush(_PATIENCE_S)


# ---------------------------------------------------------------------- the victim


def _be_victim(arguments: argparse.Namespace) -> None:
    """Write, leave the transaction open, write once more at SIGUSR1, and wait to be killed."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    transactional_id = arguments.transactional_id or None
    producer = make_producer(
        arguments.bootstrap, transactional_id=transactional_id, timeout_ms=arguments.timeout_ms
    )
    if transactional_id:
        producer.init_transactions(_PATIENCE_S)
        producer.begin_transaction()
    _fill(producer, arguments.topic, b"before")
    print("open", flush=True)
    signal.sigwait({signal.SIGUSR1})
    _fill(producer, arguments.topic, b"frozen")


def _start_victim(
    kafka: KafkaProcess, topic: str, *, transactional_id: str | None, timeout_ms: int
) -> ChildProcess:
    victim = ChildProcess(f"victim-{topic}", kafka.directory / f"victim-{topic}.log")
    words = [
        *(sys.executable, "-m", "benchmarks.transaction_faults", f"--bootstrap={kafka.bootstrap}"),
        *(f"--topic={topic}", f"--transactional-id={transactional_id or ''}"),
        f"--timeout-ms={timeout_ms}",
    ]
    victim.spawn(words, env={**os.environ, "PYTHONPATH": str(_REPOSITORY)})
    eventually(lambda: "open" in victim.output(), what="the victim has written")
    return victim


# ---------------------------------------------------------------------- what consumers see


@contextmanager
def _reader(kafka: KafkaProcess, topic: str, *, isolation: str) -> Iterator[Consumer]:
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": "faults",  # Asked for, never joined.
            "isolation.level": isolation,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([TopicPartition(topic, each, 0) for each in range(_PARTITIONS)])
    try:
        yield consumer
    finally:
        consumer.close()


def _await_neighbour(kafka: KafkaProcess, topic: str) -> float:
    """Return the instant at which committed reading has passed all partitions' neighbours."""
    owed = set(range(_PARTITIONS))
    ends_at_s = time.monotonic() + _PATIENCE_S
    with _reader(kafka, topic, isolation="read_committed") as consumer:
        while owed:
            assert time.monotonic() < ends_at_s, f"{topic}: partitions {owed} stay blocked"
            message = consumer.poll(0.05)
            if message is not None and not message.error() and message.value() == _NEIGHBOUR:
                owed.discard(message.partition() or 0)
    return time.monotonic()


def _count(kafka: KafkaProcess, topic: str, value: bytes, *, isolation: str) -> int:
    """Count the records with this value in what lies there now."""
    found, silent = 0, 0
    with _reader(kafka, topic, isolation=isolation) as consumer:
        while silent < 20:
            message = consumer.poll(0.1)
            silent = silent + 1 if message is None else 0
            found += message is not None and not message.error() and message.value() == value
    return found


# ---------------------------------------------------------------------- crash


def crash(kafka: KafkaProcess) -> None:
    """Kill the producer and start its successor at once; a neighbour writes beside it."""
    for is_transactional in (False, True):
        name = _name(is_transactional=is_transactional)
        rows = [
            _crash_once(kafka, f"crash-{name}-{turn}", is_transactional=is_transactional)
            for turn in range(_TURNS)
        ]
        ready_s, safe_s, visible_s = (median(column) for column in zip(*rows, strict=True))
        print(
            f"kill -9, successor at once, {name}: may produce after"
            f" {ready_s:.2f} s, first record safe after {safe_s:.2f} s, a neighbour's record"
            f" visible after {visible_s:.2f} s"
        )


def _name(*, is_transactional: bool) -> str:
    return "transactional" if is_transactional else "idempotent"


def _crash_once(
    kafka: KafkaProcess, topic: str, *, is_transactional: bool
) -> tuple[float, float, float]:
    transactional_id = topic if is_transactional else None
    kafka.client.create_topic(topic, partitions=_PARTITIONS)
    victim = _start_victim(
        kafka, topic, transactional_id=transactional_id, timeout_ms=_DEFAULT_TIMEOUT_MS
    )
    neighbour = make_producer(kafka.bootstrap, transactional_id=None)
    neighbour.list_topics(topic, timeout=10.0)
    with ThreadPoolExecutor(max_workers=1) as pool:
        victim.kill()
        killed_at_s = time.monotonic()
        _fill(neighbour, topic, _NEIGHBOUR, _PARTITIONS)
        seen = pool.submit(_await_neighbour, kafka, topic)
        successor = make_producer(kafka.bootstrap, transactional_id=transactional_id)
        if transactional_id:
            successor.init_transactions(_PATIENCE_S)
            successor.begin_transaction()
        ready_at_s = time.monotonic()
        _fill(successor, topic, b"after", _PARTITIONS)
        if transactional_id:
            successor.commit_transaction(_PATIENCE_S)
        safe_at_s = time.monotonic()
        visible_at_s = seen.result()
    return ready_at_s - killed_at_s, safe_at_s - killed_at_s, visible_at_s - killed_at_s


def stay_away(kafka: KafkaProcess) -> None:
    """Kill the producer and start none: how long others' committed records stay invisible."""
    topic = "stays-away"
    kafka.client.create_topic(topic, partitions=_PARTITIONS)
    victim = _start_victim(kafka, topic, transactional_id=topic, timeout_ms=_SHORT_TIMEOUT_MS)
    victim.kill()
    killed_at_s = time.monotonic()
    _fill(make_producer(kafka.bootstrap, transactional_id=None), topic, _NEIGHBOUR, _PARTITIONS)
    visible_s = _await_neighbour(kafka, topic) - killed_at_s
    print(
        f"kill -9, no successor, transaction.timeout.ms {_SHORT_TIMEOUT_MS:,} (default 60,000):"
        f" a neighbour's record visible after {visible_s:.1f} s"
    )


# ---------------------------------------------------------------------- a frozen broker


def frozen(kafka: KafkaProcess) -> None:
    """Let requests wait in a frozen broker's socket, kill their producer, thaw."""
    for is_transactional in (False, True):
        name = _name(is_transactional=is_transactional)
        topic = f"frozen-{name}"
        transactional_id = topic if is_transactional else None
        kafka.client.create_topic(topic, partitions=_PARTITIONS)
        victim = _start_victim(
            kafka, topic, transactional_id=transactional_id, timeout_ms=_DEFAULT_TIMEOUT_MS
        )
        kafka.freeze()
        victim.send_signal(signal.SIGUSR1)
        let_last(0.5)  # More than linger.ms: what can be sent is in the socket.
        victim.kill()
        kafka.thaw()
        if transactional_id:
            started_s = time.monotonic()
            successor = make_producer(kafka.bootstrap, transactional_id=transactional_id)
            successor.init_transactions(_PATIENCE_S)
            ready_s = time.monotonic() - started_s
            print(f"frozen broker, transactional: successor may produce after {ready_s:.2f} s")
        seen = {
            isolation: _count(kafka, topic, b"frozen", isolation=isolation)
            for isolation in ("read_committed", "read_uncommitted")
        }
        print(
            f"frozen broker, {name}: of {_RECORDS} records of the dead producer"
            f" {seen['read_committed']} are there for read_committed and"
            f" {seen['read_uncommitted']} for read_uncommitted"
        )


# ---------------------------------------------------------------------- Kafka away


def be_away(kafka: KafkaProcess) -> None:
    """Kill Kafka with a transaction open, for less and for more than the transaction may last."""
    for away_s in (_SHORT_TIMEOUT_MS / 2_000, _SHORT_TIMEOUT_MS / 500):
        topic = f"away-{away_s:.0f}"
        kafka.client.create_topic(topic, partitions=_PARTITIONS)
        producer = make_producer(
            kafka.bootstrap, transactional_id=topic, timeout_ms=_SHORT_TIMEOUT_MS
        )
        producer.init_transactions(_PATIENCE_S)
        producer.begin_transaction()
        _fill(producer, topic, b"before")
        kafka.kill()
        let_last(away_s)
        kafka.start()
        # The coordinator looks once in 10 s for transactions that have lasted too long.
        let_last(_SHORT_TIMEOUT_MS / 1_000 if away_s * 1_000 > _SHORT_TIMEOUT_MS else 0.0)
        outcome = "committed"
        try:
            _fill(producer, topic, b"after")
            producer.commit_transaction(_PATIENCE_S)
        except KafkaException as error:
            found = error.args[0]
            outcome = (
                f"{found.name()}{' (fatal)' if found.fatal() else ''}, all is to be sent again"
            )
        print(f"Kafka away {away_s:.0f} s, transaction.timeout.ms {_SHORT_TIMEOUT_MS:,}: {outcome}")


# ---------------------------------------------------------------------- a run


def run() -> None:
    """Run every scenario, on one node and then on three."""
    with ExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        kafka = KafkaProcess(directory / "kafka")
        cleanup.callback(kafka.remove)
        kafka.start()
        # The first init_transactions of a cluster waits for its transaction log to be made.
        make_producer(kafka.bootstrap, transactional_id="cold").init_transactions(_PATIENCE_S)
        crash(kafka)
        frozen(kafka)
        stay_away(kafka)
        be_away(kafka)
        kafka.stop()
        cluster = KafkaCluster(directory / "cluster")
        cleanup.callback(cluster.stop)
        cluster.start()
        compare_without_leader(cluster)


def main() -> None:
    """Be the victim."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transaction_faults")
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--transactional-id", required=True)
    parser.add_argument("--timeout-ms", type=int, required=True)
    _be_victim(parser.parse_args())


if __name__ == "__main__":
    main()
