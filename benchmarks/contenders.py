"""The programs that are compared: each a process of its own, started the way its users start it."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.figures import (
    BASELINE,
    BASELINE_PROMPT,
    CONTENDERS,
    EVERYTHING,
    FLOOR,
    OURS,
    PROMISE,
    PROMISE_PROMPT,
    RIVALS,
)
from benchmarks.profiles import everything, promise, write_registry
from benchmarks.rivals import Rival, is_here
from benchmarks.terms import TOPIC_FILTER, Terms
from bridge.runtime.event_loop import VARIABLE
from tests.support.bridge_process import BridgeProcess
from tests.support.eventually import eventually
from tests.support.kafka_client import ConsumedRecord
from tests.support.processes import ChildProcess

_REPOSITORY: Final = Path(__file__).resolve().parents[1]
_STOP_S: Final = 40.0


def bridge_config(terms: Terms) -> dict[str, Any]:
    """Write the configuration of a bridge as shipped that works on these terms."""
    return {
        "mqtt": {"port": terms.mqtt_port, "client_id": terms.client_id},
        "kafka": {"bootstrap_servers": terms.bootstrap_servers},
        "route": [{"filter": TOPIC_FILTER, "kafka_topic": terms.kafka_topic}],
        "dead_letter": {"kafka_topic": terms.dead_letter_topic},
        "limits": {},  # As shipped; tests have none unless they say so.
    }


class BridgeContender:
    """`python -m bridge run --config FILE`: the production path, everything on by default."""

    def __init__(
        self, directory: Path, terms: Terms, sections: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self._bridge = BridgeProcess(directory, {**bridge_config(terms), **(sections or {})})
        if VARIABLE in os.environ:
            self._bridge.env = {**self._bridge.env, VARIABLE: os.environ[VARIABLE]}
        self.process: ChildProcess = self._bridge

    def start(self) -> None:
        """Start it; it connects by itself."""
        self._bridge.start()

    def await_settled(self) -> None:
        """Wait until it owes nothing; asked only when Kafka has all, since asking costs CPU."""
        eventually(
            lambda: self._bridge.metrics().get("bridge_messages_in_flight"),
            lambda in_flight: in_flight == 0,
            what="the bridge has nothing in flight",
        )

    def stop(self) -> None:
        """Stop it; its exit code says whether its books are balanced."""
        code = self._bridge.stop(_STOP_S)
        assert code == 0, f"the bridge ended with {code}:\n{self._bridge.output()[-2_000:]}"

    def fault_of(self, record: ConsumedRecord) -> str:
        """Say what is wrong with a record; empty where nothing is."""
        return _fault_of_ours(record)


class ModuleContender:
    """A module of the benchmarks: what it owes shows only in Kafka."""

    def __init__(self, directory: Path, terms: Terms, module: str) -> None:
        self.process = ChildProcess(module, directory / f"{module}.log")
        self._directory = directory
        self._command = [sys.executable, "-m", f"benchmarks.{module}", *terms.as_arguments()]

    def start(self) -> None:
        """Start it; it connects by itself."""
        environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY), "PYTHONUNBUFFERED": "1"}
        self.process.spawn(self._command, cwd=self._directory, env=environment)

    def await_settled(self) -> None:
        """Ask nothing: Kafka has all, and nothing else is known."""

    def stop(self) -> None:
        """Stop it."""
        self.process.stop(_STOP_S)

    def fault_of(self, record: ConsumedRecord) -> str:
        """Say what is wrong with a record; empty where nothing is."""
        return _fault_of_ours(record)


def _fault_of_ours(record: ConsumedRecord) -> str:
    names = sorted(name for name, _ in record.headers)
    if names != ["content-type", "idempotency-key"]:
        return f"it has the headers {names}"
    assert record.value is not None
    device_id = msgspec.json.decode(record.value)["device_id"]
    return "" if record.key == device_id.encode() else f"it has the key {record.key!r}"


Contender = BridgeContender | ModuleContender | Rival


def contenders_here() -> list[str]:
    """Name those that can be measured on this machine."""
    return [*OURS, *filter(is_here, RIVALS)]


def make_contender(name: str, directory: Path, terms: Terms) -> Contender:
    """Make the contender of this name."""
    directory.mkdir(parents=True, exist_ok=True)
    if name == PROMISE:
        return BridgeContender(directory, terms, promise())
    if name == PROMISE_PROMPT:
        link = {**bridge_config(terms)["mqtt"], "rest_ms": 0}
        return BridgeContender(directory, terms, {**promise(), "mqtt": link})
    if name == EVERYTHING:
        registry = directory / "devices.toml"
        write_registry(registry)
        return BridgeContender(directory, terms, everything(registry))
    if name in {BASELINE, BASELINE_PROMPT, FLOOR}:
        return ModuleContender(directory, terms, name)
    if name in RIVALS:
        return Rival(name, directory, terms)
    raise ValueError(f'contender "{name}" is none of {", ".join(CONTENDERS)}')
