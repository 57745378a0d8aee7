"""What each rule costs by itself: the flow and the attendance alone, without brokers or sockets.

The whole daemon (benchmarks/rules.py) says what an operator pays; its noise hides tenths of a
microsecond, which are told here. CPU time; the variants take turns at a few thousand messages.
`python -m benchmarks.rules_flow [--pairs 5]`
"""

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import mqtt5

from benchmarks.figures import Spread
from benchmarks.profiles import DEVICES, messages, write_registry
from benchmarks.rules import BASE, NAMES, variants
from bridge.config.loading import load
from bridge.config.sections import BridgeConfig
from bridge.fleet.dedup_window import DedupWindow
from bridge.fleet.duplicates import Duplicates
from bridge.fleet.limits import Limits
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.fleet.registry_file import parse_registry
from bridge.kafka.record import Instant, Record
from bridge.pipeline.allowance import Allowance
from bridge.pipeline.flow import Flow
from bridge.pipeline.policy import Policy
from tests.runtime.attendance_stand import Stand
from tests.support.bridge_process import to_toml

BATCH: Final = 50
"""Packets of one socket read, about, when a queue drains."""
TURN: Final = 100
"""Batches; two rounds of all devices are a whole number of turns."""
_US_PER_S: Final = 1e6


class Bridge:
    """As much of a bridge as the rules need, as bridge/runtime/parts.py joins it."""

    def __init__(self, config: BridgeConfig, entries: dict[str, DeviceEntry]) -> None:
        registry = Registry()
        if config.registry is not None:
            registry.replace(dict(entries))
        ttl_s, keys_max = config.dedup.ttl_s, config.dedup.keys_max
        window = DedupWindow(ttl_s=ttl_s, keys_max=keys_max, keys_min=1) if keys_max else None
        self._duplicates = Duplicates(window)
        stand = Stand()
        self._attendance = stand.attendance
        if not config.silence.multiplier:
            self._attendance.silence = None
        self._attendance.look_at_host()
        limits = Limits() if config.limits.per_device_per_s else None
        allowance = Allowance.of(config.limits, config.route, limits) if limits else None
        self._flow = Flow(
            routes=config.route,
            dead_letter_topic=config.dead_letter.kafka_topic,
            validation=config.validation,
            entropy=os.urandom,
            duplicates=self._duplicates,
            policy=Policy.of(config.validation, registry, allowance),
            roll=self._attendance.roll,
        )

    def take(self, packets: Sequence[mqtt5.PublishPacket], received: Instant) -> None:
        """Carry one batch, note who was heard, and let Kafka have it."""
        outcomes = self._flow.process(packets, received)
        records = [each for each in outcomes if type(each) is Record]
        assert len(packets) == len(records), "something was flagged, refused or known"
        self._attendance.note(records, received)
        self._duplicates.confirm([record.dedup_key for record in records])


def read_configs(directory: Path) -> dict[str, BridgeConfig]:
    """Read the configuration of each variant."""
    found = {}
    for name, sections in variants(directory / "devices.toml").items():
        path = directory / "bridge.toml"
        path.write_text(to_toml(sections), encoding="utf-8")
        found[name] = load(path, environment={}, reads_files=False).config
    return found


def batches(count: int) -> list[tuple[list[mqtt5.PublishPacket], Instant]]:
    """Give the messages as they come from the socket, 20,000 a second."""
    began = datetime.now(UTC)
    packets = [
        mqtt5.PublishPacket(each.mqtt_topic, each.payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=1)
        for each in messages(count)
    ]
    found = []
    for start in range(0, count, BATCH):
        at_s = start / 20_000
        at = began + timedelta(seconds=at_s)
        rfc3339 = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
        received = Instant(
            unix_us=int(at.timestamp() * _US_PER_S), monotonic_s=at_s, rfc3339=rfc3339
        )
        found.append((packets[start : start + BATCH], received))
    return found


def cost_us(
    configs: dict[str, BridgeConfig],
    entries: dict[str, DeviceEntry],
    given: Sequence[tuple[list[mqtt5.PublishPacket], Instant]],
) -> dict[str, float]:
    """Return the CPU time of a message in each variant, from its devices' third message on.

    They take turns at a twentieth of a second's work, so that a neighbour's load falls on all.
    """
    bridges = {name: Bridge(config, entries) for name, config in configs.items()}
    taken_s = dict.fromkeys(bridges, 0.0)
    gc.collect()
    for start in range(0, len(given), TURN):
        if start * BATCH == 2 * DEVICES:
            taken_s = dict.fromkeys(bridges, 0.0)
        for name, bridge in bridges.items():
            begun = time.process_time()
            for packets, received in given[start : start + TURN]:
                bridge.take(packets, received)
            taken_s[name] += time.process_time() - begun
    return {
        name: took_s / (len(given) * BATCH - 2 * DEVICES) * _US_PER_S
        for name, took_s in taken_s.items()
    }


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rules_flow", description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--pairs", type=int, default=5)
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        configs = read_configs(Path(place))
        write_registry(Path(place) / "devices.toml")
        content = (Path(place) / "devices.toml").read_bytes()
    entries = parse_registry(content, "devices.toml")
    given = batches(parsed.messages)
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # As in the daemon.
    rounds = [cost_us(configs, entries, given) for _ in range(parsed.pairs)]
    print(f"{parsed.messages} messages of {DEVICES} devices, {parsed.pairs} rounds; median (ends)")
    print(f"{'':20} {'CPU us/message':>22} {'us more':>22} {'over layers 1 and 2':>22}")
    for name in NAMES:
        cost = Spread.of([each[name] for each in rounds]).write(2)
        more = Spread.of([each[name] - each[BASE] for each in rounds]).write(2)
        ratio = Spread.of([each[name] / each[BASE] for each in rounds]).write(2)
        print(f"{name:20} {cost:>22} {more:>22} {ratio:>22}")


if __name__ == "__main__":
    main()
