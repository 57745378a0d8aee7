"""How old what is important gets while Kafka takes half of what comes: with shedding, and without.

Theory of operation. Each phase has a fresh bridge, fresh topics and, between bridge and Kafka, a
proxy. First a warm-up at full speed tells how many bytes a record takes on the link; then the link
is narrowed to half of the bytes that the load makes a second, and all devices speak. A consumer
beside the proxy notes how old each record of high priority is when it has it: from the device's
clock before its PUBLISH. Once the devices are silent the phase lasts until the last of these came,
so that none is left out for being late. Without shedding means: all routes of one priority.
"""

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from benchmarks.shedding_sources import HostileSource, MosquittoSource, Source
from tests.support.bridge_process import BridgeProcess
from tests.support.eventually import eventually, let_last
from tests.support.kafka_client import KafkaClient
from tests.support.kafka_cluster import KafkaProcess
from tests.support.kafka_proxy import KafkaProxy
from tests.support.latency import LatencyProbe, p99
from tests.support.priorities import PRIORITIES, routes

RATES: Final = {"high": 200.0, "medium": 1_000.0, "low": 800.0}
"""Messages a second."""
DEVICES: Final = 50
"""Of each priority."""
PARTITIONS: Final = 2
WARM_UP_EACH: Final = 1_000
SOURCES: Final[Mapping[str, type[Source]]] = {
    "mosquitto": MosquittoSource,
    "hostile": HostileSource,
}
RATIO_MAX: Final = 0.25
_DEADLINE_S: Final = 600.0
_HEAD: Final = (
    f"{'MQTT broker':12} {'shedding':8} {'high':>6} {'p50 s':>8} {'p99 s':>8} {'level':>6}"
    f" {'low shed':>9} {'medium shed':>12} {'high shed':>10} {'on disk':>8} {'Kafka/s':>8}"
)


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One load, carried one way."""

    source: str
    is_shedding: bool
    high: int
    """Messages of high priority; all are in the figures."""
    p50_s: float
    p99_s: float
    shed: Mapping[str, int]
    level_max: int
    spooled: int
    """What lay on the disk at the end of the load."""
    kafka_per_s: float
    """What Kafka took a second during the load."""


class Stand:
    """One Kafka, for all phases."""

    def __init__(self, directory: Path, cleanup: ExitStack) -> None:
        self._directory = directory
        self._kafka = KafkaProcess(directory / "kafka")
        cleanup.callback(self._kafka.remove)
        self._kafka.start()

    def run(self, source_name: str, *, is_shedding: bool, seconds: float) -> Phase:
        """Carry the load for so long, then wait for what is high."""
        with ExitStack() as cleanup:
            tag = f"{source_name}-{'with' if is_shedding else 'without'}-{secrets.token_hex(3)}"
            directory = self._directory / tag
            client = self._kafka.client
            topics = {name: self._topic(cleanup, f"{tag}-{name}") for name in PRIORITIES}
            letters = self._topic(cleanup, f"{tag}-letters")
            link = KafkaProxy(self._kafka.bootstrap).start()
            cleanup.callback(link.close)
            source = SOURCES[source_name](directory)
            cleanup.callback(source.close)
            config = _config(source.port, link, topics, letters, is_shedding=is_shedding)
            bridge = BridgeProcess(directory / "bridge", config)
            cleanup.callback(bridge.kill)
            bridge.start()
            source.connect(DEVICES)
            bridge.wait_ready(_DEADLINE_S)
            _narrow(link, source, client, topics)
            return _load(bridge, source, client, topics, seconds, is_shedding=is_shedding)

    def _topic(self, cleanup: ExitStack, name: str) -> str:
        cleanup.callback(self._kafka.client.delete_topic, name)
        return self._kafka.client.create_topic(name, PARTITIONS)


def _config(
    port: int, link: KafkaProxy, topics: Mapping[str, str], letters: str, *, is_shedding: bool
) -> dict[str, Any]:
    same = {} if is_shedding else dict.fromkeys(topics, "medium")
    return {
        "mqtt": {"port": port, "client_id": f"shedding-{secrets.token_hex(4)}"},
        "kafka": {"bootstrap_servers": link.bootstrap},
        "route": routes(topics, priorities=same),
        "dead_letter": {"kafka_topic": letters},
    }


def _narrow(
    link: KafkaProxy, source: Source, client: KafkaClient, topics: Mapping[str, str]
) -> None:
    """Let the link carry half of what the load will make, by the bytes that a record takes."""
    before_bytes = link.bytes_to_server
    source.speak(dict.fromkeys(PRIORITIES, float(WARM_UP_EACH)), messages_each=WARM_UP_EACH)
    for topic in topics.values():
        client.consume_all(topic, until=WARM_UP_EACH, deadline_s=_DEADLINE_S)
    source.silence()
    record_bytes = (link.bytes_to_server - before_bytes) / (len(topics) * WARM_UP_EACH)
    link.levers.bytes_per_s_to_server = record_bytes * sum(RATES.values()) / 2


def _load(  # noqa: PLR0913  all that stands
    bridge: BridgeProcess,
    source: Source,
    client: KafkaClient,
    topics: Mapping[str, str],
    seconds: float,
    *,
    is_shedding: bool,
) -> Phase:
    with LatencyProbe(client, topics["high"], PARTITIONS) as probe:
        before = sum(client.count(each) for each in topics.values())
        began_s = time.monotonic()
        source.speak(RATES)
        levels = []
        while time.monotonic() - began_s < seconds:
            levels.append(int(bridge.metrics().get("bridge_shedding_level", 0)))
            let_last(0.25)
        took = sum(client.count(each) for each in topics.values()) - before
        kafka_per_s = took / (time.monotonic() - began_s)
        spooled = int(bridge.metric("bridge_messages_spooled"))
        high = source.silence()["high"]
        eventually(
            lambda: len(probe.seen),
            lambda seen: seen >= high,
            what="all of high priority came",
            deadline_s=_DEADLINE_S,
            poll_s=0.1,
        )
    ages = [age_s for _, age_s, _ in probe.seen]
    return Phase(
        source=type(source).__name__.removesuffix("Source").lower(),
        is_shedding=is_shedding,
        high=len(ages),
        p50_s=median(ages),
        p99_s=p99(ages),
        shed={
            name: int(bridge.metric("bridge_records_shed_total", priority=name))
            for name in PRIORITIES
        },
        level_max=max(levels),
        spooled=spooled,
        kafka_per_s=kafka_per_s,
    )


def table(phases: Sequence[Phase]) -> str:
    """Write what was measured, a line a phase."""
    return "\n".join([_HEAD, *map(_line, phases)])


def _line(phase: Phase) -> str:
    return (
        f"{phase.source:12} {'yes' if phase.is_shedding else 'no':8} {phase.high:>6}"
        f" {phase.p50_s:>8.2f} {phase.p99_s:>8.2f} {phase.level_max:>6} {phase.shed['low']:>9}"
        f" {phase.shed['medium']:>12} {phase.shed['high']:>10} {phase.spooled:>8}"
        f" {phase.kafka_per_s:>8.0f}"
    )


def ratio(phases: Sequence[Phase], source: str) -> float:
    """Return p99 with shedding over p99 without, of one MQTT broker."""
    found = {each.is_shedding: each.p99_s for each in phases if each.source == source}
    return found[True] / found[False]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, judge."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shedding", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of load in each phase")
    parser.add_argument("--only", nargs="+", choices=list(SOURCES), default=list(SOURCES))
    parser.add_argument(
        "--require-ratio",
        type=float,
        default=RATIO_MAX,
        metavar="N",
        help="exit 1 unless p99 with shedding is at most N times that without (default 0.25)",
    )
    parsed = parser.parse_args(arguments)
    phases: list[Phase] = []
    with ExitStack() as cleanup:
        place = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="shedding-"))
        stand = Stand(Path(place), cleanup)
        for source in parsed.only:
            for is_shedding in (True, False):
                phases.append(stand.run(source, is_shedding=is_shedding, seconds=parsed.seconds))
                print(phases[-1], file=sys.stderr, flush=True)
    rates = ", ".join(f"{rate:g} {name}" for name, rate in RATES.items())
    print(
        f"{rates} messages a second for {parsed.seconds:g} s, Kafka takes half; {os.cpu_count()}"
        f" cores, load average {os.getloadavg()[0]:.1f}"
    )
    print(table(phases))
    failed = False
    for source in parsed.only:
        found = ratio(phases, source)
        failed = failed or found > parsed.require_ratio
        print(f"{source}: p99 of high with shedding is {found:.2f} of that without")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
