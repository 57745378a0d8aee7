"""What several bridges carry that one does not: 1, 2 and 4 of them on the same two brokers' work.

Theory of operation. The same messages are queued each time. With `shared` one Mosquitto deals them
among the sessions of a shared subscription; with `apart` each bridge has a Mosquitto of its own and
its part of the devices, so each device keeps its order. All start frozen and are let go at once
(benchmarks/drain.py); the clock stops when Kafka has every record. Rounds alternate the order.
All processes share the cores of one machine: where those are few, the rate says when they are used
up, and the CPU a message what another instance costs.
`python -m benchmarks.scaling [--messages 200000] [--rounds 3]`
"""

import asyncio
import itertools
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

import msgspec

from benchmarks.backlog import fill
from benchmarks.command_line import keep, make_parser
from benchmarks.contenders import BridgeContender, bridge_config
from benchmarks.drain import UNLIMITED, measure
from benchmarks.figures import Drain, Spread
from benchmarks.places import Place, make_terms, open_place
from benchmarks.profiles import messages as write_messages, promise
from benchmarks.telemetry import Message
from benchmarks.terms import TOPIC_FILTER, Terms
from tests.support.mosquitto import MosquittoProcess

SHARED: Final = "shared"
APART: Final = "apart"
INSTANCES: Final = (1, 2, 4)
DEVICES: Final = 1_000
_GROUP: Final = "bench"


def carry(
    place: Place, queued: Sequence[Message], mode: str, instances: int, round_number: int
) -> Drain:
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
        pairs = [
            (
                BridgeContender(
                    place.directory / client_id,
                    terms,
                    {**promise(), "mqtt": _mqtt(terms, broker.port, client_id, mode)},
                ),
                broker,
            )
            for client_id, broker in zip(client_ids, itertools.cycle(brokers), strict=False)
        ]
        for bridge, _ in pairs:
            cleanup.callback(bridge.process.kill)
        measured = measure(place, len(queued), pairs, terms)
    return msgspec.structs.replace(measured, contender=f"{instances} {mode}", round=round_number)


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


def run(count: int, *, rounds: int, bootstrap: str | None) -> list[Drain]:
    """Measure each number of instances both ways, in every round."""
    cases = [(SHARED, each) for each in INSTANCES] + [(APART, each) for each in INSTANCES[1:]]
    found: list[Drain] = []
    with ExitStack() as cleanup:
        place = open_place(cleanup, bootstrap)
        for round_number in range(rounds):
            queued = list(write_messages(count, devices=DEVICES))
            for mode, instances in cases if round_number % 2 == 0 else reversed(cases):
                carried = carry(place, queued, mode, instances, round_number)
                found.append(carried)
                print(
                    f"round {round_number + 1} {carried.contender} {carried.cpu_us:8.2f} us a"
                    f" message {carried.rate_per_s:10,.0f} messages/s",
                    file=sys.stderr,
                    flush=True,
                )
        return found


def table(found: Sequence[Drain]) -> str:
    """Write a line for each number of instances; the ratio is over one, within a round."""
    alone = {each.round: each.rate_per_s for each in found if each.contender == f"1 {SHARED}"}
    lines = [f"{'':10} {'CPU us/message':>22} {'messages/s':>26} {'rate over one':>22}"]
    for name in dict.fromkeys(each.contender for each in found):
        own = [each for each in found if each.contender == name]
        cpu = Spread.of([each.cpu_us for each in own]).write(2)
        rate = Spread.of([each.rate_per_s for each in own]).write(0)
        ratio = Spread.of([each.rate_per_s / alone[each.round] for each in own]).write(2)
        lines.append(f"{name:10} {cpu:>22} {rate:>26} {ratio:>22}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = make_parser("scaling", __doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parsed = parser.parse_args(arguments)
    found = run(parsed.messages, rounds=parsed.rounds, bootstrap=parsed.kafka)
    print(f"{parsed.messages:,} messages, {os.cpu_count()} cores for all; median (least-most)")
    print(table(found))
    keep(found, parsed.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
