"""What rules on trial cost: the flow with and without `[shadow]`, no brokers and no sockets.

CPU time a message; the variants take turns in each round, in an order drawn anew, and what a trial
adds is taken within a round. `python -m benchmarks.shadow_flow [--rounds 15] [--messages 5000]`
"""

import argparse
import os
import random
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from benchmarks.figures import Spread
from benchmarks.rules_flow import BATCH
from bridge.config.sections import BridgeConfig, ShadowSection
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.kafka.record import Instant
from bridge.kafka.rows import rfc3339
from bridge.pipeline.decode import decode
from bridge.pipeline.flow import Flow
from bridge.pipeline.policy import Policy
from bridge.pipeline.rule_set import RuleSet
from bridge.pipeline.shadow import Shadow
from tests.pipeline.given import Packet

DEVICES: Final = 1_000
OFF: Final = "off"
TRIAL: Final = ShadowSection(timestamp_age_max_s=1e9, ranges={"temperature": (0.0, 40.0)})
_VARIANTS: Final[dict[str, ShadowSection | None]] = {
    OFF: None,
    "on": TRIAL,
    "on, sample_ratio 0.1": msgspec.structs.replace(TRIAL, sample_ratio=0.1),
}
_RECEIVED_US: Final = 1_795_455_325_000_000
_DAY_US: Final = 86_400_000_000
TRAFFIC: Final = {
    "every reading passes": (21.5, 0),
    "every reading newly fails": (41.0, 0),
    "every letter newly passes": (21.5, 8 * _DAY_US),
}
"""Temperature and age: eight days are too old today, and not on trial."""


def make_flow(trial: ShadowSection | None) -> tuple[Flow, Shadow | None]:
    """Make a flow as a bridge with a registry has it, and what judges the trial."""
    config = BridgeConfig(shadow=trial)
    registry = Registry()
    registry.replace({f"dev-{n:04}": DeviceEntry(type=f"type-{n % 5}") for n in range(DEVICES)})
    on_trial = RuleSet.on_trial(config)
    shadow = None
    if trial is not None and on_trial is not None:
        shadow = Shadow(
            today=RuleSet(config.validation),
            on_trial=on_trial,
            registry=registry,
            decode=decode,
            sample_ratio=trial.sample_ratio,
            chance=random.random,
            on_fault=_fail,
        )
    flow = Flow(
        routes=config.route,
        dead_letter_topic=config.dead_letter.kafka_topic,
        validation=config.validation,
        entropy=os.urandom,
        policy=Policy.of(config.validation, registry),
        shadow=shadow,
    )
    return flow, shadow


def make_batches(count: int, temperature: float, age_us: int) -> list[list[Packet]]:
    """Make messages of four metrics, in batches as a socket gives them."""
    packets = []
    for number in range(count):
        device = f"dev-{number % DEVICES:04}"
        body = {
            "device_id": device,
            "timestamp": rfc3339(_RECEIVED_US - age_us - number),
            "metrics": {"temperature": temperature, "humidity": 45.2, "pressure": 1013.25, "n": 1},
            "metadata": {"firmware_version": "1.2.3", "signal_strength": -67},
        }
        packets.append(Packet(msgspec.json.encode(body), f"devices/{device}/telemetry"))
    return [packets[start : start + BATCH] for start in range(0, count, BATCH)]


def cost_us(flow: Flow, batches: Sequence[list[Packet]]) -> float:
    """Return the CPU time of a message."""
    received = Instant(_RECEIVED_US, 0.0, rfc3339(_RECEIVED_US))
    begun = time.process_time()
    for packets in batches:
        flow.process(packets, received)
    return (time.process_time() - begun) / sum(map(len, batches)) * 1e6


def _fail(error: Exception) -> None:
    raise SystemExit(f"the trial failed: {error!r}")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shadow_flow", description=__doc__)
    parser.add_argument("--messages", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=15)
    parsed = parser.parse_args()
    print(f"{parsed.messages} messages, {parsed.rounds} rounds; median (ends)")
    print(f"{'':50} {'CPU us/message':>22} {'us more':>22}")
    for traffic, (temperature, age_us) in TRAFFIC.items():
        batches = make_batches(parsed.messages, temperature, age_us)
        flows = {name: make_flow(trial)[0] for name, trial in _VARIANTS.items()}
        names = list(flows)
        rounds = []
        for _ in range(parsed.rounds):
            random.shuffle(names)
            rounds.append({name: cost_us(flows[name], batches) for name in names})
        for name in flows:
            cost = Spread.of([each[name] for each in rounds]).write(2)
            more = Spread.of([each[name] - each[OFF] for each in rounds]).write(2)
            print(f"{traffic + ', ' + name:50} {cost:>22} {more:>22}")


if __name__ == "__main__":
    main()
