"""What every test of the whole way needs: topics, a bridge between real brokers, and the oracle."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from tests.support.bridge_process import BridgeProcess
from tests.support.devices import Publisher, telemetry
from tests.support.eventually import eventually
from tests.support.kafka_client import ConsumedRecord, KafkaClient
from tests.support.mosquitto import MosquittoProcess
from tests.support.oracle import Reckoning, reckon

QUIET_DEADLINE_S = 120.0
"""Far above what two busy cores need; only a bridge that stands still reaches it."""
PROBE = "probe"
_UNPRODUCED = ("in_flight", "spooled")


def report(text: object) -> None:
    """Print a result that the run is to show (pytest -rA)."""
    print(text)  # noqa: T201 -- captured by pytest, shown with -rA


class Found(msgspec.Struct, frozen=True):
    """What lies in Kafka."""

    telemetry: list[ConsumedRecord]
    dead_letters: list[ConsumedRecord]


class Scene:
    """One Mosquitto, two Kafka topics and a configuration that joins them.

    Every publisher of a scene is known to it, so that the oracle sees all that was sent.
    """

    def __init__(
        self,
        mosquitto: MosquittoProcess,
        client: KafkaClient,
        *,
        make_name: Callable[[str], str],
        start_bridge: Callable[[Mapping[str, Any]], BridgeProcess],
        start_devices: Callable[..., Publisher],
    ) -> None:
        self.mosquitto = mosquitto
        self.client = client
        self.telemetry = make_name("telemetry")
        self.dead_letters = make_name("dead-letters")
        self.client_id = make_name("bridge")
        self._start_bridge = start_bridge
        self._start_devices = start_devices
        self._publishers: list[Publisher] = []
        self._prober: Publisher | None = None

    def create_topics(
        self,
        partitions: int = 4,
        *,
        telemetry: Mapping[str, str] | None = None,
        dead_letters: Mapping[str, str] | None = None,
    ) -> None:
        """Create both topics, each with its own configuration."""
        self.client.create_topic(self.telemetry, partitions, telemetry)
        self.client.create_topic(self.dead_letters, partitions, dead_letters)

    def config(self, **sections: Mapping[str, Any]) -> dict[str, Any]:
        """Return the bridge's configuration; sections given are laid over it, key by key."""
        whole: dict[str, Any] = {
            "mqtt": {"port": self.mosquitto.port, "client_id": self.client_id},
            "kafka": {"bootstrap_servers": self.client.bootstrap},
            "dead_letter": {"kafka_topic": self.dead_letters},
        }
        route = {"filter": "devices/+/telemetry", "kafka_topic": self.telemetry}
        for name, section in sections.items():
            if name == "route":
                route |= section
            else:
                whole[name] = {**whole.get(name, {}), **section}
        return {**whole, "route": [route]}

    def spawn(self, **sections: Mapping[str, Any]) -> BridgeProcess:
        """Start a bridge and wait for nothing."""
        return self._start_bridge(self.config(**sections))

    def start(self, **sections: Mapping[str, Any]) -> BridgeProcess:
        """Start a bridge and wait until messages flow."""
        bridge = self.spawn(**sections)
        bridge.wait_ready(QUIET_DEADLINE_S)
        return bridge

    def devices(self, **options: object) -> Publisher:
        """Connect a publisher whose ledger the oracle will read."""
        publisher = self._start_devices(**options)
        self._publishers.append(publisher)
        return publisher

    def await_quiet(self, bridge: BridgeProcess) -> None:
        """Wait until all that was published before now is settled.

        The MQTT broker's queue is first in, first out: once a probe that was published last has
        come through and nothing is in flight, nothing older is on its way.
        """
        if self._prober is None:
            self._prober = self.devices()
        number = len(self._prober.ledger.sent)
        self._prober.publish([telemetry(PROBE, number)], timeout_s=QUIET_DEADLINE_S)
        wanted = f'"sequence":{number},'.encode()
        seen = 0

        def is_there(records: Sequence[ConsumedRecord]) -> bool:
            nonlocal seen
            fresh, seen = records[seen:], len(records)
            return any(
                each.key == PROBE.encode() and wanted in (each.value or b"") for each in fresh
            )

        self.client.consume_all(self.telemetry, until=is_there, deadline_s=QUIET_DEADLINE_S)
        self.await_nothing_in_flight(bridge)

    @staticmethod
    def await_nothing_in_flight(bridge: BridgeProcess) -> None:
        """Wait until Kafka has all that the bridge received; what is on disk is not there yet."""
        eventually(
            lambda: [bridge.metrics().get(f"bridge_messages_{each}") for each in _UNPRODUCED],
            lambda owed: owed == [0, 0],
            what="nothing is in flight, nothing spooled",
            deadline_s=QUIET_DEADLINE_S,
        )

    def read(self) -> Found:
        """Read both topics from end to end."""
        return Found(
            self.client.consume_all(self.telemetry), self.client.consume_all(self.dead_letters)
        )

    def reckon(self, bridge: BridgeProcess | None = None, found: Found | None = None) -> Reckoning:
        """Ask the oracle about everything that this scene's devices ever sent."""
        found = found or self.read()
        reckoning = reckon(
            [each.ledger for each in self._publishers],
            telemetry=found.telemetry,
            dead_letters=found.dead_letters,
            metrics=None if bridge is None else bridge.metrics(),
        )
        report(reckoning)
        return reckoning

    def reckon_when_quiet(self, bridge: BridgeProcess) -> Reckoning:
        """Wait until all is settled, then ask the oracle."""
        self.await_quiet(bridge)
        return self.reckon(bridge)


def told_doubled(bridge: BridgeProcess) -> int:
    """Tell how many records the bridge said to be there twice at most."""
    return sum(each["records_max"] for each in bridge.events("kafka_records_may_be_doubled"))


def assert_nothing_doubled_untold(bridge: BridgeProcess, reckoning: Reckoning) -> None:
    """No record is there twice, but for those that librdkafka doubled and the bridge spoke of.

    For tests in which a broker dies: docs/guarantees.md tells when librdkafka does so.
    """
    told = told_doubled(bridge)
    if not told:
        reckoning.assert_nothing_doubled()
    assert reckoning.duplicates <= told


def await_in_flight(bridge: BridgeProcess, at_least: int) -> int:
    """Wait until so many messages are unsettled; return how many were, the last time asked."""
    return int(
        eventually(
            lambda: bridge.metrics().get("bridge_messages_in_flight", 0.0),
            lambda in_flight: in_flight >= at_least,
            what=f"{at_least} messages are in flight",
            deadline_s=QUIET_DEADLINE_S,
        )
    )


def await_owed(bridge: BridgeProcess, at_least: int) -> int:
    """Wait until Kafka lacks so many messages, in memory or on disk; return how many."""
    return int(
        eventually(
            lambda: (
                bridge.metric("bridge_messages_in_flight")
                + bridge.metric("bridge_messages_spooled")
            ),
            lambda owed: owed >= at_least,
            what=f"{at_least} messages are owed to Kafka",
            deadline_s=QUIET_DEADLINE_S,
        )
    )


def await_received(bridge: BridgeProcess, at_least: int) -> int:
    """Wait until this run of the bridge has received so many messages."""
    return int(
        eventually(
            lambda: bridge.metrics().get("bridge_messages_received_total", 0.0),
            lambda received: received >= at_least,
            what=f"{at_least} messages were received",
            deadline_s=QUIET_DEADLINE_S,
        )
    )


def await_oldest_unsettled(bridge: BridgeProcess, age_s: float) -> None:
    """Wait until a message has been unsettled for so long."""
    eventually(
        lambda: bridge.metrics().get("bridge_oldest_unsettled_seconds", 0.0),
        lambda oldest_s: oldest_s >= age_s,
        what=f"a message is unsettled for {age_s} s",
        deadline_s=QUIET_DEADLINE_S,
    )
