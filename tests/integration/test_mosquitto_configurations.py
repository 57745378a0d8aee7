"""The Mosquitto configurations as they are shipped, and what they let a device do.

Only ports, paths and the system user are replaced; every other line is the file's own. The devices
are paho clients, so nothing of the bridge judges itself here.
"""

import getpass
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import PROJECT, Certificates, Identity, make_certificates
from tests.support.eventually import eventually
from tests.support.mosquitto import MosquittoProcess
from tests.support.mqtt_client import ANSWER_S, SUCCESS, Client
from tests.support.processes import free_port

SHIPPED = PROJECT / "mosquitto"
NO_MATCHING_SUBSCRIBERS, NOT_AUTHORIZED = 0x10, 0x87
BRIDGE = "mqtt-kafka-bridge"

StartProduction = Callable[..., MosquittoProcess]
ConnectClient = Callable[..., Client]


def _as_shipped(name: str, directory: Path, replacements: dict[str, str]) -> Path:
    """Write the shipped file with the values of this machine, each found exactly where it was."""
    text = (SHIPPED / name).read_text(encoding="utf-8")
    for shipped, ours in replacements.items():
        assert text.count(f"\n{shipped}") == 1, f"{name}: {shipped!r} is not there once"
        text = text.replace(f"\n{shipped}", f"\n{ours}")
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(f"{text}\nuser {getpass.getuser()}\n", encoding="utf-8")
    return path


@pytest.fixture
def start_production(tmp_path: Path, certificates: Certificates) -> Iterator[StartProduction]:
    """Start Mosquitto with production.conf; killed at the end of the test."""
    started: list[MosquittoProcess] = []

    def start(
        using: Certificates = certificates, also: dict[str, str] | None = None
    ) -> MosquittoProcess:
        directory = tmp_path / f"mosquitto-{len(started)}"
        port = free_port()
        replacements = {
            "listener 8883\n": f"listener {port} 127.0.0.1\n",
            "cafile /mosquitto/certificates/": f"cafile {using.directory}/",
            "certfile /mosquitto/certificates/": f"certfile {using.directory}/",
            "keyfile /mosquitto/certificates/": f"keyfile {using.directory}/",
            "acl_file /mosquitto/config/": f"acl_file {SHIPPED}/",
            "persistence_location /mosquitto/data/": f"persistence_location {directory}/",
            **(also or {}),
        }
        path = _as_shipped("production.conf", directory, replacements)
        mosquitto = MosquittoProcess(directory, config_path=path, port=port)
        started.append(mosquitto)
        mosquitto.start()
        return mosquitto

    yield start
    for mosquitto in started:
        mosquitto.kill()


@pytest.fixture
def connect(certificates: Certificates) -> Iterator[ConnectClient]:
    """Connect as the owner of a certificate; disconnected at the end of the test."""
    clients: list[Client] = []

    def connect_as(
        identity: Identity,
        mosquitto: MosquittoProcess,
        client_id: str = "any",
        *,
        kept: bool = False,
    ) -> Client:
        client = Client(client_id, kept=kept)
        clients.append(client)
        assert client.connect(mosquitto.port, certificates.client_context(identity)) == SUCCESS
        return client

    yield connect_as
    for client in clients:
        client.disconnect()


def _refusal_of(port: int, context: ssl.SSLContext, host: str = "localhost") -> str:
    """Return why TLS failed, on either side; in TLS 1.3 the server's no comes after our yes."""
    with (
        pytest.raises(ssl.SSLError) as raised,
        socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        connection.recv(1)
    return str(raised.value).lower().replace("_", " ")


# --- development.conf


def test_the_development_configuration_serves_a_client_without_any_credentials(
    tmp_path: Path,
) -> None:
    port = free_port()
    replacements = {"listener 1883 ": f"listener {port} "}
    path = _as_shipped("development.conf", tmp_path, replacements)
    mosquitto = MosquittoProcess(tmp_path, config_path=path, port=port)
    client = Client("developer")

    mosquitto.start()
    try:
        assert client.connect(port, None) == SUCCESS
        assert client.subscribe("devices/+/telemetry") == 1
        assert client.publish("devices/device-1/telemetry", b"{}") == SUCCESS
        assert client.receive() == ("devices/device-1/telemetry", b"{}")
    finally:
        client.disconnect()
        mosquitto.kill()


# --- production.conf: rights


def test_what_a_device_publishes_to_its_own_topic_reaches_the_bridge(
    start_production: StartProduction, connect: ConnectClient, certificates: Certificates
) -> None:
    mosquitto = start_production()
    bridge = connect(certificates.bridge, mosquitto)
    bridge.subscribe("devices/+/telemetry")
    device = connect(certificates.device("device-1"), mosquitto)

    reason_code = device.publish("devices/device-1/telemetry", b"mine")

    assert reason_code == SUCCESS
    assert bridge.receive() == ("devices/device-1/telemetry", b"mine")


@pytest.mark.parametrize("claimed", ["any", "device-2", BRIDGE])
def test_a_device_cannot_publish_to_another_devices_topic_whatever_client_id_it_claims(
    start_production: StartProduction,
    connect: ConnectClient,
    certificates: Certificates,
    claimed: str,
) -> None:
    mosquitto = start_production()
    bridge = connect(certificates.bridge, mosquitto)
    bridge.subscribe("devices/+/telemetry")
    device = connect(certificates.device("device-1"), mosquitto, claimed)

    reason_code = device.publish("devices/device-2/telemetry", b"forged")
    device.publish("devices/device-1/telemetry", b"mine")

    assert reason_code == NOT_AUTHORIZED
    assert bridge.receive() == ("devices/device-1/telemetry", b"mine")


def _with_password(passwords: Path) -> dict[str, str]:
    """Make the changes that production.conf names for passwords; device-1 has one."""
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", passwords, "device-1", "correct horse"],
        check=True,
        capture_output=True,
        timeout=ANSWER_S,
    )
    return {
        "require_certificate true": "require_certificate false",
        "use_identity_as_username true": "use_identity_as_username false",
        "#password_file /mosquitto/config/passwords": f"password_file {passwords}",
    }


def test_a_device_with_a_password_cannot_publish_to_another_devices_topic_either(
    start_production: StartProduction, certificates: Certificates, tmp_path: Path
) -> None:
    mosquitto = start_production(also=_with_password(tmp_path / "passwords"))
    device = Client("any")
    device.authenticate("device-1", "correct horse")

    connected = device.connect(mosquitto.port, certificates.client_context(None))
    own = device.publish("devices/device-1/telemetry", b"mine")
    others = device.publish("devices/device-2/telemetry", b"forged")
    device.disconnect()

    assert (connected, own, others) == (SUCCESS, NO_MATCHING_SUBSCRIBERS, NOT_AUTHORIZED)


def test_a_wrong_password_is_refused(
    start_production: StartProduction, certificates: Certificates, tmp_path: Path
) -> None:
    mosquitto = start_production(also=_with_password(tmp_path / "passwords"))
    device = Client("any")
    device.authenticate("device-1", "wrong")

    reason_code = device.connect(mosquitto.port, certificates.client_context(None))
    device.disconnect()

    assert reason_code == NOT_AUTHORIZED


@pytest.mark.parametrize("topic_filter", ["devices/+/telemetry", "#", "devices/device-1/telemetry"])
def test_a_device_reads_nobodys_telemetry(
    start_production: StartProduction,
    connect: ConnectClient,
    certificates: Certificates,
    topic_filter: str,
) -> None:
    mosquitto = start_production()
    bridge = connect(certificates.bridge, mosquitto)
    bridge.subscribe("devices/+/telemetry")
    curious = connect(certificates.device("device-2"), mosquitto)
    curious.subscribe(topic_filter)

    connect(certificates.device("device-1"), mosquitto).publish(
        "devices/device-1/telemetry", b"private"
    )
    bridge.receive()
    # Its PUBACK comes behind whatever Mosquitto had sent it before.
    curious.publish("devices/device-2/telemetry", b"own")

    assert curious.received_so_far() == []


def test_the_bridge_may_write_its_status_and_nothing_else(
    start_production: StartProduction, connect: ConnectClient, certificates: Certificates
) -> None:
    bridge = connect(certificates.bridge, start_production())

    status = bridge.publish(f"bridge/{BRIDGE}/status", b"online", retain=True)
    refused = {
        mqtt_topic: bridge.publish(mqtt_topic, b"x")
        for mqtt_topic in (
            "bridge/another/status",
            f"bridge/{BRIDGE}/command",
            "devices/device-1/telemetry",
            "devices/device-1/command",
            "$SYS/broker/publish/messages/dropped",
        )
    }

    assert status in {SUCCESS, NO_MATCHING_SUBSCRIBERS}
    assert set(refused.values()) == {NOT_AUTHORIZED}, refused


def test_the_bridge_reads_the_counter_of_dropped_messages_and_no_other(
    start_production: StartProduction, connect: ConnectClient, certificates: Certificates
) -> None:
    bridge = connect(certificates.bridge, start_production())

    bridge.subscribe("$SYS/#")

    assert bridge.receive() == ("$SYS/broker/publish/messages/dropped", b"0")
    bridge.publish(f"bridge/{BRIDGE}/status", b"online")
    assert bridge.received_so_far() == []


def test_a_device_that_claims_the_bridges_client_id_does_not_get_its_session(
    start_production: StartProduction, connect: ConnectClient, certificates: Certificates
) -> None:
    mosquitto = start_production()
    bridge = connect(certificates.bridge, mosquitto, BRIDGE, kept=True)
    bridge.subscribe("devices/+/telemetry")
    bridge.disconnect()
    connect(certificates.device("device-1"), mosquitto).publish(
        "devices/device-1/telemetry", b"queued"
    )

    thief = connect(certificates.device("device-2"), mosquitto, BRIDGE)
    thief.disconnect()
    bridge = connect(certificates.bridge, mosquitto, BRIDGE, kept=True)

    assert bridge.session_present
    assert bridge.receive() == ("devices/device-1/telemetry", b"queued")


def test_the_health_check_of_compose_sees_a_mosquitto_that_serves_and_one_that_is_gone(
    start_production: StartProduction, certificates: Certificates
) -> None:
    yaml: Any = pytest.importorskip("yaml")
    compose = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))
    _, *command = compose["services"]["mosquitto"]["healthcheck"]["test"]
    mosquitto = start_production()
    here = {"8883": str(mosquitto.port)}
    words = [
        here.get(word, word).replace("/mosquitto/certificates", str(certificates.directory))
        for word in command
    ]

    serving = subprocess.run(words, check=False, capture_output=True, timeout=ANSWER_S)
    mosquitto.kill()
    gone = subprocess.run(words, check=False, capture_output=True, timeout=ANSWER_S)

    assert serving.returncode == 0, serving.stderr
    assert gone.returncode != 0


# --- production.conf: who gets in


def test_a_client_without_a_certificate_is_refused(
    start_production: StartProduction, certificates: Certificates
) -> None:
    port = start_production().port

    assert "certificate required" in _refusal_of(port, certificates.client_context(None))


def test_a_client_of_an_unknown_authority_is_refused(
    start_production: StartProduction, certificates: Certificates, tmp_path: Path
) -> None:
    port = start_production().port
    foreign = make_certificates(tmp_path / "foreign", "--devices", "1")

    context = certificates.client_context(foreign.device("device-1"))

    assert "alert unknown ca" in _refusal_of(port, context)


def test_a_device_whose_certificate_has_expired_is_refused(
    start_production: StartProduction, tmp_path: Path
) -> None:
    made = make_certificates(tmp_path / "made", "--devices", "1")
    make_certificates(made.directory, "--device", "forgotten", "--days", "-1")
    port = start_production(made).port

    refusal = _refusal_of(port, made.client_context(made.device("forgotten")))

    assert "alert certificate expired" in refusal


def test_a_revoked_device_is_refused_after_sighup_and_others_are_not(
    start_production: StartProduction, tmp_path: Path
) -> None:
    made = make_certificates(tmp_path / "made", "--devices", "2")
    crl_line = "#crlfile /mosquitto/certificates/ca.crl"
    mosquitto = start_production(made, {crl_line: f"crlfile {made.directory}/ca.crl"})
    stolen, other = made.device("device-1"), made.device("device-2")
    before = _connack_of(mosquitto.port, made.client_context(stolen))

    make_certificates(made.directory, "--revoke", "device-1")
    mosquitto.send_signal(signal.SIGHUP)

    assert before == SUCCESS
    context = made.client_context(stolen)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # Here the handshake itself fails.
    eventually(lambda: not _shakes_hands(mosquitto.port, context), what="the refusal")
    assert "alert certificate revoked" in _refusal_of(mosquitto.port, context)
    assert _connack_of(mosquitto.port, made.client_context(other)) == SUCCESS


def _shakes_hands(port: int, context: ssl.SSLContext) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as plain:
        try:
            context.wrap_socket(plain, server_hostname="localhost").close()
        except ssl.SSLError:
            return False
    return True


def _connack_of(port: int, context: ssl.SSLContext) -> int:
    client = Client("any")
    reason_code = client.connect(port, context)
    client.disconnect()
    return reason_code


def test_a_client_that_knows_only_tls_1_1_is_refused(
    start_production: StartProduction, certificates: Certificates
) -> None:
    port = start_production().port
    context = certificates.client_context(certificates.device("device-1"))
    # Without it OpenSSL would refuse on our side, and nothing be said about Mosquitto.
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    assert "alert protocol version" in _refusal_of(port, context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_that_knows_only_tls_1_2_or_only_1_3_is_served(
    start_production: StartProduction, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    port = start_production().port
    context = certificates.client_context(certificates.device("device-1"))
    context.minimum_version = context.maximum_version = version

    assert _connack_of(port, context) == SUCCESS


# --- production.conf: whom a client should refuse


def test_a_server_certificate_that_has_expired_is_seen_by_the_client(
    start_production: StartProduction, tmp_path: Path
) -> None:
    expired = make_certificates(tmp_path / "expired", "--devices", "1", "--days", "-1")
    port = start_production(expired).port

    context = expired.client_context(expired.device("device-1"))

    assert "certificate has expired" in _refusal_of(port, context)


def test_a_server_certificate_for_another_host_is_seen_by_the_client(
    start_production: StartProduction, tmp_path: Path
) -> None:
    elsewhere = make_certificates(
        tmp_path / "elsewhere", "--devices", "1", "--server-names", "mqtt.example.org"
    )
    port = start_production(elsewhere).port

    context = elsewhere.client_context(elsewhere.device("device-1"))

    assert "hostname mismatch" in _refusal_of(port, context)


def test_a_server_of_an_unknown_authority_is_seen_by_the_client(
    start_production: StartProduction, certificates: Certificates, tmp_path: Path
) -> None:
    foreign = make_certificates(tmp_path / "foreign", "--devices", "1")
    port = start_production(foreign).port

    context = certificates.client_context(certificates.device("device-1"))

    assert "certificate verify failed" in _refusal_of(port, context)


# --- production.conf: what survives


def test_what_is_queued_for_the_bridge_survives_a_sigkill_of_mosquitto(
    start_production: StartProduction, connect: ConnectClient, certificates: Certificates
) -> None:
    mosquitto = start_production()
    bridge = connect(certificates.bridge, mosquitto, BRIDGE, kept=True)
    bridge.subscribe("devices/+/telemetry")
    bridge.disconnect()
    device = connect(certificates.device("device-1"), mosquitto)
    payloads = [f"reading {number}.".encode() for number in range(20)]

    for payload in payloads:
        assert device.publish("devices/device-1/telemetry", payload) == SUCCESS
    saved = mosquitto.directory / "mosquitto.db"
    eventually(lambda: payloads[-1] in saved.read_bytes(), what="the snapshot with the last one")
    mosquitto.kill()
    mosquitto.start()
    bridge = connect(certificates.bridge, mosquitto, BRIDGE, kept=True)

    assert bridge.session_present
    assert [bridge.receive()[1] for _ in payloads] == payloads
