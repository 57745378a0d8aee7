"""What the fault tests do over and over: outages, spooled messages, links under levers."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from tests.integration.scene import QUIET_DEADLINE_S, Scene, assert_nothing_doubled_untold
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import Ledger, Publisher
from tests.support.eventually import eventually
from tests.support.kafka_client import ConsumedRecord
from tests.support.kafka_proxy import KafkaProxy
from tests.support.oracle import Reckoning, reckon
from tests.support.tcp_proxy import TcpProxy

SPOOL_AFTER_S: Final = 1.0
"""Shorter than the default, so that a test need not wait for the spool to take over."""
MEMORY_MAX: Final = 200_000_000
"""Resident bytes, whatever the length of an outage."""


class Links(msgspec.Struct, frozen=True):
    """The two links of a bridge."""

    mqtt: TcpProxy
    kafka: KafkaProxy


class Stage(Scene):
    """A scene whose bridge has a spool that takes over soon, and links that may be cut."""

    def __init__(
        self, *parts: Any, start_lean: Callable[..., Publisher], **named_parts: Any
    ) -> None:
        super().__init__(*parts, **named_parts)
        self.links: Links | None = None
        self._start_lean = start_lean

    def config(self, **sections: Mapping[str, Any]) -> dict[str, Any]:
        """Lead the bridge through the links, where there are any."""
        laid: dict[str, Mapping[str, Any]] = {
            **sections,
            "spool": {"after_s": SPOOL_AFTER_S, **sections.get("spool", {})},
        }
        if self.links is not None:
            mqtt, kafka = sections.get("mqtt", {}), sections.get("kafka", {})
            laid["mqtt"] = {"port": self.links.mqtt.port, **mqtt}
            laid["kafka"] = {"bootstrap_servers": self.links.kafka.bootstrap, **kafka}
        return super().config(**laid)

    def start_with(self, config: Mapping[str, Any]) -> BridgeProcess:
        """Start a bridge with a configuration that `config` was only the beginning of."""
        bridge = self._start_bridge(config)
        bridge.wait_ready(QUIET_DEADLINE_S)
        return bridge

    def lean(self, **options: int) -> Publisher:
        """Connect a publisher for high rates whose ledger the oracle will read."""
        publisher = self._start_lean(**options)
        self._publishers.append(publisher)
        return publisher

    def beside(self, **options: int) -> Publisher:
        """Connect a publisher that the oracle of this stage does not read."""
        return self._start_lean(**options)

    def prove(self, bridge: BridgeProcess) -> Reckoning:
        """Wait until all is in Kafka, then let the oracle speak: lost, out of order 0.

        Doubled 0 too, but for what librdkafka did and the bridge told.
        """
        self.await_quiet(bridge)
        await_drained(bridge)
        reckoning = self.reckon(bridge)
        reckoning.assert_holds()
        assert_nothing_doubled_untold(bridge, reckoning)
        return reckoning


def reckon_topic(ledger: Ledger, telemetry: list[ConsumedRecord]) -> Reckoning:
    """Ask the oracle about one topic of several: the ledger is of the devices that write there."""
    return reckon([ledger], telemetry=telemetry, dead_letters=[])


def await_metric(
    bridge: BridgeProcess,
    name: str,
    holds: Callable[[float], object],
    *,
    deadline_s: float = QUIET_DEADLINE_S,
) -> float:
    """Wait until a metric of one series is as it should be; return it."""
    seen = eventually(
        lambda: bridge.metrics().get(name),
        lambda value: value is not None and holds(value),
        what=f"{name} is as expected",
        deadline_s=deadline_s,
        poll_s=0.05,
    )
    assert seen is not None
    return seen


def await_spooled(bridge: BridgeProcess, at_least: int) -> int:
    """Wait until so many messages are acknowledged, on disk and not in Kafka."""
    return int(await_metric(bridge, "bridge_messages_spooled", lambda count: count >= at_least))


def await_drained(bridge: BridgeProcess, deadline_s: float = QUIET_DEADLINE_S) -> None:
    """Wait until the spool is empty and nothing is in flight."""
    eventually(
        lambda: _left(bridge.metrics()),
        lambda left: left == (0.0, 0.0),
        what="spool and window are empty",
        deadline_s=deadline_s,
        poll_s=0.05,
    )


def _left(metrics: Mapping[str, float]) -> tuple[float | None, float | None]:
    return metrics.get("bridge_messages_spooled"), metrics.get("bridge_messages_in_flight")


def spool_path(bridge: BridgeProcess) -> str:
    """Return the database of the spool."""
    return str(bridge.directory / "state" / "spool.sqlite3")


def live_status(bridge: BridgeProcess) -> int | None:
    """Ask /health/live once."""
    answer = bridge.get("/health/live")
    return None if answer is None else answer.status


def stopped_event(bridge: BridgeProcess) -> dict[str, Any]:
    """Return the last event of the last run."""
    return bridge.events("bridge_stopped")[-1]
