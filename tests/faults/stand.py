"""What a campaign runs against: brokers of its own, or an operator's; the bridge between links.

Its own: Mosquitto with the configuration that is shipped for production (mutual TLS, access rules,
a certificate for each device), and one Kafka. An operator's: any two addresses of a test cluster;
topics of a name that nobody else has are made there and deleted again, devices publish below a
topic of that name, and nothing of the operator's is ever stopped.
"""

import secrets
import socket
import ssl
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import msgspec

from tests.faults.numbered import Load, Marks
from tests.support import kafka_artefacts
from tests.support.bridge_process import BridgeProcess
from tests.support.certificates import Certificates, make_certificates
from tests.support.kafka_client import KafkaClient
from tests.support.kafka_cluster import KafkaProcess
from tests.support.kafka_proxy import KafkaProxy
from tests.support.lean_publisher import LeanPublisher
from tests.support.mosquitto import MosquittoProcess
from tests.support.shipped import as_shipped
from tests.support.tcp_proxy import TcpProxy

DEVICES = 12
PUBLISHERS_OF_A_GIVEN_CLUSTER = 4
PARTITIONS = 6
CONNECT_TIMEOUT_S = 10.0


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """A test cluster of the operator's own."""

    mqtt: tuple[str, int]
    kafka: str
    mqtt_username: str | None = None
    mqtt_password_file: Path | None = None
    mqtt_ca_file: Path | None = None
    kafka_username: str | None = None
    kafka_password_file: Path | None = None
    kafka_properties: Mapping[str, str] = {}

    def assert_there(self) -> None:
        """Look whether somebody listens, before anything waits for it.

        Raises:
            ConnectionError: there is no Kafka, or nobody accepts connections for MQTT.
        """
        host, port = self.mqtt
        try:
            socket.create_connection(self.mqtt, timeout=CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise ConnectionError(f"no MQTT broker at {host}:{port}: {error}") from error
        if KafkaClient(self.kafka, self.client_properties()).brokers_up() == 0:
            raise ConnectionError(f"no Kafka answers at {self.kafka}")

    @property
    def mqtt_password(self) -> str | None:
        """Read the password of the devices."""
        return _secret(self.mqtt_password_file)

    def mqtt_section(self) -> dict[str, Any]:
        """Return what the bridge's [mqtt] needs beyond the address."""
        section: dict[str, Any] = {}
        if self.mqtt_username is not None:
            section["username"] = self.mqtt_username
        if self.mqtt_password_file is not None:
            section["password"] = {"file": str(self.mqtt_password_file.resolve())}
        if self.mqtt_ca_file is not None:  # The bridge connects to a port of the proxy.
            files = {"ca_file": str(self.mqtt_ca_file.resolve()), "server_name": self.mqtt[0]}
            section["tls"] = files
        return section

    def kafka_section(self) -> dict[str, Any]:
        """Return what the bridge's [kafka] needs beyond the address."""
        section: dict[str, Any] = {}
        if self.kafka_username is not None:
            section["username"] = self.kafka_username
        if self.kafka_password_file is not None:
            section["password"] = {"file": str(self.kafka_password_file.resolve())}
        if self.kafka_properties:
            section["properties"] = dict(self.kafka_properties)
        return section

    def client_properties(self) -> dict[str, str]:
        """Return what the oracle's own Kafka client needs."""
        properties = dict(self.kafka_properties)
        if self.kafka_username is not None:
            properties["sasl.username"] = self.kafka_username
        if (password := _secret(self.kafka_password_file)) is not None:
            properties["sasl.password"] = password
        return properties


class Stand:
    """Everything that runs; `with` starts it and ends it."""

    def __init__(self, directory: Path, *, given: Given | None, keys_max: int = 1_000_000) -> None:
        self.given = given
        self._keys_max = keys_max
        self.mosquitto: MosquittoProcess | None = None
        self.kafka: KafkaProcess | None = None
        self._directory = directory
        self._stack = ExitStack()
        self._name = f"bridge-faults-{secrets.token_hex(4)}"
        self._certificates: Certificates | None = None

    def __enter__(self) -> Self:
        """Start brokers, links, topics and the bridge."""
        with ExitStack() as stack:
            self._stack = stack
            self._start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything; topics on an operator's cluster are deleted."""
        self._stack.close()

    # ------------------------------------------------------------------ start

    def _start(self) -> None:
        (mqtt_host, mqtt_port), bootstrap, properties = self._brokers()
        self.client = KafkaClient(bootstrap, properties)
        self.telemetry = self._make_topic("telemetry")
        self.dead_letters = self._make_topic("dead-letters")
        self.mqtt_link = TcpProxy((mqtt_host, mqtt_port)).start()
        self._stack.callback(self.mqtt_link.close)
        self.kafka_link: KafkaProxy | None = None
        if not _is_encrypted(properties):
            self.kafka_link = KafkaProxy(bootstrap).start()
            self._stack.callback(self.kafka_link.close)
        self.load = self._make_load()
        kafka_address = bootstrap if self.kafka_link is None else self.kafka_link.bootstrap
        self.bridge = BridgeProcess(
            self._directory / "bridge", self._config(mqtt_host, kafka_address)
        )
        self._stack.callback(self.bridge.kill)
        self.bridge.start()
        self.bridge.wait_ready(120.0)
        self.ledgers: list[Marks] = []
        self.publishers = self._connect_publishers((mqtt_host, mqtt_port))

    def _brokers(self) -> tuple[tuple[str, int], str, Mapping[str, str]]:
        if self.given is not None:
            self.given.assert_there()
            return self.given.mqtt, self.given.kafka, self.given.client_properties()
        kafka_artefacts.fetch()
        self.kafka = KafkaProcess(self._directory / "kafka")
        self._stack.callback(self.kafka.remove)
        self.kafka.start()
        place = self._directory / "certificates"
        place.mkdir(parents=True)
        self._certificates = make_certificates(place, "--devices", str(DEVICES))
        options = as_shipped(self._certificates, self._directory / "mosquitto")
        self.mosquitto = MosquittoProcess(self._directory / "mosquitto", **options)
        self._stack.callback(self.mosquitto.kill)
        self.mosquitto.start()
        return ("localhost", self.mosquitto.port), self.kafka.bootstrap, {}

    def _make_topic(self, kind: str) -> str:
        replicas = 1 if self.given is None else -1  # The cluster's own default.
        topic = self.client.create_topic(
            f"{self._name}-{kind}", PARTITIONS, replication_factor=replicas
        )
        if self.given is not None:
            self._stack.callback(self.client.delete_topic, topic)
        return topic

    def _make_load(self) -> Load:
        # The shipped access rules let a device publish to devices/<its name>/telemetry alone.
        ids = [f"device-{number + 1}" for number in range(DEVICES)]
        topic = "devices/{}/telemetry" if self.given is None else f"{self._name}/{{}}/telemetry"
        return Load(ids, topic=topic, began_at=datetime.now(UTC))

    def _config(self, mqtt_host: str, kafka_address: str) -> dict[str, Any]:
        mqtt: dict[str, Any] = {
            "port": self.mqtt_link.port,
            "client_id": self._name,
            "keep_alive_s": 5,
        }
        kafka: dict[str, Any] = {"bootstrap_servers": kafka_address}
        if self.given is not None:
            mqtt |= self.given.mqtt_section()
            kafka |= self.given.kafka_section()
        if self._certificates is not None:
            ours = self._certificates.bridge
            files = {
                "ca_file": self._certificates.ca_file,
                "cert_file": ours.cert_file,
                "key_file": ours.key_file,
            }
            mqtt |= {"host": mqtt_host, "client_id": "mqtt-kafka-bridge", "tls": files}
        topic_filter = self.load.message(0, 0).topic.replace(self.load.device_ids[0], "+")
        return {
            "mqtt": mqtt,
            "kafka": kafka,
            "dead_letter": {"kafka_topic": self.dead_letters},
            "spool": {"after_s": 2.0},
            "dedup": {"keys_max": self._keys_max},
            "route": [{"filter": topic_filter, "kafka_topic": self.telemetry}],
        }

    def _connect_publishers(self, address: tuple[str, int]) -> list[LeanPublisher]:
        host, port = address
        publishers: list[LeanPublisher] = []
        for number in range(self.publisher_count):
            publisher = self._make_publisher(host, port, number)
            marks = Marks()
            publisher.ledger = marks.as_ledger()
            self.ledgers.append(marks)
            self._stack.callback(publisher.close)
            publisher.connect()
            publishers.append(publisher)
        return publishers

    def _make_publisher(self, host: str, port: int, number: int) -> LeanPublisher:
        if self._certificates is not None:
            device = self._certificates.device(self.load.device_ids[number])
            tls = self._certificates.client_context(device)
            return LeanPublisher(port, host=host, window=200, tls=tls)
        given = self.given
        assert given is not None, "neither a cluster of its own nor a given one"
        trusted = given.mqtt_ca_file
        return LeanPublisher(
            port,
            host=host,
            window=200,
            username=given.mqtt_username,
            password=given.mqtt_password,
            tls=None if trusted is None else ssl.create_default_context(cafile=trusted),
        )

    # ------------------------------------------------------------------ load

    @property
    def publisher_count(self) -> int:
        """Count the publishers: with certificates each device has a connection of its own."""
        return DEVICES if self.given is None else PUBLISHERS_OF_A_GIVEN_CLUSTER

    def start_load(self, rate_per_s: float) -> None:
        """Let all devices speak, at this rate together."""
        share = DEVICES // self.publisher_count
        for number, publisher in enumerate(self.publishers):
            devices = range(number * share, (number + 1) * share)
            publisher.start(self.load.speak(devices), rate_per_s=rate_per_s / self.publisher_count)

    def stop_load(self) -> None:
        """Let nobody say anything new, and wait until the MQTT broker has answered everything."""
        for publisher in self.publishers:
            publisher.stop(120.0)


def _secret(path: Path | None) -> str | None:
    return None if path is None else path.read_text(encoding="utf-8").removesuffix("\n")


def _is_encrypted(properties: Mapping[str, str]) -> bool:
    return "ssl" in properties.get("security.protocol", "").lower()
