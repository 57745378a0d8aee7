"""Dead letters as a bridge writes them, in a real Kafka, and the commands that read them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Producer

from bridge.config.sections import Route, ValidationSection
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.kafka.record import Instant, Record
from bridge.kafka.rows import rfc3339
from bridge.pipeline.flow import Flow
from bridge.pipeline.policy import Policy
from bridge.pipeline.verdict import Several
from bridge.runtime.clock import instant
from tests.pipeline.given import Packet
from tests.support.bridge_process import to_toml
from tests.support.kafka_choice import ChosenKafka
from tests.support.kafka_client import ConsumedRecord

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND_DEADLINE_S = 120.0
DEVICES = 50
RECALLED = "2.0.3"
_FLUSH_S = 60.0


def reading(number: int, *, firmware: str = RECALLED, temperature: float = 21.5) -> Packet:
    """Make the message of this number; its device is one of fifty."""
    device = f"dev-{number % DEVICES}"
    at = rfc3339(instant().unix_us - 60_000_000 - number)
    body = {
        "device_id": device,
        "timestamp": at,
        "metrics": {"temperature": temperature, "number": number},
        "metadata": {"firmware_version": firmware},
    }
    return Packet(payload=json.dumps(body).encode(), topic=f"devices/{device}/telemetry")


class Ran(msgspec.Struct, frozen=True):
    """What a command has said."""

    code: int
    output: str
    errors: str

    def json(self) -> Any:
        """Read the output."""
        assert not self.code, self.errors
        return json.loads(self.output)


class DlqStand:
    """Two topics, a registry of fifty devices, and a configuration by which all is well today."""

    def __init__(
        self, kafka: ChosenKafka, directory: Path, make_name: Callable[[str], str]
    ) -> None:
        self.kafka = kafka
        self.telemetry = kafka.client.create_topic(make_name("telemetry"), 4)
        self.dead_letters = kafka.client.create_topic(make_name("dlq"), 4)
        self.directory = directory
        registry = "".join(f"[device.dev-{number}]\n" for number in range(DEVICES))
        (directory / "devices.toml").write_text(registry)
        self.config = directory / "bridge.toml"
        self.configure()

    def configure(self, **sections: Mapping[str, Any]) -> None:
        """Write the configuration of today."""
        route = {"filter": "devices/+/telemetry", "kafka_topic": self.telemetry}
        whole = {
            "kafka": {"bootstrap_servers": self.kafka.bootstrap},
            "dead_letter": {"kafka_topic": self.dead_letters},
            "registry": {"file": str(self.directory / "devices.toml")},
            "route": [route],
            **sections,
        }
        self.config.write_text(to_toml(whole))

    def write(self, packets: Iterable[Packet], **validation: Any) -> None:
        """Let a bridge with these rules judge messages, and produce what it made of them."""
        registry = Registry()
        registry.replace({f"dev-{number}": DeviceEntry() for number in range(DEVICES)})
        section = ValidationSection(flagged_copy_interval_s=0, **validation)
        flow = Flow(
            routes=(Route(kafka_topic=self.telemetry),),
            dead_letter_topic=self.dead_letters,
            validation=section,
            entropy=os.urandom,
            policy=Policy.of(section, registry),
        )
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "acks": "all"})
        for record in _carry(flow, packets, instant()):
            producer.produce(
                record.kafka_topic,
                record.value,
                record.key,
                timestamp=record.received.unix_us // 1_000,
                headers=record.headers,  # type: ignore[arg-type]  # list is invariant
            )
            producer.poll(0)
        assert 0 == producer.flush(_FLUSH_S)

    def start(self, *words: str, faults: str = "") -> "subprocess.Popen[bytes]":
        """Run `dlq` as its users do, and wait for nothing."""
        command = [sys.executable, "-m", "bridge", "dlq", *words, "--config", str(self.config)]
        env = {k: v for k, v in os.environ.items() if not k.startswith("BRIDGE_")}
        env |= {"PYTHONPATH": str(REPOSITORY), "BRIDGE_FAULT_POINTS": faults}
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)

    def run(self, *words: str, faults: str = "") -> Ran:
        """Run `dlq` to its end."""
        return finish(self.start(*words, faults=faults))

    def replay(self, *words: str) -> Any:
        """Replay to the end, and give the report."""
        return self.run("replay", "--json", *words).json()

    def read_telemetry(self) -> list[ConsumedRecord]:
        """Read what is committed in the telemetry topic."""
        return self.kafka.client.consume_all(self.telemetry)

    def read_dead_letters(self) -> list[ConsumedRecord]:
        """Read what is committed in the dead letter topic."""
        return self.kafka.client.consume_all(self.dead_letters)


def finish(running: "subprocess.Popen[bytes]") -> Ran:
    """Wait for a command to end; one that never does is killed."""
    with running:
        try:
            output, errors = running.communicate(timeout=COMMAND_DEADLINE_S)
        except subprocess.TimeoutExpired:
            running.kill()
            raise
        return Ran(running.returncode, output.decode(), errors.decode())


def numbers(records: Iterable[ConsumedRecord]) -> list[int]:
    """Give the numbers of readings, in order."""
    return sorted(json.loads(each.value or b"")["metrics"]["number"] for each in records)


def by_place(records: Iterable[ConsumedRecord]) -> list[ConsumedRecord]:
    """Sort by where they lie, since partitions are read side by side."""
    return sorted(records, key=lambda each: (each.partition, each.offset))


def replayed(records: Iterable[ConsumedRecord]) -> list[ConsumedRecord]:
    """Leave out what was not replayed."""
    return [each for each in records if each.header("dlq.replay-of") is not None]


def _carry(flow: Flow, packets: Iterable[Packet], received: Instant) -> Iterator[Record]:
    for outcome in flow.process(list(packets), received):
        records: Sequence[Any] = outcome.records if isinstance(outcome, Several) else [outcome]
        for record in records:
            assert isinstance(record, Record)
            yield record
