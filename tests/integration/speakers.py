"""Devices that go on speaking, each twice a second or so, and fall silent when they are told to."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.devices import DeviceMessage, Publisher
from tests.support.eventually import eventually
from tests.support.kafka_client import KafkaClient

INTERVAL_S = 2.0
SILENCE: dict[str, Any] = {"expected_interval_s": INTERVAL_S, "multiplier": 3.0}
"""Silent after six seconds: long enough that two busy cores make nobody silent."""
MQTT: dict[str, Any] = {"keep_alive_s": 2}
PER_S = 2.0
FILLER = DeviceMessage(topic="nobody/listens", payload=b"", qos=0)
"""Sent in the place of a silent device, so that the pace of the others stays."""


class Speakers:
    """Some devices, speaking in turn in a thread."""

    def __init__(
        self,
        publisher: Publisher,
        device_ids: Iterable[str],
        *,
        sites: Sequence[str] = ("devices",),
    ) -> None:
        """With several `sites` each message goes to the next one."""
        self.speaking = dict.fromkeys(device_ids, 0.0)
        """Each with how much its clock is ahead."""
        self._publisher = publisher
        self._sequence = itertools.count()
        self._count = len(self.speaking)
        self._sites = itertools.cycle(sites)

    def __enter__(self) -> Self:
        self._publisher.start(self._messages(), rate_per_s=PER_S * self._count)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._publisher.stop()

    def silence(self, *device_ids: str) -> None:
        self.speaking = {k: v for k, v in self.speaking.items() if k not in device_ids}

    def wake(self, *device_ids: str, ahead_s: float = 0.0) -> None:
        self.speaking = {**self.speaking, **dict.fromkeys(device_ids, ahead_s)}

    def _messages(self) -> Iterator[DeviceMessage]:
        while True:
            for device_id, ahead_s in list(self.speaking.items()):
                yield reading(device_id, next(self._sequence), ahead_s, next(self._sites))
            for _ in range(self._count - len(self.speaking)):
                yield FILLER


def reading(device_id: str, number: int, ahead_s: float, site: str) -> DeviceMessage:
    at = datetime.now(UTC) + timedelta(seconds=ahead_s)
    body = {
        "device_id": device_id,
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "metrics": {"sequence": number, "temperature": 21.5},
    }
    return DeviceMessage(topic=f"{site}/{device_id}/telemetry", payload=json.dumps(body).encode())


class Mortal:
    """A device with a last will, that can die without a word."""

    def __init__(self, device_id: str, port: int) -> None:
        self.device_id = device_id
        self._port = port
        self._client = self._make()

    def _make(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2, f"mortal-{self.device_id}", protocol=paho.MQTTv5
        )
        client.will_set(f"devices/{self.device_id}/status", b"offline", qos=1)
        return client

    def live(self) -> None:
        """Connect and say that it is there."""
        self._client = self._make()
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        said = self._client.publish(f"devices/{self.device_id}/status", b'{"status": "online"}', 1)
        said.wait_for_publish(30.0)

    def die(self) -> None:
        """Let the connection end without DISCONNECT, so that the will is published."""
        self._client.loop_stop()
        connection = self._client.socket()
        assert connection is not None
        connection.close()


class Alerts:
    """The topic of the alerts, and what lies in it."""

    def __init__(self, client: KafkaClient, kafka_topic: str) -> None:
        self.kafka_topic = client.create_topic(kafka_topic, 2)
        self._client = client

    def records(self) -> list[dict[str, Any]]:
        """Give all alerts by the time at which they were noticed."""
        found = [
            json.loads(each.value or b"") for each in self._client.consume_all(self.kafka_topic)
        ]
        return sorted(found, key=lambda each: str(each["at"]))

    def told(self) -> list[tuple[str, str]]:
        """Give type and device, sorted."""
        return sorted((each["type"], each.get("device_id", "")) for each in self.records())

    def await_told(self, *wanted: tuple[str, str], deadline_s: float = 60.0) -> None:
        """Wait until these alerts are there, or others are besides."""

        def look() -> list[tuple[str, str]]:
            return self.told()

        seen = eventually(
            look,
            lambda told: len(told) >= len(wanted),
            what=f"alerts {wanted}",
            deadline_s=deadline_s,
            poll_s=0.2,
        )
        assert sorted(wanted) == seen


def with_presence(config: Mapping[str, Any], kafka_topic: str) -> dict[str, Any]:
    """Add a route on which devices and wills say whether they are there."""
    status = {
        "filter": "devices/+/status",
        "kafka_topic": kafka_topic,
        "kind": "opaque",
        "presence": True,
    }
    return {**config, "route": [*config["route"], status]}
