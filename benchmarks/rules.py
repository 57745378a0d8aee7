"""What the rules of the fleet cost: CPU a message with each of them, over that of layers 1 and 2.

The real daemon drains a queue of telemetry from real brokers (benchmarks/drain.py), each time with
another part of the rules turned on. Every variant is run in every round, the order alternating, and
ratios are taken within a round. Nothing is flagged, refused or dropped: what is measured is the way
of nearly every message. `python -m benchmarks.rules [--pairs 5] [--only everything]`
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.command_line import name_parser
from benchmarks.contenders import BridgeContender
from benchmarks.drain import drain, warm_up
from benchmarks.figures import EVERYTHING, Drain, Spread
from benchmarks.places import open_place
from benchmarks.profiles import (
    BARE,
    BUSINESS,
    DEVICES,
    Sections,
    everything,
    messages,
    write_registry,
)
from benchmarks.terms import Terms

BASE: Final = "layers 1 and 2"


def variants(registry: Path) -> dict[str, Sections]:
    """Give what is configured in each variant, by name: each rule alone, then all of them."""
    rules: dict[str, Sections] = {
        "ranges (layer 3)": {"validation": {}},
        "registry (layer 4)": {
            "registry": {"file": str(registry)},
            "validation": {**BARE["validation"], **BUSINESS},
        },
        "limits": {"limits": {}},
        "duplicates": {"dedup": {}},
        "silence": {"silence": {}},
    }
    return {
        BASE: BARE,
        **{name: {**BARE, **sections} for name, sections in rules.items()},
        EVERYTHING: everything(registry),
    }


NAMES: Final = tuple(variants(Path()))


def run(count: int, *, pairs: int, names: Sequence[str], bootstrap: str | None) -> list[Drain]:
    """Drain with each variant in every round, the order alternating."""
    with ExitStack() as cleanup:
        place = open_place(cleanup, bootstrap)
        warm_up(place)
        registry = place.directory / "devices.toml"
        write_registry(registry)
        sections = variants(registry)

        def make(name: str, directory: Path, terms: Terms) -> BridgeContender:
            return BridgeContender(directory, terms, sections[NAMES[int(name)]])

        drains: list[Drain] = []
        for round_number in range(pairs):
            queued = list(messages(count))
            for name in names if round_number % 2 == 0 else reversed(names):
                number = NAMES.index(name)  # Names are those of topics and directories as well.
                measured = drain(place, queued, str(number), round_number, make)
                drains.append(msgspec.structs.replace(measured, contender=name))
                print(
                    f"round {round_number + 1} {name:20} {measured.cpu_us:8.2f} us a message",
                    file=sys.stderr,
                    flush=True,
                )
        return drains


def ratios(drains: Sequence[Drain], name: str) -> list[float]:
    """Give CPU a message of a variant over that of the base, for each round."""
    base = {each.round: each.cpu_us for each in drains if each.contender == BASE}
    return [each.cpu_us / base[each.round] for each in drains if each.contender == name]


def table(drains: Sequence[Drain]) -> str:
    """Write a line a variant: CPU a message, and over that of the base."""
    lines = [f"{'':20} {'CPU us/message':>22} {'over layers 1 and 2':>22} {'peak MB':>8}"]
    for name in NAMES:
        own = [each for each in drains if each.contender == name]
        if own:
            cpu = Spread.of([each.cpu_us for each in own]).write(2)
            ratio = Spread.of(ratios(drains, name)).write(2)
            peak = Spread.of([each.memory_peak_bytes / 1e6 for each in own]).median
            lines.append(f"{name:20} {cpu:>22} {ratio:>22} {peak:>8.0f}")
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = name_parser("rules", __doc__)
    parser.add_argument("--messages", type=int, default=200_000, help="in each queue")
    parser.add_argument("--pairs", type=int, default=5, help="rounds; each measures every variant")
    parser.add_argument("--only", nargs="+", choices=NAMES[1:], default=NAMES[1:], metavar="NAME")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a running cluster, else one is made")
    parser.add_argument(
        "--require-ratio",
        type=float,
        metavar="N",
        help="exit 1 unless everything costs at most N times as much as layers 1 and 2",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, judge."""
    parsed = parse(arguments)
    drains = run(
        parsed.messages, pairs=parsed.pairs, names=(BASE, *parsed.only), bootstrap=parsed.kafka
    )
    print(f"{parsed.messages} messages of {DEVICES} devices, {parsed.pairs} rounds; median (ends)")
    print(table(drains))
    if parsed.require_ratio is None:
        return 0
    found = Spread.of(ratios(drains, EVERYTHING)).median
    if found > parsed.require_ratio:
        print(f"too much: {found:.2f} times, allowed {parsed.require_ratio:g}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
