"""What was measured, drawn: the JSON files of the benchmarks become pictures for the README.

Nothing is computed here but medians, and nothing is drawn that is not in a file.
`python -m benchmarks.plots --to docs/figures --drain drain.json --steady steady.json
--growth growth.json`
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from benchmarks.command_line import name_parser
from benchmarks.figures import (
    BASELINE,
    BASELINE_PROMPT,
    CONTENDERS,
    EVERYTHING,
    FLOOR,
    PROMISE,
    PROMISE_PROMPT,
    TELEGRAF,
    TELEGRAF_RAW,
    Drain,
)
from benchmarks.steady import BARE, CONTENDERS as STEADY, Window
from benchmarks.svg import draw_bars

NAMES: Final[Mapping[str, str]] = {
    PROMISE: "bridge",
    PROMISE_PROMPT: "bridge, no rests",
    EVERYTHING: "bridge, all rules",
    BASELINE: "aiomqtt, json",
    BASELINE_PROMPT: "aiomqtt, linger 0",
    FLOOR: "floor",
    TELEGRAF: "Telegraf, JSON",
    TELEGRAF_RAW: "Telegraf, bytes",
    BARE: "no MQTT at all",
}
_LATENCIES: Final = {"p50": "p50_ms", "p90": "p90_ms", "p99": "p99_ms", "p99.9": "p999_ms"}


def draw_drain(drains: Sequence[Drain]) -> dict[str, bytes]:
    """Draw what a message costs, and how many go by in a second."""
    found = {
        NAMES[name]: own
        for name in CONTENDERS
        if (own := [each for each in drains if each.contender == name])
    }
    return {
        "drain-cpu": draw_bars(
            "CPU a message, microseconds (less is better)",
            {name: [("", median(each.cpu_us for each in own))] for name, own in found.items()},
            digits=1,
        ),
        "drain-rate": draw_bars(
            "Messages a second (more is better)",
            {name: [("", median(each.rate_per_s for each in own))] for name, own in found.items()},
            digits=0,
        ),
    }


def draw_steady(windows: Sequence[Window]) -> dict[str, bytes]:
    """Draw how old a message is when a consumer has it, for each rate."""
    charts: dict[str, bytes] = {}
    for rate in dict.fromkeys(each.rate_per_s for each in windows if each.rate_per_s):
        own = {
            name: found
            for name in STEADY
            if (found := [e for e in windows if (e.rate_per_s, e.contender) == (rate, name)])
        }
        charts[f"latency-{rate:.0f}"] = draw_bars(
            f"From the device to a consumer at {rate:,.0f} a second, milliseconds",
            {
                share: [
                    (NAMES[name], median(getattr(each, what) for each in found))
                    for name, found in own.items()
                ]
                for share, what in _LATENCIES.items()
            },
            digits=1,
        )
    return charts


def draw_growth(found: Mapping[str, Sequence[Drain]]) -> dict[str, bytes]:
    """Draw what a message costs by the number of devices, and by its size."""
    charts: dict[str, bytes] = {}
    for kind, word in (("devices", "number of devices"), ("bytes", "size of the payload")):
        costs = {
            name: [("", median(each.cpu_us for each in own))]
            for name, own in found.items()
            if name.endswith(kind)
        }
        if costs:
            title = f"CPU a message by {word}, microseconds"
            charts[f"growth-{kind}"] = draw_bars(title, costs, digits=1)
    return charts


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw what there is."""
    parser = name_parser("plots", __doc__)
    parser.add_argument("--to", type=Path, required=True, metavar="DIRECTORY")
    parser.add_argument("--drain", type=Path, metavar="FILE", help="of benchmarks.drain --json")
    parser.add_argument("--steady", type=Path, metavar="FILE", help="of benchmarks.steady --json")
    parser.add_argument("--growth", type=Path, metavar="FILE", help="of benchmarks.growth --json")
    parsed = parser.parse_args(arguments)
    charts: dict[str, bytes] = {}
    if parsed.drain is not None:
        document = msgspec.json.decode(parsed.drain.read_bytes())
        charts |= draw_drain(msgspec.convert(document["drains"], list[Drain]))
    if parsed.steady is not None:
        charts |= draw_steady(msgspec.json.decode(parsed.steady.read_bytes(), type=list[Window]))
    if parsed.growth is not None:
        kinds = dict[str, list[Drain]]
        charts |= draw_growth(msgspec.json.decode(parsed.growth.read_bytes(), type=kinds))
    parsed.to.mkdir(parents=True, exist_ok=True)
    for name, chart in charts.items():
        path = parsed.to / f"{name}.svg"
        path.write_bytes(chart)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
