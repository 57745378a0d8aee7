"""How old a message is when a consumer has it, and what it costs, while devices send steadily.

Theory of operation. One Kafka for all. For each rate and round the contenders take turns: each gets
a Mosquitto and topics of its own, one publisher in a process of its own, some seconds to warm up,
then a window in which a consumer takes the age of each record, from the device's clock to its own,
which is the same clock, and the kernel tells the CPU time of the contender. The bare producer gets
the same messages at the same rate without any MQTT: what Kafka alone takes. The floor has MQTT, but
promises nothing and never rests: how young a message can be at the median; who rests may take less
CPU. Where rests make a difference the bridge without any is there too. Rate 0 is the bridge with
nothing to do. Ratios are taken within a round. Before the first window Kafka carries what the bare
producer sends it, until Java has compiled what it does.
`python -m benchmarks.steady [--rates 2000 100 0] [--rounds 3] [--seconds 20]`
"""

import itertools
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.command_line import keep, make_parser
from benchmarks.contenders import BridgeContender, make_contender
from benchmarks.figures import BASELINE, BASELINE_PROMPT, FLOOR, PROMISE, PROMISE_PROMPT, Spread
from benchmarks.places import PARTITIONS, Place, make_terms, open_place
from benchmarks.terms import Terms
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import DeviceMessage
from tests.support.eventually import eventually, let_last
from tests.support.latency import LatencyProbe
from tests.support.lean_publisher import LeanPublisher
from tests.support.mosquitto import MosquittoProcess
from tests.support.processes import ChildProcess

BARE: Final = "bare"
BRIDGES: Final = (PROMISE, PROMISE_PROMPT)
OTHERS: Final = (BASELINE, BASELINE_PROMPT, FLOOR, BARE)
CONTENDERS: Final = (*BRIDGES, *OTHERS)
RESTS_FROM_PER_S: Final = 600.0
"""Where nothing rests, a bridge without rests is no other bridge."""
DEVICES: Final = 1_000
KAFKA_WARM_UP_S: Final = 25.0
KAFKA_WARM_UP_RATE: Final = 3_000.0
"""After 30,000 requests Java still compiled: the bare producer's p99 was 19 ms, and then 5."""
WARM_UP_S: Final = 5.0
IDLE_WARM_UP_S: Final = 15.0
PROBE_S: Final = 0.001
"""How long the consumer gathers: an age may be so much too large."""
_REPOSITORY: Final = Path(__file__).resolve().parents[1]
_MS_PER_S: Final = 1e3
_US_PER_S: Final = 1e6
_HEAD: Final = (
    f"{'rate':>6} {'':15} {'p50 ms':>22} {'p90 ms':>7} {'p99 ms':>22} {'p99.9':>7} {'most':>7}"
    f" {'CPU us/message':>22}"
)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """What one contender did in one window."""

    contender: str
    rate_per_s: float
    round: int
    records: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    most_ms: float
    cpu_s: float
    seconds: float

    @property
    def cpu_us(self) -> float:
        """CPU a message, microseconds."""
        return self.cpu_s / max(1, self.records) * _US_PER_S

    @property
    def core_percent(self) -> float:
        """CPU as a share of one core."""
        return self.cpu_s / self.seconds * 100


# ---------------------------------------------------------------------- what is sent


def messages() -> Iterator[DeviceMessage]:
    """Give telemetry of some 220 bytes, for ever, each with the time at which it is asked for."""
    for number in itertools.count():
        device_id = f"sensor-{number % DEVICES:04d}"
        now_us = time.time_ns() // 1_000
        seconds, microseconds = divmod(now_us, 1_000_000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        body = (
            f'{{"device_id":"{device_id}","timestamp":"{stamp}.{microseconds:06d}Z",'
            f'"metrics":{{"temperature":21.5,"humidity":48.1,"pressure":1013.2,'
            f'"battery_level":{number % 89 + 10}}},"metadata":{{"firmware_version":"2.4.3",'
            f'"signal_strength":-61,"sequence":{number}}}}}'
        )
        yield DeviceMessage(topic=f"devices/{device_id}/telemetry", payload=body.encode())


def publish(port: int, rate_per_s: float) -> None:
    """Publish until killed."""
    publisher = LeanPublisher(port, window=10_000)
    publisher.connect()
    publisher.start(messages(), rate_per_s=rate_per_s)
    while True:
        let_last(1.0)
        publisher.ledger.sent.clear()
        publisher.ledger.acknowledged.clear()


class Helper(ChildProcess):
    """This module again, in a process of its own."""

    def __init__(self, directory: Path, name: str, *words: str) -> None:
        super().__init__(name, directory / f"{name}.log")
        self.spawn(
            [sys.executable, "-m", *words],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
        )


# ---------------------------------------------------------------------- one window


def measure(
    place: Place, name: str, rate_per_s: float, round_number: int, seconds: float
) -> Window:
    """Let one contender carry one rate for so long."""
    tag = f"{name}-{rate_per_s:g}-{round_number}-{os.getpid()}"
    directory = place.directory / tag
    directory.mkdir()
    with ExitStack() as cleanup:
        mosquitto = MosquittoProcess(directory / "mosquitto")
        mosquitto.start()
        cleanup.callback(mosquitto.kill)
        terms = make_terms(cleanup, place.client, mosquitto, tag)
        process = _start(cleanup, directory, name, terms, rate_per_s)
        probe = cleanup.enter_context(
            LatencyProbe(place.client, terms.kafka_topic, PARTITIONS, poll_s=PROBE_S)
        )
        if name != BARE and rate_per_s:
            words = ("benchmarks.steady", "publish", str(mosquitto.port), str(rate_per_s))
            cleanup.callback(Helper(directory, "devices", *words).kill)
        if rate_per_s:
            eventually(lambda: len(probe.seen), lambda n: n > 0, what=f"{name} carries messages")
        let_last(WARM_UP_S if rate_per_s else IDLE_WARM_UP_S)
        began_s, cpu_s = time.monotonic(), process.cpu_s
        let_last(seconds)
        ended_s = time.monotonic()
        cpu_s = process.cpu_s - cpu_s
        process.assert_alive()
        ages = sorted(probe.ages(began_s, ended_s))

    def at(share: float) -> float:
        return ages[min(len(ages) - 1, int(len(ages) * share))] * _MS_PER_S if ages else 0.0

    return Window(
        contender=name,
        rate_per_s=rate_per_s,
        round=round_number,
        records=len(ages),
        p50_ms=at(0.5),
        p90_ms=at(0.9),
        p99_ms=at(0.99),
        p999_ms=at(0.999),
        most_ms=at(1.0),
        cpu_s=cpu_s,
        seconds=ended_s - began_s,
    )


def _start(
    cleanup: ExitStack, directory: Path, name: str, terms: Terms, rate_per_s: float
) -> ChildProcess:
    """Start a contender, and wait until it is subscribed."""
    if name == BARE:
        words = ("benchmarks.bare", *terms.as_arguments(), f"--rate={rate_per_s}")
        bare = Helper(directory, BARE, *words)
        cleanup.callback(bare.kill)
        return bare
    contender = make_contender(name, directory / name, terms)
    cleanup.callback(contender.process.kill)
    contender.start()
    if isinstance(contender, BridgeContender):
        assert isinstance(contender.process, BridgeProcess)
        contender.process.wait_ready()
    else:
        let_last(WARM_UP_S)  # It says nothing of being subscribed.
    return contender.process


# ---------------------------------------------------------------------- a run


def run(
    rates: Sequence[float], *, rounds: int, seconds: float, bootstrap: str | None
) -> list[Window]:
    """Measure each rate in each round, the order of the contenders alternating."""
    with ExitStack() as cleanup:
        place = open_place(cleanup, bootstrap)
        if any(rates):
            measure(place, BARE, KAFKA_WARM_UP_RATE, -1, KAFKA_WARM_UP_S)
        found: list[Window] = []
        for round_number, rate in itertools.product(range(rounds), rates):
            names = contenders_at(rate)
            for name in names if round_number % 2 == 0 else reversed(names):
                window = measure(place, name, rate, round_number, seconds)
                found.append(window)
                print(
                    f"round {round_number + 1} {rate:6g}/s {name:15} {window.records:7} records,"
                    f" p50 {window.p50_ms:6.2f} p99 {window.p99_ms:7.2f} ms,"
                    f" {window.cpu_us:7.1f} us a message, {window.core_percent:.2f} % of a core",
                    file=sys.stderr,
                    flush=True,
                )
        return found


def contenders_at(rate_per_s: float) -> Sequence[str]:
    """Name who is measured at that rate."""
    if not rate_per_s:
        return (PROMISE,)
    return CONTENDERS if rate_per_s >= RESTS_FROM_PER_S else (PROMISE, *OTHERS)


def ratios(
    windows: Sequence[Window], rate: float, bridge: str, other: str, what: str
) -> list[float]:
    """Give a figure of a bridge over that of another, for each round that has both."""
    by_round: dict[int, dict[str, float]] = {}
    for each in windows:
        if each.rate_per_s == rate:
            by_round.setdefault(each.round, {})[each.contender] = getattr(each, what)
    return [own[bridge] / own[other] for own in by_round.values() if bridge in own and other in own]


def table(windows: Sequence[Window]) -> str:
    """Write a line for each rate and contender, and the ratios."""
    lines = [_HEAD]
    for rate in dict.fromkeys(each.rate_per_s for each in windows):
        for name in CONTENDERS:
            own = [each for each in windows if (each.rate_per_s, each.contender) == (rate, name)]
            if own:
                lines.append(_line(rate, name, own))
        for bridge, other in itertools.product(BRIDGES, OTHERS):
            lines += [
                f"{rate:6g} {what}, {bridge}/{other}: {Spread.of(found).write(3)}"
                for what in ("p50_ms", "p99_ms", "cpu_us")
                if (found := ratios(windows, rate, bridge, other, what))
                and (what != "cpu_us" or other != BARE)
            ]
    return "\n".join(lines)


def _line(rate: float, name: str, own: Sequence[Window]) -> str:
    if not rate:
        share = Spread.of([each.core_percent for each in own]).write(3)
        return f"{rate:6g} {name:15} idle: {share} % of a core"

    def spread(what: str, digits: int) -> str:
        return Spread.of([getattr(each, what) for each in own]).write(digits)

    p90, p999, most = (
        Spread.of([getattr(each, what) for each in own]).median
        for what in ("p90_ms", "p999_ms", "most_ms")
    )
    return (
        f"{rate:6g} {name:15} {spread('p50_ms', 2):>22} {p90:>7.1f} {spread('p99_ms', 2):>22}"
        f" {p999:>7.1f} {most:>7.1f} {spread('cpu_us', 1):>22}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = make_parser("steady", __doc__)
    parser.add_argument("--rates", type=float, nargs="+", default=[2_000.0, 100.0, 0.0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a window")
    parsed = parser.parse_args(arguments)
    windows = run(
        parsed.rates, rounds=parsed.rounds, seconds=parsed.seconds, bootstrap=parsed.kafka
    )
    print(f"windows of {parsed.seconds:g} s, {parsed.rounds} rounds; median (least-most)")
    print(table(windows))
    keep(windows, parsed.json)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["publish"]:
        publish(int(sys.argv[2]), float(sys.argv[3]))
    sys.exit(main())
