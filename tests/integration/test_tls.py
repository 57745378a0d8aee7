"""TLS to the MQTT broker: the bridge connects to whom it can verify, and to nobody else."""

import getpass
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.scene import Scene
from tests.support.bridge_process import BridgeProcess
from tests.support.certificates import PROJECT, Certificates, make_certificates
from tests.support.devices import telemetry
from tests.support.mosquitto import MosquittoProcess, find_mosquitto
from tests.support.processes import free_port

pytestmark = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")

SHIPPED = PROJECT / "mosquitto"
TLS_LISTENER = """\
listener $port 127.0.0.1
user $user
allow_anonymous true
cafile {directory}/ca.crt
certfile {directory}/server.crt
keyfile {directory}/server.key
"""

StartTls = Callable[[Certificates], MosquittoProcess]
StartBridge = Callable[[dict[str, object]], BridgeProcess]


@pytest.fixture
def start_tls(tmp_path: Path) -> Iterator[StartTls]:
    """Start a Mosquitto with these certificates; killed at the end of the test."""
    started: list[MosquittoProcess] = []

    def start(using: Certificates) -> MosquittoProcess:
        config = TLS_LISTENER.format(directory=using.directory)
        started.append(MosquittoProcess(tmp_path / "tls", config=config))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.kill()


def config_for(port: int, **tls: object) -> dict[str, object]:
    nobody = f"127.0.0.1:{free_port()}"  # No Kafka is needed to refuse a connection.
    return {
        "mqtt": {"host": "localhost", "port": port, "tls": tls},
        "kafka": {"bootstrap_servers": nobody},
    }


def assert_refused(bridge: BridgeProcess, why: str) -> None:
    """Check that it says why, tries again, and never got in."""
    failed = bridge.wait_for_event("mqtt_connect_failed", count=2)
    assert why in failed["reason"].lower(), failed["reason"]
    assert [] == bridge.events("mqtt_connected")
    assert 503 == bridge.wait_not_ready().status


def test_an_expired_server_certificate_is_refused(
    start_tls: StartTls, start_bridge: StartBridge, tmp_path: Path
) -> None:
    expired = make_certificates(tmp_path / "expired", "--devices", "1", "--days", "-1")
    port = start_tls(expired).port

    assert_refused(
        start_bridge(config_for(port, ca_file=expired.ca_file)), "certificate has expired"
    )


def test_a_server_certificate_for_another_host_is_refused(
    start_tls: StartTls, start_bridge: StartBridge, tmp_path: Path
) -> None:
    elsewhere = make_certificates(
        tmp_path / "elsewhere", "--devices", "1", "--server-names", "mqtt.example.org"
    )
    port = start_tls(elsewhere).port

    assert_refused(start_bridge(config_for(port, ca_file=elsewhere.ca_file)), "hostname mismatch")


def test_a_server_name_that_is_expected_may_differ_from_the_host(
    start_tls: StartTls, start_bridge: StartBridge, tmp_path: Path
) -> None:
    elsewhere = make_certificates(
        tmp_path / "elsewhere", "--devices", "1", "--server-names", "mqtt.example.org"
    )
    port = start_tls(elsewhere).port

    bridge = start_bridge(
        config_for(port, ca_file=elsewhere.ca_file, server_name="mqtt.example.org")
    )

    bridge.wait_for_event("mqtt_subscribed")


@pytest.mark.parametrize("trusted", ["another authority", "the system's store"])
def test_a_server_of_an_unknown_authority_is_refused(
    start_tls: StartTls,
    start_bridge: StartBridge,
    certificates: Certificates,
    tmp_path: Path,
    trusted: str,
) -> None:
    foreign = make_certificates(tmp_path / "foreign", "--devices", "1")
    port = start_tls(foreign).port
    tls = {"ca_file": certificates.ca_file} if trusted == "another authority" else {}

    assert_refused(start_bridge(config_for(port, **tls)), "certificate was not accepted")


@pytest.fixture
def tls_1_1_only(certificates: Certificates) -> Iterator[int]:
    """Listen as a broker that knows nothing newer than TLS 1.1; Mosquitto cannot be told so."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")  # Else OpenSSL itself would not do it any more.
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.load_cert_chain(certificates.server.cert_file, certificates.server.key_file)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5.0)
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    continue  # The refusal that the test is about.

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    yield listening.getsockname()[1]
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    serving.join(10.0)


def test_a_broker_that_knows_only_tls_1_1_is_refused(
    tls_1_1_only: int, start_bridge: StartBridge, certificates: Certificates
) -> None:
    bridge = start_bridge(config_for(tls_1_1_only, ca_file=certificates.ca_file))

    assert_refused(bridge, "protocol")


def test_mutual_tls_carries_messages_end_to_end_with_the_shipped_configuration(
    scene: Scene, certificates: Certificates, tmp_path: Path
) -> None:
    port = free_port()
    text = (SHIPPED / "production.conf").read_text(encoding="utf-8")
    for shipped, ours in {
        "\nlistener 8883\n": f"\nlistener {port} 127.0.0.1\n",
        "/mosquitto/certificates/": f"{certificates.directory}/",
        "/mosquitto/config/": f"{SHIPPED}/",
        "/mosquitto/data/": f"{tmp_path}/",
    }.items():
        assert shipped in text
        text = text.replace(shipped, ours)
    path = tmp_path / "production.conf"
    path.write_text(f"{text}\nuser {getpass.getuser()}\n", encoding="utf-8")
    production = MosquittoProcess(tmp_path / "production", config_path=path, port=port)
    production.start()
    try:
        _carry_over_mutual_tls(scene, production, certificates)
    finally:
        production.kill()


def _carry_over_mutual_tls(
    scene: Scene, production: MosquittoProcess, certificates: Certificates
) -> None:
    scene.create_topics()
    ours, device = certificates.bridge, certificates.device("device-1")
    bridge = scene.start(
        mqtt={
            "host": "localhost",
            "port": production.port,
            "client_id": "mqtt-kafka-bridge",
            "tls": {
                "ca_file": certificates.ca_file,
                "cert_file": ours.cert_file,
                "key_file": ours.key_file,
            },
        }
    )
    devices = scene.devices(
        port=production.port,
        host="localhost",
        ca_file=str(certificates.ca_file),
        cert_file=str(device.cert_file),
        key_file=str(device.key_file),
    )

    devices.publish(telemetry("device-1", number) for number in range(300))
    scene.client.consume_all(scene.telemetry, until=300)
    scene.await_nothing_in_flight(bridge)

    reckoning = scene.reckon(bridge)
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()
    assert 300 == reckoning.telemetry
    assert [] == bridge.events("configuration_warned")
