"""How the cost of a message grows with the fleet, and with the size of the message.

The real daemon drains queues that differ in one thing alone (benchmarks/drain.py): how many devices
sent them, or how large their payloads are. Every variant is run in every round, the order
alternating, and ratios are taken within a round. Resident memory is told as well, after the last
PUBACK and at its peak. `memory` is one queue of many devices and as many keys as there are
messages, for two configurations: what a large fleet takes.
`python -m benchmarks.growth [--rounds 3] [--what devices payload memory]`
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.command_line import keep, make_parser
from benchmarks.contenders import BridgeContender, Contender, make_contender
from benchmarks.drain import drain, warm_up
from benchmarks.figures import PROMISE, Drain, Spread
from benchmarks.places import open_place
from benchmarks.profiles import messages
from benchmarks.telemetry import Message
from benchmarks.terms import Terms

SHIPPED: Final = "shipped"
"""Everything that is on by default, and no registry."""
USUAL_DEVICES: Final = 1_000
PAYLOAD_BYTES: Final = 220
"""About: what the queue of `messages` has."""
_HEAD: Final = (
    f"{'':42} {'CPU us/message':>22} {'over the first':>22} {'messages/s':>11} {'MB':>5}"
    f" {'peak MB':>8}"
)


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One queue, and who drains it."""

    name: str
    messages: int
    contender: str = PROMISE
    devices: int = USUAL_DEVICES
    payload_bytes: int = 0
    """0: as they are."""


VARIANTS: Final[Mapping[str, Sequence[Variant]]] = {
    "devices": [
        Variant(name=f"{count:,} devices", messages=200_000, devices=count)
        for count in (10, 1_000, 100_000)
    ],
    "payload": [
        Variant(name=f"{size:,} bytes", messages=count, payload_bytes=size)
        for size, count in ((220, 100_000), (1_000, 100_000), (10_000, 30_000), (100_000, 3_000))
    ],
    "memory": [
        Variant(
            name=f"100,000 devices, 1,000,000 keys, {contender}",
            messages=1_000_000,
            devices=100_000,
            contender=contender,
        )
        for contender in (PROMISE, SHIPPED)
    ],
}


def queue(variant: Variant) -> Iterator[Message]:
    """Give the messages of a variant; larger ones have a text beside their metrics."""
    for each in messages(variant.messages, devices=variant.devices):
        missing = variant.payload_bytes - len(each.payload)
        if missing <= 0:
            yield each
            continue
        text = b'"note":"' + b"x" * max(0, missing - len(b'"note":"",')) + b'",'
        yield Message(
            each.mqtt_topic, each.payload.replace(b'"metadata":{', b'"metadata":{' + text)
        )


def _make(name: str, directory: Path, terms: Terms) -> Contender:
    if name != SHIPPED:
        return make_contender(name, directory, terms)
    directory.mkdir(parents=True, exist_ok=True)
    return BridgeContender(directory, terms)


def run(what: Sequence[str], *, rounds: int, bootstrap: str | None) -> dict[str, list[Drain]]:
    """Drain each queue in each round."""
    found: dict[str, list[Drain]] = {}
    with ExitStack() as cleanup:
        place = open_place(cleanup, bootstrap)
        warm_up(place)
        for kind in what:
            variants = VARIANTS[kind]
            for number in range(1 if kind == "memory" else rounds):
                for variant in variants if number % 2 == 0 else reversed(variants):
                    tag = number * len(variants) + variants.index(variant)
                    queued = list(queue(variant))
                    measured = drain(place, queued, variant.contender, tag, _make)
                    found.setdefault(variant.name, []).append(measured)
                    print(
                        f"round {number + 1} {variant.name:42} {measured.cpu_us:8.2f} us a message,"
                        f" {_megabytes(measured.resident_at_end_bytes)} MB,"
                        f" peak {_megabytes(measured.memory_peak_bytes)}",
                        file=sys.stderr,
                        flush=True,
                    )
    return found


def _megabytes(size_bytes: int | None) -> str:
    return f"{size_bytes / 1e6:.0f}" if size_bytes else "-"


def table(found: Mapping[str, Sequence[Drain]], what: Sequence[str]) -> str:
    """Write a line a variant; the ratio is over the first of its kind, within a round."""
    lines = [_HEAD]
    for kind in what:
        variants = VARIANTS[kind]
        base = [each.cpu_us for each in found[variants[0].name]]
        for variant in variants:
            own = found[variant.name]
            ratios = [each.cpu_us / first for each, first in zip(own, base, strict=True)]
            lines.append(
                f"{variant.name:42} {Spread.of([each.cpu_us for each in own]).write(2):>22}"
                f" {Spread.of(ratios).write(3):>22}"
                f" {Spread.of([each.rate_per_s for each in own]).median:>11,.0f}"
                f" {_megabytes(max(each.resident_at_end_bytes or 0 for each in own)):>5}"
                f" {_megabytes(max(each.memory_peak_bytes for each in own)):>8}"
            )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = make_parser("growth", __doc__)
    parser.add_argument("--what", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=3)
    parsed = parser.parse_args(arguments)
    found = run(parsed.what, rounds=parsed.rounds, bootstrap=parsed.kafka)
    print(f"{parsed.rounds} rounds, of memory one; median (least-most)")
    print(table(found, parsed.what))
    keep(found, parsed.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
