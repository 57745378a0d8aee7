"""The faults of a campaign: each begins, lasts and ends; a seed says which comes when."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec

from tests.faults.stand import Stand
from tests.support.eventually import let_last

LASTS_S: Final = (2.0, 20.0)
"""An outage; shorter and longer than `spool.after_s`."""


class Fault(msgspec.Struct, frozen=True):
    """One kind of fault: `begin`, then after a while `end`."""

    name: str
    begin: Callable[[], object]
    end: Callable[[], object]
    lasts_s: tuple[float, float] = LASTS_S


class Happened(msgspec.Struct, frozen=True):
    """One fault that was done, and what the bridge held just before its end."""

    at_s: float
    name: str
    lasted_s: float
    in_flight: int
    spooled: int


def faults_for(stand: Stand) -> list[Fault]:
    """List what may be done to this stand: an operator's brokers are never touched."""
    bridge, mqtt = stand.bridge, stand.mqtt_link
    at_once = (0.0, 0.0)
    faults = [
        Fault("kill -9 bridge", bridge.kill, bridge.start, (0.0, 5.0)),
        Fault("kill -9 bridge", bridge.kill, bridge.start, at_once),
        Fault("SIGTERM bridge", lambda: bridge.stop(60.0), bridge.start, (0.0, 5.0)),
        Fault("SIGSTOP bridge", bridge.freeze, bridge.thaw, (1.0, 12.0)),
        Fault("cut MQTT link", mqtt.cut, _nothing, at_once),
        Fault("half-open MQTT link", mqtt.swallow, mqtt.heal),
    ]
    if (link := stand.kafka_link) is not None:
        faults += [
            Fault("cut Kafka link", link.cut, _nothing, at_once),
            Fault("half-open Kafka link", link.swallow, link.heal),
            Fault("Kafka link refuses", _all_of(link.refuse, link.cut), link.heal),
        ]
    if (kafka := stand.kafka) is not None:
        faults += [
            Fault("kill -9 Kafka", kafka.kill, kafka.start),
            Fault("SIGSTOP Kafka", kafka.freeze, kafka.thaw),
            Fault(
                "SIGSTOP Kafka, kill -9 bridge",
                kafka.freeze,
                _all_of(bridge.kill, bridge.start, kafka.thaw),
            ),
        ]
    if (mosquitto := stand.mosquitto) is not None:
        faults += [
            Fault("restart Mosquitto", mosquitto.stop, mosquitto.start, (0.0, 5.0)),
            Fault("SIGSTOP Mosquitto", mosquitto.freeze, mosquitto.thaw),
        ]
    return faults


def rage(
    stand: Stand, *, seed: int, every_s: float, lasts_s: float, spare_bridge: bool = False
) -> Iterator[Happened]:
    """Do a fault each so often until the time is over; each kind comes before any comes twice."""
    chance = random.Random(seed)  # noqa: S311  a schedule, no secret
    began_s = time.monotonic()
    faults = [
        each for each in faults_for(stand) if not (spare_bridge and each.name.endswith("bridge"))
    ]
    deck: list[Fault] = []
    while time.monotonic() - began_s < lasts_s - every_s:
        let_last(chance.uniform(0.5, 1.0) * every_s)
        if not deck:
            deck = chance.sample(faults, len(faults))
        fault = deck.pop()
        at_s = time.monotonic() - began_s
        span_s = min(chance.uniform(*fault.lasts_s), every_s)
        with _during(fault):
            let_last(span_s)
            metrics = stand.bridge.metrics() if span_s and stand.bridge.is_alive else {}
        yield Happened(
            round(at_s, 1),
            fault.name,
            round(span_s, 1),
            int(metrics.get("bridge_messages_in_flight", 0)),
            int(metrics.get("bridge_messages_spooled", 0)),
        )


@contextmanager
def _during(fault: Fault) -> Iterator[None]:
    fault.begin()
    try:
        yield
    finally:
        fault.end()


def _all_of(*steps: Callable[[], object]) -> Callable[[], None]:
    def take() -> None:
        for step in steps:
            step()

    return take


def _nothing() -> None:
    """End a fault that is over as it happens."""
