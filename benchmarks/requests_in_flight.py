"""What one Produce request at a time costs: `kafka.requests_in_flight_max` of 1 beside 5.

Theory of operation. One Kafka, through a proxy that lets each byte arrive later by half a round
trip, since on loopback an answer is there at once and nothing waits. A producer with the bridge's
own properties sends at a steady rate, in a step each 5 ms as the bridge reads, and then as fast as
a window lets it. All in one process: the ratios say something, the figures little.
"""

import sys
import time
from contextlib import ExitStack
from functools import partial
from itertools import product, starmap
from typing import Final

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from benchmarks.command_line import keep, make_parser
from benchmarks.places import Place, open_place
from bridge.config.sections import KafkaSection
from bridge.kafka.properties import producer_properties
from tests.support.kafka_proxy import KafkaProxy

PARTITIONS: Final = (6, 24)
ROUND_TRIPS_MS: Final = (0.0, 2.0, 5.0)
IN_FLIGHT: Final = (5, 1)
RATE_PER_S: Final = 2_000
VALUE: Final = b"x" * 300
WINDOW: Final = 2_000
WINDOWED: Final = 40_000
_STEP_S: Final = 0.005
_POLL_S: Final = 0.001
_FLUSH_S: Final = 60.0


class Way(msgspec.Struct, frozen=True):
    """What one producer has before it."""

    partitions: int
    round_trip_ms: float
    in_flight: int


class Measured(msgspec.Struct, frozen=True):
    """What came of one."""

    way: Way
    p50_ms: float
    p99_ms: float
    windowed_per_s: float


class Sender:
    """Sends, and notes how old each record was when its delivery report came."""

    def __init__(self, bootstrap: str, topic: str, way: Way) -> None:
        section = KafkaSection(bootstrap_servers=bootstrap, requests_in_flight_max=way.in_flight)
        properties = producer_properties(
            section, client_id="benchmark", password=None, secrets={}, records_max=20_000
        )
        self._producer = Producer({**properties, "log_level": 3})
        self._topic, self._partitions = topic, way.partitions
        self.ages_s: list[float] = []
        self.sent = 0

    def send(self, count: int) -> None:
        """Send to each partition in turn."""
        report = partial(self._take, time.monotonic())
        for number in range(self.sent, self.sent + count):
            place = number % self._partitions
            self._producer.produce(self._topic, VALUE, partition=place, on_delivery=report)
        self.sent += count

    def _take(self, sent_s: float, error: KafkaError | None, _: Message) -> None:
        assert error is None, error.str()
        self.ages_s.append(time.monotonic() - sent_s)

    def poll(self, for_s: float) -> None:
        """Serve reports."""
        self._producer.poll(for_s)

    def finish(self) -> None:
        """Wait until all is reported."""
        left = self._producer.flush(_FLUSH_S)
        assert not left, f"{left} records without a report"


def measure(place: Place, link: KafkaProxy, way: Way, seconds: float) -> Measured:
    """Send for so many seconds, then through the window."""
    topic = f"in-flight-{way.partitions}-{way.round_trip_ms}-{way.in_flight}"
    place.client.create_topic(topic, way.partitions)
    link.levers.delay_s = way.round_trip_ms / 2_000
    sender = Sender(link.bootstrap, topic, way)
    sender.send(way.partitions)
    sender.finish()  # Connected, and every leader known.
    sender.ages_s.clear()

    step_s = time.monotonic()
    for _ in range(round(seconds / _STEP_S)):
        sender.send(round(RATE_PER_S * _STEP_S))
        step_s += _STEP_S
        while (left_s := step_s - time.monotonic()) > 0:
            sender.poll(min(left_s, _POLL_S))
    sender.finish()
    ages_s = sorted(sender.ages_s)

    sender.ages_s.clear()
    began_s, last = time.monotonic(), sender.sent + WINDOWED
    first = sender.sent
    while sender.sent < last:
        room = WINDOW - (sender.sent - first - len(sender.ages_s))
        sender.send(min(room, last - sender.sent))
        sender.poll(_POLL_S)
    sender.finish()
    took_s = time.monotonic() - began_s
    place.client.delete_topic(topic)
    return Measured(
        way,
        ages_s[len(ages_s) // 2] * 1e3,
        ages_s[len(ages_s) * 99 // 100] * 1e3,
        WINDOWED / took_s,
    )


def main() -> int:
    """Measure every combination; 2 minutes."""
    parser = make_parser("requests_in_flight", __doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each steady rate")
    arguments = parser.parse_args()
    found: list[Measured] = []
    sys.stdout.write(
        "| partitions | round trip | in flight | p50 / p99, ms | through the window |\n"
    )
    sys.stdout.write("| --- | --- | --- | --- | --- |\n")
    with ExitStack() as cleanup:
        place = open_place(cleanup, arguments.kafka)
        link = KafkaProxy(place.client.bootstrap).start()
        cleanup.callback(link.close)
        for way in starmap(Way, product(PARTITIONS, ROUND_TRIPS_MS, IN_FLIGHT)):
            each = measure(place, link, way, arguments.seconds)
            found.append(each)
            sys.stdout.write(
                f"| {way.partitions} | {way.round_trip_ms:.0f} ms | {way.in_flight}"
                f" | {each.p50_ms:.1f} / {each.p99_ms:.1f} | {each.windowed_per_s:,.0f}/s |\n"
            )
            sys.stdout.flush()
    keep(found, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
