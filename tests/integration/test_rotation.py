"""Certificates of both links renewed under load, by file and live; nothing is lost or doubled."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.scene import Scene, await_received
from tests.support.bridge_process import BridgeProcess, Config
from tests.support.certificates import Certificates, Identity, make_certificates
from tests.support.devices import DevicePublisher, fleet
from tests.support.eventually import eventually
from tests.support.kafka_cluster import AUTHORIZER, KafkaProcess
from tests.support.mosquitto import DEFAULT_CONFIG, MosquittoProcess
from tests.support.processes import free_port

RATE_PER_S = 2_000.0
SECOND = "second-bridge"
MUTUAL = """\

listener {port} 127.0.0.1
allow_anonymous true
cafile {directory}/ca.crt
certfile {directory}/server.crt
keyfile {directory}/server.key
require_certificate true
use_identity_as_username true
"""


class Secured:
    """A Kafka and a Mosquitto that want a certificate of the bridge, and the files it has."""

    def __init__(self, directory: Path) -> None:
        self.old = make_certificates(directory / "pki", "--devices", "1")
        make_certificates(directory / "pki", "--devices", "1", "--bridge", SECOND)
        self.authority = self.old.directory / "ca.crt"
        self.new = Identity(
            self.old.directory / f"{SECOND}.crt", self.old.directory / f"{SECOND}.key"
        )
        self.ssl_port = free_port()
        self.kafka = self._kafka(directory / "kafka")
        self.live = directory / "live"
        self.live.mkdir()
        self.mqtt_tls_port = free_port()

    def _kafka(self, directory: Path) -> KafkaProcess:
        directory.mkdir()
        keystore = directory / "server.pem"
        server = self.old.server
        keystore.write_bytes(server.key_file.read_bytes() + server.cert_file.read_bytes())
        port, controller = free_port(), free_port()
        return KafkaProcess(
            directory,
            port=port,
            controllers=[(1, controller)],
            properties={
                **AUTHORIZER,
                "super.users": "User:ANONYMOUS",
                "listeners": f"PLAINTEXT://127.0.0.1:{port},SSL://127.0.0.1:{self.ssl_port},"
                f"CONTROLLER://127.0.0.1:{controller}",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SSL:SSL,"
                "CONTROLLER:PLAINTEXT",
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(keystore),
                "ssl.truststore.type": "PEM",
                "ssl.truststore.location": str(self.authority),
                "ssl.client.auth": "required",
            },
        )

    def install(self, link: str, identity: Identity) -> None:
        """Put certificate and key where the bridge looks for them, as certbot does it."""
        for source, name in ((identity.cert_file, "crt"), (identity.key_file, "key")):
            beside = self.live / "beside"
            shutil.copy(source, beside)
            beside.replace(self.live / f"{link}.{name}")

    def config(self, scene: Scene) -> Config:
        mqtt = {"ca_file": self.authority, **self._files("mqtt", "cert_file", "key_file")}
        kafka = self._files("kafka", "ssl.certificate.location", "ssl.key.location")
        return scene.config(
            mqtt={"host": "localhost", "port": self.mqtt_tls_port, "tls": mqtt},
            kafka={
                "bootstrap_servers": f"127.0.0.1:{self.ssl_port}",
                "properties": {
                    "security.protocol": "SSL",
                    "ssl.ca.location": self.authority,
                    **kafka,
                },
            },
        )

    def _files(self, link: str, certificate: str, key: str) -> dict[str, str]:
        return {
            certificate: str(self.live / f"{link}.crt"),
            key: str(self.live / f"{link}.key"),
        }

    def forbid(self, identity: Identity, *topics: str) -> None:
        """Take from this identity the right to write, and leave it to all others."""
        for topic in topics:
            principal = f"User:{_name_of(identity)}"
            self.kafka.client.deny_write(topic, principal, others="User:*")


def _name_of(identity: Identity) -> str:
    """Return the Distinguished Name as Kafka writes it."""
    command = ["openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in"]
    printed = subprocess.run(
        [*command, identity.cert_file], capture_output=True, text=True, check=True
    ).stdout
    return printed.strip().removeprefix("subject=")


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    made = Secured(tmp_path_factory.mktemp("secured"))
    made.kafka.start()
    yield made
    made.kafka.remove()


@pytest.fixture
def secured_scene(
    secured: Secured,
    tmp_path: Path,
    unique_name: Callable[[str], str],
    start_bridge: Callable[[Config], BridgeProcess],
) -> Iterator[Scene]:
    extra = MUTUAL.format(port=secured.mqtt_tls_port, directory=secured.old.directory)
    broker = MosquittoProcess(tmp_path / "mutual", config=DEFAULT_CONFIG, extra=extra)
    broker.start()
    publishers: list[DevicePublisher] = []

    def start_devices(**options: object) -> DevicePublisher:
        publishers.append(DevicePublisher(broker.port, **options))  # type: ignore[arg-type]
        publishers[-1].connect()
        return publishers[-1]

    scene = Scene(
        broker,
        secured.kafka.client,
        make_name=unique_name,
        start_bridge=start_bridge,
        start_devices=start_devices,
    )
    scene.create_topics(partitions=8)
    for link in ("mqtt", "kafka"):
        secured.install(link, secured.old.bridge)
    yield scene
    for each in publishers:
        each.close()
    broker.kill()


@pytest.mark.slow
def test_certificates_of_both_links_are_renewed_under_load(
    secured: Secured, secured_scene: Scene, start_bridge: Callable[[Config], BridgeProcess]
) -> None:
    scene = secured_scene
    bridge = start_bridge(secured.config(scene))
    bridge.wait_ready(60.0)
    devices = scene.devices(window=1_000)
    devices.start(fleet(100), rate_per_s=RATE_PER_S)
    await_received(bridge, 4_000)

    secured.install("kafka", secured.new)
    bridge.wait_for_event("configuration_reloaded", renewed=["kafka"])
    secured.install("mqtt", secured.new)
    bridge.wait_for_event("configuration_reloaded", renewed=["mqtt"])
    # From here on the old certificate would get nothing through.
    secured.forbid(secured.old.bridge, scene.telemetry, scene.dead_letters)
    await_received(bridge, int(bridge.metric("bridge_messages_received_total")) + 8_000)
    devices.stop()

    reckoning = scene.reckon_when_quiet(bridge)
    reckoning.assert_holds()
    assert 0 == reckoning.duplicates
    assert [] == bridge.events("kafka_topic_held")
    assert 0 == bridge.metric("bridge_producer_rebuilds_total")
    assert 1 == bridge.metric("bridge_mqtt_connections_total", reason="renewed")
    connections = [
        line
        for line in scene.mosquitto.output().splitlines()
        if "New client connected" in line and scene.client_id in line
    ]
    assert [False, True] == [f"u'{SECOND}'" in line for line in connections]


def test_half_a_pair_is_refused_and_the_connection_stays(
    secured: Secured, secured_scene: Scene, start_bridge: Callable[[Config], BridgeProcess]
) -> None:
    bridge = start_bridge(secured.config(secured_scene))
    bridge.wait_ready(60.0)

    shutil.copy(secured.new.cert_file, secured.live / "mqtt.crt")

    (problem,) = bridge.wait_for_event("reload_refused", cause="file")["problems"]
    assert "mqtt.tls" in problem
    assert 1 == len(bridge.events("mqtt_connected"))
    secured.install("mqtt", secured.new)
    bridge.wait_for_event("configuration_reloaded", renewed=["mqtt"])
    eventually(
        lambda: len(bridge.events("mqtt_connected")), lambda made: made == 2, what="connected anew"
    )


def test_an_authority_that_does_not_vouch_for_kafka_is_not_taken(
    secured: Secured,
    secured_scene: Scene,
    start_bridge: Callable[[Config], BridgeProcess],
    certificates: Certificates,
) -> None:
    scene = secured_scene
    authority = secured.live / "authority.crt"
    shutil.copy(secured.authority, authority)
    config = dict(secured.config(scene))
    config["kafka"]["properties"]["ssl.ca.location"] = authority
    bridge = start_bridge(config)
    bridge.wait_ready(60.0)

    shutil.copy(certificates.ca_file, authority)

    failed = bridge.wait_for_event("kafka_renewal_failed", deadline_s=60.0)
    assert failed["error"]
    scene.reckon_when_quiet(bridge).assert_holds()
    shutil.copy(secured.authority, authority)
    bridge.wait_for_event("kafka_producer_renewed", deadline_s=60.0)
