"""Whether memory stays flat under load: the bridge's resident memory, minute by minute.

Devices publish at a steady rate (benchmarks/steady.py). The first five minutes are left out: by
then the dedup window is full, which is what grows on purpose, 20 bytes a key. A line through the
medians of the minutes that follow says how much it grew in ten of them.
`python -m benchmarks.memory [--minutes 60] [--rate 2000]`
"""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import linear_regression, median
from typing import Final

import psutil

from benchmarks.command_line import keep, make_parser
from benchmarks.contenders import BridgeContender
from benchmarks.places import make_terms, open_place
from benchmarks.profiles import everything, write_registry
from benchmarks.steady import Helper
from tests.support.eventually import eventually, let_last
from tests.support.mosquitto import MosquittoProcess

WARM_UP_MINUTES: Final = 5
_FULL_MINUTES: Final = 4
"""So soon the dedup window is full: within the warm-up."""
_LOOK_S: Final = 1.0
_LOOKS: Final = 60
_BYTES_PER_MB: Final = 1e6


def growth_mb_in_10_min(minutes_mb: Sequence[float]) -> float:
    """Give the slope of the line that fits the minutes best, times ten."""
    return linear_regression(range(len(minutes_mb)), minutes_mb).slope * 10


def run(minutes: int, rate_per_s: float, bootstrap: str | None) -> list[float]:
    """Give the median of the resident memory of each minute, MB, the warm-up too."""
    found: list[float] = []
    with ExitStack() as cleanup:
        place = open_place(cleanup, bootstrap)
        mosquitto = MosquittoProcess(place.directory / "mosquitto")
        mosquitto.start()
        cleanup.callback(mosquitto.kill)
        terms = make_terms(cleanup, place.client, mosquitto, "memory")
        registry = place.directory / "devices.toml"
        write_registry(registry)
        keys_max = int(rate_per_s * 60 * _FULL_MINUTES)
        sections = {**everything(registry), "dedup": {"keys_max": keys_max}}
        bridge = BridgeContender(place.directory / "bridge", terms, sections)
        cleanup.callback(bridge.process.kill)
        bridge.start()
        words = ("benchmarks.steady", "publish", str(mosquitto.port), str(rate_per_s))
        cleanup.callback(Helper(place.directory, "devices", *words).kill)
        eventually(
            lambda: place.client.count(terms.kafka_topic), lambda n: n > 0, what="records come"
        )
        resident = psutil.Process(bridge.process.pid)
        for minute in range(minutes):
            looks: list[int] = []
            for _ in range(_LOOKS):
                let_last(_LOOK_S)
                looks.append(resident.memory_info().rss)
            bridge.process.assert_alive()
            found.append(median(looks) / _BYTES_PER_MB)
            print(f"minute {minute + 1:3}: {found[-1]:7.2f} MB", file=sys.stderr, flush=True)
        carried = place.client.count(terms.kafka_topic)
    print(f"{carried:,} records in {minutes} minutes")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; exit 1 if it grew by more than is allowed."""
    parser = make_parser("memory", __doc__)
    parser.add_argument("--minutes", type=int, default=60, help="the warm-up is part of them")
    parser.add_argument("--rate", type=float, default=2_000.0)
    parser.add_argument("--allow-mb", type=float, default=1.0, help="in 10 minutes")
    parsed = parser.parse_args(arguments)
    if parsed.minutes < WARM_UP_MINUTES + 2:
        parser.error(f"--minutes is at least {WARM_UP_MINUTES + 2}")
    found = run(parsed.minutes, parsed.rate, parsed.kafka)
    grown_mb = growth_mb_in_10_min(found[WARM_UP_MINUTES:])
    print(
        f"after {WARM_UP_MINUTES} minutes {found[WARM_UP_MINUTES]:.1f} MB, at the end"
        f" {found[-1]:.1f} MB: {grown_mb:+.2f} MB in 10 minutes"
    )
    keep(found, parsed.json)
    return 0 if grown_mb < parsed.allow_mb else 1


if __name__ == "__main__":
    sys.exit(main())
