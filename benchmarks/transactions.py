"""What Kafka transactions would cost: commit interval against latency and rate.

Theory of operation. A real Kafka, and one process after the other that produces with the bridge's
own properties: by idempotent producer as the bridge does, and in transactions committed at each
interval. A record of the first is safe with its delivery report, one of the others when its commit
has returned. Each process sends at a steady rate, then drains through a small and a large window; a
consumer of committed records, in this process, says when it saw each. Every round has every
variant, in alternating order; ratios are taken within a round. `--faults` looks instead at what
transactions do to a crash, a frozen broker and a partition without leader.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import confluent_kafka
import msgspec
from confluent_kafka import Consumer, TopicPartition

from benchmarks import transaction_faults
from benchmarks.transaction_figures import (
    DrainFigures,
    Latency,
    LoadFigures,
    Sample,
    as_json,
    in_turn,
    table,
)
from benchmarks.transaction_load import DEVICES, STAMP_BYTES, VALUE_BYTES, Order
from tests.support.kafka_artefacts import KAFKA_VERSION
from tests.support.kafka_client import KafkaClient
from tests.support.kafka_cluster import KafkaCluster, KafkaProcess
from tests.support.processes import ChildProcess

PARTITIONS: Final = 6
WINDOWS: Final = (2_000, 20_000)
"""The bridge's receive maximum, and its bound on what is unsettled."""
STEADY_S: Final = 3.0
_REPOSITORY: Final = Path(__file__).resolve().parents[1]
_VISIBLE_S: Final = 120.0
_STEADY_TOPIC: Final = "transactions-steady"
_DRAIN_TOPIC: Final = "transactions-drain"


class Printed(msgspec.Struct, frozen=True):
    """What the measured process prints."""

    load: LoadFigures
    drains: list[DrainFigures]


class Reader:
    """A consumer of committed records that notes how old each stamped one was when it came."""

    def __init__(self, client: KafkaClient) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": client.bootstrap,
                "group.id": "transactions-reader",  # Asked for, never joined.
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
            }
        )
        self._consumer.assign(
            [TopicPartition(_STEADY_TOPIC, each, 0) for each in range(PARTITIONS)]
        )

    def read(self, expected: int) -> list[int]:
        """Return the ages of so many stamped records, nanoseconds."""
        ages_ns: list[int] = []
        ends_at_s = time.monotonic() + _VISIBLE_S
        while len(ages_ns) < expected:
            message = self._consumer.poll(0.1)
            now_ns = time.monotonic_ns()
            if message is not None and message.error() is None:
                value = message.value()
                assert isinstance(value, bytes)
                if stamp_ns := int(value[:STAMP_BYTES]):
                    ages_ns.append(now_ns - stamp_ns)
            assert time.monotonic() < ends_at_s, f"saw {len(ages_ns)} of {expected} records"
        return ages_ns

    def close(self) -> None:
        """Leave."""
        self._consumer.close()


def measure(directory: Path, reader: Reader, order: Order, round_number: int) -> Sample:
    """Run one process and read what it produces at the steady rate."""
    name = f"round-{round_number}-interval-{order.interval_ms}"
    child = ChildProcess(name, directory / f"{name}.log")
    environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}
    text = msgspec.json.encode(order).decode()
    child.spawn([sys.executable, "-m", "benchmarks.transaction_load", text], env=environment)
    try:
        ages_ns = reader.read(order.steady_records)
        code = child.wait(_VISIBLE_S)
    finally:
        child.kill()
    assert code == 0, f"{name} ended with {code}:\n{child.output()[-2_000:]}"
    printed = msgspec.json.decode(child.output().splitlines()[-1], type=Printed)
    return Sample(
        round=round_number,
        interval_ms=order.interval_ms,
        load=printed.load,
        visible=Latency.of(ages_ns),
        drains=printed.drains,
    )


def run(arguments: argparse.Namespace) -> list[Sample]:
    """Measure every variant in every round."""
    with ExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        client, pids = _start_kafka(directory, cleanup, nodes=arguments.nodes)
        for topic in (_STEADY_TOPIC, _DRAIN_TOPIC):
            client.create_topic(topic, PARTITIONS, replication_factor=arguments.nodes)
        reader = Reader(client)
        cleanup.callback(reader.close)
        samples: list[Sample] = []
        # What precedes round 0 is not counted: the JVM and the coordinator are cold.
        turns = [(-1, None), (-1, arguments.intervals[0])]
        for number in range(arguments.rounds):
            turns += [(number, each) for each in in_turn(arguments.intervals, number)]
        for number, interval_ms in turns:
            order = Order(
                bootstrap_servers=client.bootstrap,
                steady_topic=_STEADY_TOPIC,
                drain_topic=_DRAIN_TOPIC,
                transactional_id=f"bench-{number}-{interval_ms}",
                interval_ms=interval_ms,
                rate_per_s=arguments.rate,
                steady_records=round(arguments.rate * STEADY_S),
                drain_records=arguments.messages,
                windows=list(WINDOWS),
                kafka_pids=pids,
            )
            sample = measure(directory, reader, order, number)
            _report(sample)
            if number >= 0:
                samples.append(sample)
        return samples


def _start_kafka(
    directory: Path, cleanup: ExitStack, *, nodes: int
) -> tuple[KafkaClient, list[int]]:
    """Start a cluster as the tests do; with three nodes everything has three replicas."""
    if nodes == 1:
        kafka = KafkaProcess(directory / "kafka")
        cleanup.callback(kafka.remove)
        kafka.start()
        return kafka.client, [kafka.pid]
    cluster = KafkaCluster(directory, nodes=nodes)
    cleanup.callback(cluster.stop)
    cluster.start()
    return cluster.client, [node.pid for node in cluster.nodes]


def _report(sample: Sample) -> None:
    rates = ", ".join(f"{each.rate_per_s:,.0f}" for each in sample.drains)
    print(
        f"round {sample.round + 1} {sample.variant:22} safe p99 {sample.load.safe.p99_ms:7.1f} ms,"
        f" visible p99 {sample.visible.p99_ms:7.1f} ms, {rates} records/s",
        file=sys.stderr,
        flush=True,
    )


def about(arguments: argparse.Namespace) -> dict[str, Any]:
    """Say on what machine, with what versions and how much was measured."""
    return {
        "messages": arguments.messages,
        "rate_per_s": arguments.rate,
        "rounds": arguments.rounds,
        "nodes": arguments.nodes,
        "value_bytes": VALUE_BYTES,
        "devices": DEVICES,
        "partitions": PARTITIONS,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "kafka": KAFKA_VERSION,
        "cores": os.cpu_count(),
        "load_average": [round(each, 2) for each in os.getloadavg()],
    }


def _intervals(text: str) -> list[int]:
    intervals = [int(each) for each in text.split(",")]
    if min(intervals) < 1:
        raise argparse.ArgumentTypeError("an interval is at least 1 ms")
    return intervals


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.transactions", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--messages", type=int, default=100_000, help="in each drain")
    parser.add_argument("--rate", type=int, default=2_000, help="records a second when steady")
    parser.add_argument("--intervals", type=_intervals, default="5,10,20,50,100,200", metavar="MS")
    parser.add_argument("--rounds", type=int, default=3, help="each measures every variant")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="of Kafka")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every measurement goes there")
    parser.add_argument("--faults", action="store_true", help="look at faults, not at speed")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parsed = parse(arguments)
    if parsed.faults:
        transaction_faults.run()
        return 0
    facts = about(parsed)
    samples = run(parsed)
    print(table(samples))
    if parsed.json is not None:
        parsed.json.write_bytes(as_json(samples, facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
