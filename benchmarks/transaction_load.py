"""The process that is measured: one way to produce, at a steady rate and as fast as it can.

Latency counts from the instant a record was due, not from `produce`: what must wait for a commit
has waited. The due instant is in the value, so that a consumer on this machine can tell its own.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import psutil

from benchmarks.terms import Terms
from benchmarks.transaction_figures import DrainFigures, Latency, LoadFigures
from benchmarks.transaction_producers import Idempotent, Record, Transactional, Way

VALUE_BYTES: Final = 220
STAMP_BYTES: Final = 20
DEVICES: Final = 1_000
WARM_UP: Final = 2_000
_STEP: Final = 500
"""Records produced between two looks at what became safe; one socket read holds about as many."""
_NS_PER_S: Final = 1_000_000_000
_STALL_S: Final = 60.0


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What one process is to do."""

    bootstrap_servers: str
    steady_topic: str
    drain_topic: str
    transactional_id: str
    interval_ms: int | None
    """None: no transactions."""
    rate_per_s: int
    steady_records: int
    drain_records: int
    windows: list[int]
    kafka_pids: list[int]


class Meter:
    """Processor time of this process and of Kafka since the meter was made."""

    def __init__(self, kafka_pids: Sequence[int]) -> None:
        self._kafka = [psutil.Process(pid) for pid in kafka_pids]
        self._kafka_before_s = self._kafka_s()
        self._own_before_s = time.process_time()

    def _kafka_s(self) -> float:
        times = [each.cpu_times() for each in self._kafka]
        return float(sum(each.user + each.system for each in times))

    def read_s(self) -> tuple[float, float]:
        """Return own time and Kafka's."""
        return time.process_time() - self._own_before_s, self._kafka_s() - self._kafka_before_s


def make_way(order: Order) -> Way:
    """Make a producer with the bridge's own properties."""
    properties = Terms(
        mqtt_port=1,  # Not used: only Kafka's side is measured.
        bootstrap_servers=order.bootstrap_servers,
        client_id=order.transactional_id,
        kafka_topic=order.steady_topic,
        dead_letter_topic=order.drain_topic,
    ).producer_properties()
    if order.interval_ms is None:
        return Idempotent(properties)
    return Transactional(
        properties, transactional_id=order.transactional_id, interval_ms=order.interval_ms
    )


def make_record(number: int, stamp_ns: int) -> Record:
    """Make a record of the benchmark's size; stamp 0 says that nobody is to measure it."""
    key = f"sensor-{number % DEVICES:04d}"
    headers = [
        ("content-type", b"application/json"),
        ("idempotency-key", b"%s:%020d" % (key.encode(), number)),
    ]
    value = b"%0*d" % (STAMP_BYTES, stamp_ns)
    return Record(number, key, value.ljust(VALUE_BYTES, b"x"), headers)


def steady(way: Way, order: Order) -> LoadFigures:
    """Send each record when it is due; return when the last one is safe."""
    way.begin_phase(order.steady_topic)
    meter, commits = Meter(order.kafka_pids), way.commits
    total, gap_ns = order.steady_records, _NS_PER_S // order.rate_per_s
    began_ns = time.monotonic_ns()
    sent = 0
    while len(way.safe_at_ns) < total:
        now_ns = time.monotonic_ns()
        is_due = min(total, (now_ns - began_ns) // gap_ns + 1)
        if is_due > sent:
            way.send([make_record(n, began_ns + n * gap_ns) for n in range(sent, is_due)])
            sent = is_due
        way.turn(is_full=False)
        way.rest()
        assert now_ns - began_ns < (total * gap_ns + _STALL_S * _NS_PER_S), "no record became safe"
    cpu_s, kafka_cpu_s = meter.read_s()
    waited = [at_ns - began_ns - number * gap_ns for number, at_ns in way.safe_at_ns.items()]
    return LoadFigures(
        safe=Latency.of(waited),
        cpu_us=cpu_s / total * 1e6,
        kafka_cpu_us=kafka_cpu_s / total * 1e6,
        commits=way.commits - commits,
    )


def drain(way: Way, order: Order, *, window: int, records: int) -> DrainFigures:
    """Send as fast as the window allows; return when the last one is safe."""
    way.begin_phase(order.drain_topic)
    source = _chunks(records)
    meter, commits = Meter(order.kafka_pids), way.commits
    began_s = time.monotonic()
    sent, chunk = 0, next(source)
    while (safe := len(way.safe_at_ns)) < records:
        is_blocked = not chunk or sent - safe + len(chunk) > window
        if not is_blocked:
            way.send(chunk)
            sent += len(chunk)
            chunk = next(source, [])
        way.turn(is_full=is_blocked)
        if is_blocked:
            way.rest()
        assert time.monotonic() - began_s < _STALL_S, "the drain took too long"
    took_s = time.monotonic() - began_s
    cpu_s, kafka_cpu_s = meter.read_s()
    return DrainFigures(
        window=window,
        rate_per_s=records / took_s,
        cpu_us=cpu_s / records * 1e6,
        kafka_cpu_us=kafka_cpu_s / records * 1e6,
        commits=way.commits - commits,
    )


def _chunks(records: int) -> Iterator[list[Record]]:
    for start in range(0, records, _STEP):
        yield [make_record(number, 0) for number in range(start, min(start + _STEP, records))]


def main() -> None:
    """Do the order given as JSON, and print the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.transaction_load")
    parser.add_argument("order", help="JSON")
    order = msgspec.json.decode(parser.parse_args().order, type=Order)
    way = make_way(order)
    for topic in (order.drain_topic, order.steady_topic):
        way.begin_phase(topic)
        way.send([make_record(number, 0) for number in range(WARM_UP)])
        while len(way.safe_at_ns) < WARM_UP:
            way.turn(is_full=True)
            way.rest()
    load = steady(way, order)
    drains = [
        drain(way, order, window=window, records=order.drain_records) for window in order.windows
    ]
    sys.stdout.write(msgspec.json.encode({"load": load, "drains": drains}).decode() + "\n")


if __name__ == "__main__":
    main()
