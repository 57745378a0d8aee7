"""How long a start takes with an empty window: until the SUBACK, and until the first record.

Real brokers, a fresh state directory and fresh topics each time; a message waits in the session of
the second start, so the first record is that of a bridge that was away.
`python -m benchmarks.start [--starts 5]`
"""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.command_line import name_parser
from benchmarks.contenders import bridge_config
from benchmarks.figures import Spread
from benchmarks.places import make_terms, open_place
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import DevicePublisher, telemetry
from tests.support.eventually import eventually
from tests.support.kafka_client import KafkaClient
from tests.support.mosquitto import MosquittoProcess

_POLL_S = 0.005


def measure(client: KafkaClient, directory: Path, number: int) -> tuple[float, float]:
    """Start twice: seconds to the first SUBACK, and those to the record of what waited."""
    with ExitStack() as cleanup:
        mosquitto = MosquittoProcess(directory / "mosquitto")
        mosquitto.start()
        cleanup.callback(mosquitto.kill)
        terms = make_terms(cleanup, client, mosquitto, f"start-{number}")
        bridge = BridgeProcess(directory / "bridge", bridge_config(terms))
        cleanup.callback(bridge.kill)
        began_s = time.monotonic()
        bridge.start()
        eventually(lambda: bridge.events("mqtt_subscribed"), what="the SUBACK", poll_s=_POLL_S)
        subscribed_s = time.monotonic() - began_s
        bridge.wait_ready()
        assert bridge.stop() == 0
        devices = DevicePublisher(mosquitto.port)
        cleanup.callback(devices.disconnect)
        devices.connect()
        devices.publish([telemetry("sensor-0001", 1)])
        began_s = time.monotonic()
        bridge.start()
        eventually(lambda: client.count(terms.kafka_topic), what="the first record", poll_s=_POLL_S)
        first_s = time.monotonic() - began_s
        assert bridge.stop() == 0
        return subscribed_s, first_s


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = name_parser("start", __doc__)
    parser.add_argument("--starts", type=int, default=5)
    parsed = parser.parse_args(arguments)
    with ExitStack() as cleanup:
        place = open_place(cleanup, None)
        found = [
            measure(place.client, place.directory / str(number), number)
            for number in range(parsed.starts)
        ]
    print(f"{parsed.starts} starts with an empty window, seconds; median (least-most)")
    print(f"from the start to SUBACK: {Spread.of([each for each, _ in found]).write(2)}")
    print(f"to the first record:      {Spread.of([each for _, each in found]).write(2)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
