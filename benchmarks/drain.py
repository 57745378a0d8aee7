"""How fast, and for how much CPU, a queue of telemetry gets from Mosquitto into Kafka.

Theory of operation. Each drain has a fresh Mosquitto and fresh topics. A session is filled; then
Mosquitto is frozen (SIGSTOP), so that a contender can start, connect to Kafka and send its CONNECT,
but gets no answer. When it waits, its CPU so far is its start-up; Mosquitto is thawed, the clock
starts, and stops when Kafka's high watermarks hold every message. Rounds alternate the order, and
ratios are taken within a round, so that a neighbour's load falls on all alike.
"""

import argparse
import asyncio
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import confluent_kafka
import msgspec
import psutil
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from benchmarks.backlog import fill
from benchmarks.command_line import make_parser
from benchmarks.contenders import Contender, contenders_here, make_contender
from benchmarks.figures import (
    BASELINE,
    CONTENDERS,
    FLOOR,
    PROMISE,
    Drain,
    as_json,
    compare,
    excess,
    shortfalls,
    table,
)
from benchmarks.places import PARTITIONS, Place, make_terms, open_place
from benchmarks.profiles import messages as write_messages
from benchmarks.telemetry import Message
from benchmarks.terms import Terms
from bridge.runtime.event_loop import choose_loop, name_of
from tests.support.eventually import eventually, let_last
from tests.support.kafka_artefacts import KAFKA_VERSION
from tests.support.kafka_client import KafkaClient
from tests.support.mosquitto import MosquittoProcess, mosquitto_version
from tests.support.processes import ChildProcess

DEVICES: Final = 1_000
WARM_UP_MESSAGES: Final = 30_000
_SETTLE_S: Final = 0.3
"""After Kafka has all: for the last delivery reports and PUBACKs, which also cost CPU."""
_POLL_S: Final = 0.04
_IDLE_S: Final = 0.25
_TICK_S: Final = 0.015
"""The kernel counts CPU in steps of 10 ms: a process that used less than this is idle."""
_STALL_S: Final = 60.0
_AUDITED: Final = 100

# Nothing logged and nothing saved: what is measured is the way, not Mosquitto's disk.
UNLIMITED: Final = """\
listener $port 127.0.0.1
user $user
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_queued_bytes 0
max_inflight_messages 0
persistence false
sys_interval 0
log_dest stdout
log_type error
"""


class IncompleteError(RuntimeError):
    """A contender did not bring every message to Kafka, or brought something else."""


# ---------------------------------------------------------------------- one drain


def drain(
    place: Place,
    messages: Sequence[Message],
    name: str,
    round_number: int,
    make: Callable[[str, Path, Terms], Contender] = make_contender,
) -> Drain:
    """Fill a queue and let one contender empty it.

    Raises:
        IncompleteError: What lies in Kafka afterwards is not what was queued.
    """
    tag = f"{name}-{round_number}-{os.getpid()}"
    directory = place.directory / tag
    with ExitStack() as cleanup:
        mosquitto = MosquittoProcess(directory, config=UNLIMITED)
        mosquitto.start()
        cleanup.callback(mosquitto.kill)
        terms = make_terms(cleanup, place.client, mosquitto, tag)
        asyncio.run(fill(mosquitto.port, [terms.client_id], messages))
        contender = make(name, directory, terms)
        cleanup.callback(contender.process.kill)
        measured = measure(place, len(messages), [(contender, mosquitto)], terms)
    return msgspec.structs.replace(measured, contender=name, round=round_number)


def measure(
    place: Place,
    messages: int,
    pairs: Sequence[tuple[Contender, MosquittoProcess]],
    terms: Terms,
) -> Drain:
    """Let contenders empty the queues that wait for them, all at once; several are one drain.

    Each stands with the Mosquitto that it reads, which several may share.

    Raises:
        IncompleteError: What lies in Kafka afterwards is not what was queued.
    """
    processes, kafka = [contender.process for contender, _ in pairs], place.kafka
    brokers = list(dict.fromkeys(broker for _, broker in pairs))
    watermarks = Watermarks(place.client, (terms.kafka_topic, terms.dead_letter_topic))
    for broker in brokers:
        broker.freeze()
    for contender, _ in pairs:
        contender.start()
    for contender, broker in pairs:
        _await_waiting(contender.process, broker.port)
    before = _cpu_s(processes), _cpu_s(brokers), kafka.cpu_s if kafka else 0.0
    started_s = time.monotonic()
    for broker in brokers:
        broker.thaw()
    _await_count(watermarks, messages, processes)
    took_s = time.monotonic() - started_s
    for contender, _ in pairs:
        contender.await_settled()
    let_last(_SETTLE_S)
    for process in processes:
        process.assert_alive()
    measured = Drain(
        contender=processes[0].name,
        round=0,
        messages=messages,
        took_s=took_s,
        cpu_s=_cpu_s(processes) - before[0],
        start_cpu_s=before[0],
        memory_peak_bytes=sum(_memory_peak_bytes(process.pid) for process in processes),
        resident_at_end_bytes=sum(psutil.Process(each.pid).memory_info().rss for each in processes),
        mosquitto_cpu_s=_cpu_s(brokers) - before[1],
        kafka_cpu_s=kafka.cpu_s - before[2] if kafka else None,
    )
    for contender, _ in pairs:
        contender.stop()
    _audit(place.client, messages, terms, pairs[0][0])
    return measured


def _cpu_s(processes: Sequence[ChildProcess]) -> float:
    return sum(process.cpu_s for process in processes)


def _await_waiting(process: ChildProcess, port: int) -> None:
    """Wait until the contender has connected to the frozen Mosquitto and does nothing more."""

    def has_connected() -> bool:
        process.assert_alive()
        return any(
            each.raddr[1:] == (port,) for each in psutil.Process(process.pid).net_connections("tcp")
        )

    eventually(has_connected, what=f"{process.name} connects to Mosquitto")

    def cpu_used_s() -> float:
        before_s = process.cpu_s
        let_last(_IDLE_S)
        return process.cpu_s - before_s

    # Well below the 10 s that contenders wait for CONNACK.
    eventually(cpu_used_s, lambda s: s < _TICK_S, what=f"{process.name} only waits", deadline_s=6.0)


def _await_count(
    watermarks: "Watermarks", expected: int, processes: Sequence[ChildProcess]
) -> None:
    """Wait until Kafka has so many records, as long as they become more.

    Raises:
        IncompleteError: They became no more.
    """
    count, changed_s = 0, time.monotonic()
    while True:
        now_s, found = time.monotonic(), watermarks.count()
        if found >= expected:
            return
        if found != count:
            count, changed_s = found, now_s
        for process in processes:
            process.assert_alive()
        if now_s - changed_s > _STALL_S:
            first = processes[0]
            raise IncompleteError(
                f"{first.name}: {count} of {expected} messages in Kafka, and no more within"
                f" {_STALL_S:.0f} s:\n{first.output()[-2_000:]}"
            )
        let_last(_POLL_S)


def _audit(client: KafkaClient, expected: int, terms: Terms, contender: Contender) -> None:
    """Look again after the stop: as many records as messages, and made as they should be."""
    telemetry_count = client.count(terms.kafka_topic)
    dead_letters = client.count(terms.dead_letter_topic)
    if (telemetry_count, dead_letters) != (expected, 0):
        raise IncompleteError(
            f"{terms.client_id}: {telemetry_count} telemetry records and {dead_letters} dead"
            f" letters, expected {expected} and 0"
        )
    for record in client.consume_all(terms.kafka_topic, until=min(_AUDITED, expected)):
        if fault := contender.fault_of(record):
            raise IncompleteError(f"{terms.client_id}: a record is wrong: {fault}")


def _memory_peak_bytes(pid: int) -> int:
    """Read the most memory that the process ever held; what it holds now where Linux is not."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return int(psutil.Process(pid).memory_info().rss)
    kilobytes = next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]
    return int(kilobytes) * 1_024


class Watermarks:
    """How many records lie in some topics: one request a look, cheap for the cluster."""

    def __init__(self, client: KafkaClient, kafka_topics: Sequence[str]) -> None:
        self._admin: AdminClient = client.admin()
        self._ends = {
            TopicPartition(kafka_topic, partition): OffsetSpec.latest()  # type: ignore[no-untyped-call]
            for kafka_topic in kafka_topics
            for partition in range(PARTITIONS)
        }

    def count(self) -> int:
        """Sum the high watermarks; the topics are new, so all start at 0."""
        answers = self._admin.list_offsets(self._ends, request_timeout=10.0)
        return sum(answer.result(10.0).offset for answer in answers.values())


# ---------------------------------------------------------------------- a run


def run(
    messages: int, *, devices: int, pairs: int, contenders: Sequence[str], bootstrap: str | None
) -> list[Drain]:
    """Drain with each contender in every round, the order alternating."""
    with ExitStack() as cleanup:
        place = open_place(cleanup, bootstrap)
        warm_up(place)
        drains: list[Drain] = []
        for round_number in range(pairs):
            queued = list(write_messages(messages, devices=devices))
            for name in contenders if round_number % 2 == 0 else reversed(contenders):
                measured = drain(place, queued, name, round_number)
                drains.append(measured)
                print(
                    f"round {round_number + 1} {name:13} {measured.cpu_us:8.2f} us a message"
                    f" {measured.rate_per_s:10,.0f} messages/s",
                    file=sys.stderr,
                    flush=True,
                )
        return drains


def warm_up(place: Place) -> None:
    """Drain what nobody looks at: else Kafka's Java compiles beside whoever is first."""
    drain(place, list(write_messages(WARM_UP_MESSAGES, devices=DEVICES)), FLOOR, -1)


def about(arguments: argparse.Namespace) -> dict[str, Any]:
    """Say on what machine, with what versions and how much was measured."""
    sizes = [len(each.payload) for each in write_messages(1_000, devices=arguments.devices)]
    return {
        "messages": arguments.messages,
        "payload_bytes": round(sum(sizes) / len(sizes)),
        "devices": arguments.devices,
        "partitions": PARTITIONS,
        "rounds": arguments.pairs,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "librdkafka": confluent_kafka.libversion()[0],
        "mosquitto": mosquitto_version(),
        "kafka": arguments.kafka or KAFKA_VERSION,
        "cores": os.cpu_count(),
        "event_loop": _event_loop(),
        "load_average": [round(each, 2) for each in os.getloadavg()],
    }


def _event_loop() -> str:
    """Name what the bridge, the baseline and the floor run on."""
    with asyncio.Runner(loop_factory=choose_loop(os.environ)) as runner:
        return name_of(runner.get_loop())


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser("drain", __doc__)
    parser.add_argument("--messages", type=int, default=200_000, help="in each queue")
    parser.add_argument("--devices", type=int, default=DEVICES, help="that sent them, in turn")
    parser.add_argument("--pairs", type=int, default=3, help="rounds; each measures every one")
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=contenders_here())
    parser.add_argument(
        "--require-ratio",
        type=float,
        metavar="N",
        help="exit 1 unless the bridge takes N times less CPU a message than the baseline and is"
        " N times as fast",
    )
    parser.add_argument(
        "--allow-floor",
        type=float,
        metavar="N",
        help="exit 1 if the bridge takes more than N times the CPU a message of the floor",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, judge."""
    parsed = parse(arguments)
    facts = about(parsed)
    drains = run(
        parsed.messages,
        devices=parsed.devices,
        pairs=parsed.pairs,
        contenders=parsed.only,
        bootstrap=parsed.kafka,
    )
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(table(drains))
    if parsed.json is not None:
        parsed.json.write_bytes(as_json(drains, facts))
    missing: list[str] = []
    if parsed.require_ratio is not None:
        missing += shortfalls(compare(drains, PROMISE, BASELINE), ratio_min=parsed.require_ratio)
    if parsed.allow_floor is not None:
        missing += excess(compare(drains, PROMISE, FLOOR), ratio_max=parsed.allow_floor)
    for line in missing:
        print(f"too slow: {line}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
