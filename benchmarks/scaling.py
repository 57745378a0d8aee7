"""What several bridges carry that one does not: 1, 2 and 4 of them on the same two brokers' work.

Theory of operation. The same messages are queued each time. With `shared` one Mosquitto deals them
among the sessions of a shared subscription; with `apart` each bridge has a Mosquitto of its own and
its part of the devices, so each device keeps its order. All start frozen and are let go at once
(benchmarks/drain.py); the clock stops when Kafka has every record. Rounds alternate the order.
All processes share the cores of one machine: where those are few, the rate says when they are used
up, and the CPU a message what another instance costs.
`python -m benchmarks.scaling [--messages 200000] [--rounds 3]`
"""

import argparse
import asyncio
import itertools
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.backlog import fill
from benchmarks.contenders import BridgeContender, bridge_config
from benchmarks.drain import (
    SETTLE_S,
    UNLIMITED,
    IncompleteError,
    Watermarks,
    await_count,
    await_waiting,
)
from benchmarks.figures import Spread
from benchmarks.places import Place, make_terms, open_place
from benchmarks.profiles import messages as write_messages, promise
from benchmarks.telemetry import Message
from benchmarks.terms import TOPIC_FILTER, Terms
from tests.support.eventually import let_last
from tests.support.mosquitto import MosquittoProcess

SHARED: Final = "shared"
APART: Final = "apart"
INSTANCES: Final = (1, 2, 4)
DEVICES: Final = 1_000
_GROUP: Final = "bench"
_US_PER_S: Final = 1e6


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """What so many bridges did together."""

    mode: str
    instances: int
    round: int
    messages: int
    took_s: float
    cpu_s: float
    """Of all bridges."""

    @property
    def cpu_us(self) -> float:
        """CPU a message, microseconds."""
        return self.cpu_s / self.messages * _US_PER_S

    @property
    def rate_per_s(self) -> float:
        """Messages a second, of all together."""
        return self.messages / self.took_s


def measure(
    place: Place, queued: Sequence[Message], mode: str, instances: int, round_number: int
) -> Carried:
    """Let so many bridges empty what is queued for them.

    Raises:
        IncompleteError: What lies in Kafka afterwards is not what was queued.
    """
    tag = f"{mode}-{instances}-{round_number}-{os.getpid()}"
    with ExitStack() as cleanup:
        brokers = [
            MosquittoProcess(place.directory / f"{tag}-broker-{number}", config=UNLIMITED)
            for number in range(instances if mode == APART else 1)
        ]
        for broker in brokers:
            broker.start()
            cleanup.callback(broker.kill)
        terms = make_terms(cleanup, place.client, brokers[0], tag)
        client_ids = [f"{tag}-{number}" for number in range(instances)]
        _fill(brokers, client_ids, queued)
        bridges = [
            BridgeContender(
                place.directory / client_id,
                terms,
                {**promise(), "mqtt": _mqtt(terms, broker.port, client_id, mode)},
            )
            for client_id, broker in zip(client_ids, itertools.cycle(brokers), strict=False)
        ]
        for bridge in bridges:
            cleanup.callback(bridge.process.kill)
        took_s, cpu_s = _let_go(place, brokers, bridges, terms, len(queued))
        for bridge in bridges:
            bridge.stop()
        found = place.client.count(terms.kafka_topic), place.client.count(terms.dead_letter_topic)
        if found != (len(queued), 0):
            raise IncompleteError(f"{tag}: {found} records and dead letters of {len(queued)}")
    return Carried(
        mode=mode,
        instances=instances,
        round=round_number,
        messages=len(queued),
        took_s=took_s,
        cpu_s=cpu_s,
    )


def _fill(
    brokers: Sequence[MosquittoProcess], client_ids: Sequence[str], queued: Sequence[Message]
) -> None:
    if len(brokers) == 1:
        topic_filter = f"$share/{_GROUP}/{TOPIC_FILTER}"
        asyncio.run(fill(brokers[0].port, client_ids, queued, topic_filter=topic_filter))
        return
    for number, (broker, client_id) in enumerate(zip(brokers, client_ids, strict=True)):
        # The devices come in turn, and their number is a multiple of that of the brokers.
        asyncio.run(fill(broker.port, [client_id], queued[number :: len(brokers)]))


def _mqtt(terms: Terms, port: int, client_id: str, mode: str) -> dict[str, Any]:
    mqtt = {**bridge_config(terms)["mqtt"], "port": port, "client_id": client_id}
    return {**mqtt, "share_group": _GROUP} if mode == SHARED else mqtt


def _let_go(
    place: Place,
    brokers: Sequence[MosquittoProcess],
    bridges: Sequence[BridgeContender],
    terms: Terms,
    expected: int,
) -> tuple[float, float]:
    """Start the bridges on frozen brokers, thaw them; return how long it took, and the CPU."""
    watermarks = Watermarks(place.client, (terms.kafka_topic, terms.dead_letter_topic))
    processes = [bridge.process for bridge in bridges]
    for broker in brokers:
        broker.freeze()
    for bridge in bridges:
        bridge.start()
    for process, broker in zip(processes, itertools.cycle(brokers), strict=False):
        await_waiting(process, broker.port)
    cpu_s = sum(process.cpu_s for process in processes)
    started_s = time.monotonic()
    for broker in brokers:
        broker.thaw()
    await_count(watermarks, expected, processes)
    took_s = time.monotonic() - started_s
    for bridge in bridges:
        bridge.await_settled()
    let_last(SETTLE_S)
    return took_s, sum(process.cpu_s for process in processes) - cpu_s


def run(count: int, *, rounds: int, bootstrap: str | None) -> list[Carried]:
    """Measure each number of instances both ways, in every round."""
    cases = [(SHARED, each) for each in INSTANCES] + [(APART, each) for each in INSTANCES[1:]]
    found: list[Carried] = []
    with ExitStack() as cleanup:
        place = open_place(cleanup, bootstrap)
        for round_number in range(rounds):
            queued = list(write_messages(count, devices=DEVICES))
            for mode, instances in cases if round_number % 2 == 0 else reversed(cases):
                carried = measure(place, queued, mode, instances, round_number)
                found.append(carried)
                print(
                    f"round {round_number + 1} {instances} {mode:6} {carried.cpu_us:8.2f} us a"
                    f" message {carried.rate_per_s:10,.0f} messages/s",
                    file=sys.stderr,
                    flush=True,
                )
    return found


def table(found: Sequence[Carried]) -> str:
    """Write a line for each number of instances; the ratio is over one, within a round."""
    alone = {each.round: each for each in found if each.instances == 1}
    lines = [f"{'':10} {'CPU us/message':>22} {'messages/s':>26} {'rate over one':>22}"]
    for mode, instances in dict.fromkeys((each.mode, each.instances) for each in found):
        own = [each for each in found if (each.mode, each.instances) == (mode, instances)]
        cpu, rate, ratio = (
            Spread.of(values).write(digits)
            for values, digits in (
                ([each.cpu_us for each in own], 2),
                ([each.rate_per_s for each in own], 0),
                ([each.rate_per_s / alone[each.round].rate_per_s for each in own], 2),
            )
        )
        lines.append(f"{instances} {mode:8} {cpu:>22} {rate:>26} {ratio:>22}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a running cluster, else one is made")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every measurement goes there")
    parsed = parser.parse_args(arguments)
    found = run(parsed.messages, rounds=parsed.rounds, bootstrap=parsed.kafka)
    print(f"{parsed.messages:,} messages, {os.cpu_count()} cores for all; median (least-most)")
    print(table(found))
    if parsed.json is not None:
        parsed.json.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
