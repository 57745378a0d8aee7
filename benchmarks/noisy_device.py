"""What one noisy device costs the others: the p99 of their latency, with it over without it.

Theory of operation. 999 devices publish once a second all the while, from a process of their own.
In every other window one more device publishes 500 times a second, from another process that waits
for signals in between, so that nothing is started or ended while anything is measured. A consumer
takes the age of each record of the others, from the device's clock to its own, which is the same
clock. Windows come in pairs, the order alternating, and the ratio is taken within a pair.
`python -m benchmarks.noisy_device [--pairs 8] [--seconds 20]`
"""

import argparse
import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.contenders import bridge_config
from benchmarks.figures import Spread
from benchmarks.places import PARTITIONS, make_terms, open_place
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import DeviceMessage, telemetry
from tests.support.eventually import eventually, let_last
from tests.support.latency import LatencyProbe, p99
from tests.support.lean_publisher import LeanPublisher
from tests.support.mosquitto import MosquittoProcess
from tests.support.processes import ChildProcess

OTHERS: Final = 999
OTHERS_PER_S: Final = 999.0
NOISY: Final = "noisy"
NOISY_PER_S: Final = 500.0
SETTLE_S: Final = 2.0
"""Between two windows, for what one leaves behind."""
RATIO_MAX: Final = 1.2
_REPOSITORY: Final = Path(__file__).resolve().parents[1]
_ON, _OFF = signal.SIGUSR1, signal.SIGUSR2
_MS_PER_S: Final = 1e3


# ---------------------------------------------------------------------- the devices


class Devices(ChildProcess):
    """Devices in a process of their own, that publish while they are told to."""

    def __init__(self, directory: Path, port: int, prefix: str, count: int, per_s: float) -> None:
        super().__init__(prefix, directory / f"{prefix}.log")
        words = ["publish", str(port), prefix, str(count), str(per_s)]
        self.spawn(
            [sys.executable, "-m", "benchmarks.noisy_device", *words],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
        )
        eventually(lambda: "ready" in self.output(), what=f"{prefix} is ready")


def publish(port: int, prefix: str, count: int, per_s: float) -> None:
    """Publish between `_ON` and `_OFF`, until killed."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {_ON, _OFF})
    publisher = LeanPublisher(port, window=2_000)
    publisher.connect()
    messages = _speak(prefix, count)
    print("ready", flush=True)
    while True:
        signal.sigwait({_ON})
        publisher.start(messages, rate_per_s=per_s)
        signal.sigwait({_OFF})
        ledger = publisher.stop()
        ledger.sent.clear()
        ledger.acknowledged.clear()


def _speak(prefix: str, count: int) -> Iterator[DeviceMessage]:
    for number in itertools.count():
        device_id = f"{prefix}-{number % count}" if count > 1 else prefix
        yield telemetry(device_id, number)


# ---------------------------------------------------------------------- the windows


class Window(msgspec.Struct, frozen=True):
    """What the others saw in one window."""

    is_noisy: bool
    records: int
    p50_ms: float
    p99_ms: float
    limited: int


def measure(
    bridge: BridgeProcess, noisy: Devices, probe: LatencyProbe, *, is_noisy: bool, seconds: float
) -> Window:
    """Let one window pass."""
    limited = bridge.metric("bridge_dead_letters_total", reason="rate_limited")
    if is_noisy:
        noisy.send_signal(_ON)
    let_last(SETTLE_S)
    began_s = time.monotonic()
    let_last(seconds)
    seen = sorted(probe.ages(began_s, time.monotonic()))
    probe.seen.clear()
    if is_noisy:
        noisy.send_signal(_OFF)
    limited = bridge.metric("bridge_dead_letters_total", reason="rate_limited") - limited
    let_last(SETTLE_S)
    return Window(
        is_noisy,
        len(seen),
        seen[len(seen) // 2] * _MS_PER_S,
        p99(seen) * _MS_PER_S,
        int(limited),
    )


def run(
    pairs: int, seconds: float, *, warm_up_s: float = 10.0, bootstrap: str | None = None
) -> list[tuple[Window, Window]]:
    """Measure pairs of windows: alone, and beside the noisy one."""
    with ExitStack() as cleanup:
        place = open_place(cleanup, bootstrap)
        directory, client = place.directory, place.client
        mosquitto = MosquittoProcess(directory / "mosquitto")
        mosquitto.start()
        cleanup.callback(mosquitto.kill)
        terms = make_terms(cleanup, client, mosquitto, f"noisy-{os.getpid()}")
        bridge = BridgeProcess(directory / "bridge", bridge_config(terms))
        bridge.start()
        cleanup.callback(bridge.kill)
        bridge.wait_ready()
        others = Devices(directory, mosquitto.port, "device", OTHERS, OTHERS_PER_S)
        cleanup.callback(others.kill)
        noisy = Devices(directory, mosquitto.port, NOISY, 1, NOISY_PER_S)
        cleanup.callback(noisy.kill)
        others.send_signal(_ON)
        found: list[tuple[Window, Window]] = []
        with LatencyProbe(client, terms.kafka_topic, PARTITIONS, without=NOISY.encode()) as probe:
            let_last(warm_up_s)  # Caches, the JIT of Kafka.
            for number in range(pairs):
                order = (False, True) if number % 2 == 0 else (True, False)
                both = {
                    each: measure(bridge, noisy, probe, is_noisy=each, seconds=seconds)
                    for each in order
                }
                found.append((both[False], both[True]))
                print(_line(number, *found[-1]), flush=True)
        return found


def _line(number: int, alone: Window, beside: Window) -> str:
    return (
        f"pair {number + 1}: alone p50 {alone.p50_ms:6.1f} p99 {alone.p99_ms:6.1f} ms"
        f" ({alone.records} records, {alone.limited} limited); beside the noisy one"
        f" p50 {beside.p50_ms:6.1f} p99 {beside.p99_ms:6.1f} ms ({beside.records} records,"
        f" {beside.limited} limited); p99 ratio {beside.p99_ms / alone.p99_ms:.3f}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noisy_device", description=__doc__)
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a window")
    parser.add_argument("--kafka", metavar="HOST:PORT", help="a running cluster, else one is made")
    parsed = parser.parse_args(arguments)
    found = run(parsed.pairs, parsed.seconds, bootstrap=parsed.kafka)
    for name, ratios in (
        ("p50", [beside.p50_ms / alone.p50_ms for alone, beside in found]),
        ("p99", [beside.p99_ms / alone.p99_ms for alone, beside in found]),
    ):
        print(f"{name} beside the noisy device over alone: {Spread.of(ratios).write(3)}")
    return 0 if Spread.of(ratios).median < RATIO_MAX else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["publish"]:
        publish(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
    sys.exit(main())
