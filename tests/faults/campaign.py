"""Load with a fault each so often, and the oracle at the end: `./dev faults`.

Exit codes: 0 nothing lost, doubled or out of order; 1 something was, or the bridge did not end
well; 64 usage; 69 a broker is not there.
"""

import argparse
import json
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec
from confluent_kafka import KafkaException

from tests.faults.chaos import Happened, rage
from tests.faults.numbered import Verdict, judge
from tests.faults.stand import Given, Stand
from tests.integration.scene import told_doubled
from tests.support.eventually import NeverHappenedError, eventually
from tests.support.kafka_artefacts import KafkaMissingError
from tests.support.watcher import Watcher

QUIET_S: Final = 300.0
FIRST_MINUTES_S: Final = 300.0
"""What is resident grows while caches fill; from then on it should not."""
MEGABYTE: Final = 1e6
OK, BROKEN, USAGE, UNAVAILABLE = 0, 1, 64, 69


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """One campaign."""

    minutes: float = 20.0
    rate_per_s: float = 2_000.0
    every_s: float = 30.0
    seed: int = 0
    spare_bridge: bool = False
    """The bridge itself is not killed or stopped, so that the memory of one process can be told."""
    keys_max: int = 1_000_000
    """`dedup.keys_max`; the window grows until it is full, and no longer."""
    given: Given | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it."""

    options: Options
    verdict: Verdict
    faults: list[Happened]
    bridge_exit_code: int
    told_doubled: int
    """What librdkafka doubled at most, by the bridge's own account; it is not taken off."""
    residue: int | None
    """None: the last event is missing."""
    rss_peak_mb_first: float
    rss_peak_mb_later: float
    rss_calm_mb: tuple[float, float]
    """Median while ready: of the five minutes after the first ones, and of the last five."""
    descriptors_at_end: int

    @property
    def holds(self) -> bool:
        """Tell whether the promise was kept, and the bridge says so too."""
        return self.verdict.holds and self.bridge_exit_code == 0 and self.residue == 0

    @property
    def calm_growth_mb_in_10_min(self) -> float:
        """Tell how fast what is resident in calm grows, between the two."""
        apart_min = self.options.minutes - 2 * FIRST_MINUTES_S / 60
        early, late = self.rss_calm_mb
        return (late - early) / apart_min * 10 if apart_min > 0 else 0.0

    def summary(self) -> dict[str, Any]:
        """Return what a machine reads."""
        return {
            "holds": self.holds,
            "seed": self.options.seed,
            "minutes": self.options.minutes,
            "rate_per_s": self.options.rate_per_s,
            **msgspec.structs.asdict(self.verdict),
            "faults": dict(Counter(each.name for each in self.faults)),
            "told_doubled": self.told_doubled,
            "bridge_exit_code": self.bridge_exit_code,
            "residue": self.residue,
            "rss_peak_mb_first": round(self.rss_peak_mb_first, 1),
            "rss_peak_mb_later": round(self.rss_peak_mb_later, 1),
            "rss_growth_mb": round(self.rss_peak_mb_later - self.rss_peak_mb_first, 1),
            "rss_calm_mb": [round(each, 1) for each in self.rss_calm_mb],
            "rss_calm_growth_mb_in_10_min": round(self.calm_growth_mb_in_10_min, 2),
            "descriptors_at_end": self.descriptors_at_end,
        }


def run(options: Options, directory: Path) -> Outcome:
    """Run one campaign and tell of each fault as it happens."""
    happened: list[Happened] = []
    lasts_s = options.minutes * 60.0
    with Stand(directory, given=options.given, keys_max=options.keys_max) as stand:
        bridge = stand.bridge
        with Watcher(bridge, every_s=1.0) as watcher:
            stand.start_load(options.rate_per_s)
            _tell(f"{'at':>8}  {'fault':32} {'lasted':>8} {'in flight':>10} {'spooled':>9}")
            for each in rage(
                stand,
                seed=options.seed,
                every_s=options.every_s,
                lasts_s=lasts_s,
                spare_bridge=options.spare_bridge,
            ):
                happened.append(each)
                _tell(
                    f"{each.at_s:7.1f}s  {each.name:32} {each.lasted_s:7.1f}s"
                    f" {each.in_flight:10} {each.spooled:9}"
                )
            stand.stop_load()
            _await_quiet(stand)
        descriptors = bridge.descriptors_open
        exit_code = bridge.stop(60.0)
        stopped = bridge.events("bridge_stopped")
        told = told_doubled(bridge)
        verdict = judge(
            stand.load,
            stand.ledgers,
            stand.client.stream(stand.telemetry),
            dead_letters=stand.client.count(stand.dead_letters),
        )
    border_s = min(FIRST_MINUTES_S, lasts_s / 4)
    first = [each.rss_bytes or 0 for each in watcher.samples if each.at_s < border_s]
    later = [each.rss_bytes or 0 for each in watcher.samples if each.at_s >= border_s]
    return Outcome(
        options=options,
        verdict=verdict,
        faults=happened,
        bridge_exit_code=exit_code,
        told_doubled=told,
        residue=stopped[-1]["residue"] if stopped else None,
        rss_peak_mb_first=max(first, default=0) / MEGABYTE,
        rss_peak_mb_later=max(later, default=0) / MEGABYTE,
        rss_calm_mb=(
            watcher.rss_calm_bytes(border_s, 2 * border_s) / MEGABYTE,
            watcher.rss_calm_bytes(lasts_s - border_s, lasts_s) / MEGABYTE,
        ),
        descriptors_at_end=descriptors,
    )


def _await_quiet(stand: Stand) -> None:
    """Wait until all that was acknowledged is in Kafka; what is missing then the oracle counts."""
    bridge = stand.bridge
    owed = sum(each.acknowledged.total for each in stand.ledgers)
    try:
        bridge.wait_ready(QUIET_S)
        eventually(
            lambda: stand.client.count(stand.telemetry),
            lambda there: there >= owed,
            what="all that was acknowledged is in Kafka",
            deadline_s=QUIET_S,
            poll_s=0.5,
        )
        eventually(
            lambda: (
                bridge.metrics().get("bridge_messages_spooled"),
                bridge.metrics().get("bridge_messages_in_flight"),
            ),
            lambda left: left == (0.0, 0.0),
            what="nothing is spooled or in flight",
            deadline_s=QUIET_S,
            poll_s=0.5,
        )
    except NeverHappenedError as error:
        _tell(f"not quiet: {error}")


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _tell_outcome(outcome: Outcome) -> None:
    verdict = outcome.verdict
    _tell("")
    for name, value in (
        ("sent", verdict.sent),
        ("acknowledged", verdict.acknowledged),
        ("records in Kafka", verdict.records),
        ("lost", verdict.lost),
        ("doubled", verdict.doubled),
        ("of these told at most", outcome.told_doubled),
        ("out of order", verdict.out_of_order),
        ("never published", verdict.unpublished),
        ("dead letters", verdict.dead_letters),
        ("faults", len(outcome.faults)),
        ("peak memory, first minutes, MB", round(outcome.rss_peak_mb_first, 1)),
        ("peak memory, later, MB", round(outcome.rss_peak_mb_later, 1)),
        ("calm memory, early, MB", round(outcome.rss_calm_mb[0], 1)),
        ("calm memory, late, MB", round(outcome.rss_calm_mb[1], 1)),
    ):
        _tell(f"{name:32} {value:>12}")
    for example in verdict.examples:
        _tell(f"  {example}")
    _tell("")
    _tell(json.dumps(outcome.summary()))


# ---------------------------------------------------------------------- the command line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


def _make_parser() -> _Parser:
    parser = _Parser(prog="./dev faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="how long the load lasts")
    parser.add_argument("--rate", type=float, default=2_000.0, help="messages a second")
    parser.add_argument("--every", type=float, default=30.0, help="seconds between two faults")
    parser.add_argument("--seed", type=int, help="repeats the schedule of an earlier campaign")
    parser.add_argument("--directory", type=Path, help="keep logs, spool and configuration here")
    parser.add_argument(
        "--spare-bridge", action="store_true", help="faults of all others: for its memory"
    )
    parser.add_argument("--keys-max", type=int, default=1_000_000, help="dedup.keys_max")
    given = parser.add_argument_group(
        "a test cluster of your own",
        "there only the bridge is killed and its links are cut; topics are made, and deleted",
    )
    given.add_argument("--mqtt", metavar="HOST:PORT", type=_address)
    given.add_argument("--kafka", metavar="HOST:PORT[,...]")
    given.add_argument(
        "--own-cluster", action="store_true", help="yes, both are mine to load and to test"
    )
    given.add_argument("--mqtt-username", metavar="NAME")
    given.add_argument("--mqtt-password-file", metavar="FILE", type=Path)
    given.add_argument("--mqtt-ca-file", metavar="FILE", type=Path, help="connect with TLS")
    given.add_argument("--kafka-username", metavar="NAME")
    given.add_argument("--kafka-password-file", metavar="FILE", type=Path)
    given.add_argument(
        "--kafka-property",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="of librdkafka; with TLS the Kafka link is left alone",
    )
    return parser


def _parse(argv: Sequence[str] | None) -> tuple[Options, Path | None]:
    parser = _make_parser()
    arguments = parser.parse_args(argv)
    if (arguments.mqtt is None) != (arguments.kafka is None):
        parser.error("--mqtt and --kafka are given together, or neither")
    is_given = arguments.mqtt is not None
    if is_given and not arguments.own_cluster:
        parser.error("this fills the cluster with load: say --own-cluster if it is yours to test")
    if arguments.own_cluster and not is_given:
        parser.error("--own-cluster says whose the brokers of --mqtt and --kafka are")
    if arguments.minutes <= 0 or arguments.rate <= 0 or arguments.every <= 0:
        parser.error("--minutes, --rate and --every are above 0")
    options = Options(
        minutes=arguments.minutes,
        rate_per_s=arguments.rate,
        every_s=arguments.every,
        seed=secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed,
        spare_bridge=arguments.spare_bridge,
        keys_max=arguments.keys_max,
        given=_given(arguments) if is_given else None,
    )
    return options, arguments.directory


def _given(arguments: argparse.Namespace) -> Given:
    return Given(
        mqtt=arguments.mqtt,
        kafka=arguments.kafka,
        mqtt_username=arguments.mqtt_username,
        mqtt_password_file=arguments.mqtt_password_file,
        mqtt_ca_file=arguments.mqtt_ca_file,
        kafka_username=arguments.kafka_username,
        kafka_password_file=arguments.kafka_password_file,
        kafka_properties=dict(each.partition("=")[::2] for each in arguments.kafka_property),
    )


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line."""
    options, kept = _parse(argv)
    _tell(f"seed {options.seed}; {options.minutes:g} minutes at {options.rate_per_s:g}/s")
    try:
        if kept is not None:
            kept.mkdir(parents=True, exist_ok=True)
            outcome = run(options, kept.resolve())
        else:
            with tempfile.TemporaryDirectory(prefix="bridge-faults-") as place:
                outcome = run(options, Path(place))
    except (KafkaMissingError, KafkaException, ConnectionError, TimeoutError) as error:
        sys.stderr.write(f"faults: {error}\n")
        return UNAVAILABLE
    _tell_outcome(outcome)
    return OK if outcome.holds else BROKEN


if __name__ == "__main__":
    sys.exit(main())
