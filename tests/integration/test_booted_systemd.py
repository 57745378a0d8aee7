"""The bridge under a real systemd: installed, sandboxed, watched, restarted, upgraded."""

import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.scene import QUIET_DEADLINE_S, Scene, await_in_flight, await_received, report
from tests.support.booted_systemd import BootedSystemd, BridgeUnit, missing_for_boot
from tests.support.certificates import PROJECT, Certificates, Identity
from tests.support.devices import DeviceMessage, DevicePublisher, fleet
from tests.support.eventually import eventually, let_last
from tests.support.kafka_choice import ChosenKafka
from tests.support.kafka_client import KafkaClient
from tests.support.kafka_cluster import KafkaProcess
from tests.support.mosquitto import MosquittoProcess, find_mosquitto
from tests.support.processes import free_port
from tests.support.wheels import build

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing_for_boot()), reason=missing_for_boot() or "it can be booted"),
    pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed"),
]

TLS_LISTENER = """\
listener {port} 127.0.0.1
cafile {directory}/ca.crt
certfile {directory}/server.crt
keyfile {directory}/server.key
require_certificate true
"""
SPOOL_BYTES = 1_048_576
WRITE_ENTRIES = """\
from bridge.observe.journal import JournalLines, encode
name = ("SYSLOG_IDENTIFIER", "bridge-test")
lines = JournalLines()
lines.write(encode([name, ("MESSAGE", "x" * 1_048_576)]))
lines.write(encode([name, ("BRIDGE_DETAIL", "a\\nPRIORITY=0"), ("BRIDGE_NUL", "a\\0b")]))
assert lines.flush(timeout_s=5) and not lines.lines_lost
"""
CREDENTIALS = "/run/credentials/mqtt-kafka-bridge.service"

MakeUnit = Callable[..., BridgeUnit]
MakeScene = Callable[[KafkaClient], Scene]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", PROJECT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def systemd(wheel: Path) -> Iterator[BootedSystemd]:
    """A machine that has just booted, with the bridge installed by the documented commands."""
    made = BootedSystemd(wheel.parent)
    made.start()
    made.install(wheel)
    yield made
    made.stop(timeout_s=120.0)


@pytest.fixture
def make_unit(systemd: BootedSystemd, tmp_path: Path) -> Iterator[MakeUnit]:
    """Make a unit; it is stopped at the end, and what it kept is removed."""
    made: list[BridgeUnit] = []

    def make(config: Mapping[str, Any], instance: str = "", drop_in: str = "") -> BridgeUnit:
        unit = BridgeUnit(
            tmp_path / f"unit-{len(made)}", config, systemd=systemd, instance=instance
        )
        made.append(unit)
        unit.drop_in(drop_in)
        return unit

    yield make
    for each in made:
        each.kill()
        systemd.run("systemctl", "clean", "--what=state", each.unit, check=False)


@pytest.fixture
def make_systemd_scene(
    mosquitto: MosquittoProcess,
    unique_name: Callable[[str], str],
    make_unit: MakeUnit,
    start_devices: Callable[..., DevicePublisher],
) -> MakeScene:
    """Join `mosquitto` and a Kafka, with topics; its bridge is a unit."""

    def start_unit(config: Mapping[str, Any]) -> BridgeUnit:
        unit = make_unit(config)
        unit.start()
        return unit

    def make(client: KafkaClient) -> Scene:
        scene = Scene(
            mosquitto,
            client,
            make_name=unique_name,
            start_bridge=start_unit,
            start_devices=start_devices,
        )
        scene.create_topics()
        return scene

    return make


@pytest.fixture
def unit_scene(make_systemd_scene: MakeScene, kafka: ChosenKafka) -> Scene:
    return make_systemd_scene(kafka.client)


def away(**ops: object) -> dict[str, Any]:
    """Name brokers that nobody is."""
    return {
        "mqtt": {"port": free_port(), "client_id": f"away-{free_port()}"},
        "kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"},
        **({"ops": ops} if ops else {}),
    }


def test_the_unit_is_active_with_both_brokers_away_and_says_so(make_unit: MakeUnit) -> None:
    unit = make_unit(away())

    unit.start()

    assert "active" == unit.show("ActiveState")
    assert "0" == unit.show("NRestarts")
    status = unit.show("StatusText")
    report(f"systemctl status says: {status}")
    assert status.startswith("waiting for the MQTT broker (mqtt_away) and Kafka (kafka_away")
    assert 0 == unit.stop()


def test_systemctl_reload_reads_the_configuration_anew(
    make_unit: MakeUnit, systemd: BootedSystemd
) -> None:
    config = away()
    unit = make_unit(config)
    unit.start()
    pid = unit.show("MainPID")

    unit.reload({**config, "validation": {"ranges": {"temperature": [0, 1]}}})

    told = eventually(
        lambda: systemd.run(
            "journalctl",
            "--no-pager",
            "-o",
            "json",
            "-u",
            unit.unit,
            "BRIDGE_EVENT=configuration_reloaded",
        ),
        what="the reload is in the journal",
    )
    assert "validation.ranges.temperature" in told
    assert ("active", pid) == (unit.show("ActiveState"), unit.show("MainPID"))


def test_a_bad_configuration_is_told_and_not_tried_again(
    make_unit: MakeUnit, systemd: BootedSystemd
) -> None:
    unit = make_unit({**away(), "mqtt": {"port": 70_000}})

    with pytest.raises(AssertionError, match="failed because"):
        unit.start()

    assert ("failed", "78", "0") == (
        unit.show("ActiveState"),
        unit.show("ExecMainStatus"),
        unit.show("NRestarts"),
    )
    told = systemd.run("journalctl", "--no-pager", "-u", unit.unit, "-n", "20")
    assert "mqtt.port: Expected int <= 65535, got 70000" in told


class Guarded(NamedTuple):
    """A scene whose broker lets in who has a certificate and the password, and nobody else."""

    scene: Scene
    mqtt: dict[str, Any]
    """The bridge's section."""


@pytest.fixture
def guarded(
    make_systemd_scene: MakeScene,
    kafka: ChosenKafka,
    certificates: Certificates,
    systemd: BootedSystemd,
    mosquitto: MosquittoProcess,
) -> Guarded:
    """Give the unit a certificate and a password, and the broker no other way in."""
    mqtt = listen_with_tls(mosquitto, certificates)
    accept_password(mosquitto, "hush")
    mosquitto.restart()
    systemd.write("/etc/mqtt-kafka-bridge/ca.crt", certificates.ca_file.read_text())
    keep_credentials(systemd, certificates.bridge, "hush")
    return Guarded(make_systemd_scene(kafka.client), mqtt)


def test_messages_pass_the_sandbox_with_mutual_tls_and_credentials(
    guarded: Guarded, systemd: BootedSystemd
) -> None:
    scene = guarded.scene

    bridge = scene.start(mqtt=guarded.mqtt)
    scene.devices().publish(fleet(10, 200))
    reckoning = scene.reckon_when_quiet(bridge)

    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()
    # The sandbox hides most of /proc, and alerts stand on these.
    measured = bridge.metrics()
    assert measured["process_start_time_seconds"] > 0
    assert measured["process_resident_memory_bytes"] > 0
    assert measured["process_cpu_seconds_total"] > 0
    user = systemd.run("ps", "-o", "user:32=", "-p", systemd.show(bridge_unit(bridge), "MainPID"))
    assert user.strip() not in {"root", ""}


def test_credentials_are_changed_under_load_by_a_restart_that_loses_nothing(
    guarded: Guarded,
    certificates: Certificates,
    systemd: BootedSystemd,
    mosquitto: MosquittoProcess,
) -> None:
    scene = guarded.scene
    bridge = scene.start(mqtt=guarded.mqtt)
    assert isinstance(bridge, BridgeUnit)
    devices = scene.devices(window=500)
    devices.start(fleet(20), rate_per_s=2_000.0)
    await_received(bridge, 2_000)

    accept_password(mosquitto, "new")  # From the reload on, the old one is refused.
    mosquitto.send_signal(signal.SIGHUP)
    keep_credentials(systemd, certificates.device("device-1"), "new")
    bridge.restart()
    bridge.wait_ready(QUIET_DEADLINE_S)
    await_received(bridge, 2_000)
    devices.stop()
    reckoning = scene.reckon_when_quiet(bridge)

    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()


def listen_with_tls(mosquitto: MosquittoProcess, certificates: Certificates) -> dict[str, Any]:
    """Give the broker a second listener, for who has a certificate and the password."""
    port = free_port()
    text = mosquitto.config_path.read_text()
    listener = TLS_LISTENER.format(port=port, directory=certificates.directory)
    passwords = f"password_file {mosquitto.directory}/passwords\n"
    mosquitto.config_path.write_text(f"{text}{listener}{passwords}")
    return {
        "port": port,
        "username": "bridge",
        "password": {"credential": "mqtt-password"},
        "tls": {
            "ca_file": "/etc/mqtt-kafka-bridge/ca.crt",
            "cert_file": f"{CREDENTIALS}/mqtt.crt",
            "key_file": f"{CREDENTIALS}/mqtt.key",
        },
    }


def accept_password(mosquitto: MosquittoProcess, password: str) -> None:
    """Let the bridge in with this password alone, once the broker has read it."""
    passwords = mosquitto.directory / "passwords"
    passwords.write_text(f"bridge:{password}\n")
    passwords.chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", passwords], check=True, capture_output=True)


def keep_credentials(systemd: BootedSystemd, identity: Identity, password: str) -> None:
    """Write what the unit is given at its next start."""
    credentials = {
        "mqtt-password": f"{password}\n",
        "mqtt.crt": identity.cert_file.read_text(),
        "mqtt.key": identity.key_file.read_text(),
    }
    for name, text in credentials.items():
        path = f"/etc/credstore/mqtt-kafka-bridge.{name}"
        systemd.write(path, text)
        systemd.run("chmod", "600", path)


def test_a_bad_message_is_found_in_the_journal_by_its_device(
    unit_scene: Scene, systemd: BootedSystemd
) -> None:
    scene = unit_scene
    bridge = scene.start()

    scene.devices().publish(
        [DeviceMessage(topic="devices/dev-7/telemetry", payload=b"x\nPRIORITY=0")]
    )
    scene.reckon_when_quiet(bridge).assert_holds()
    (entry,) = await_entries(systemd, 1, "BRIDGE_DEVICE_ID=dev-7")

    report(entry)
    assert ("message_dead_lettered", "not_decodable", "4") == (
        entry["BRIDGE_EVENT"],
        entry["BRIDGE_REASON"],
        entry["PRIORITY"],
    )
    assert "mqtt-kafka-bridge" == entry["SYSLOG_IDENTIFIER"]
    assert "mqtt-kafka-bridge.service" == entry["_SYSTEMD_UNIT"]
    assert entry["MESSAGE"].startswith("message_dead_lettered dlq_id=")


def test_the_journal_takes_what_no_datagram_holds_and_what_has_line_ends(
    systemd: BootedSystemd,
) -> None:
    systemd.run("/opt/mqtt-kafka-bridge/bin/python", "-c", WRITE_ENTRIES)
    large, hostile = await_entries(systemd, 2, "SYSLOG_IDENTIFIER=bridge-test")

    assert "x" * 1_048_576 == large["MESSAGE"]
    assert "a\nPRIORITY=0" == hostile["BRIDGE_DETAIL"]
    assert "a\0b" == bytes(hostile["BRIDGE_NUL"]).decode()  # Bytes, since it is no text.
    assert "PRIORITY" not in hostile


@pytest.mark.parametrize(
    ("watchdog", "stall_s"),
    [
        pytest.param("WatchdogSec=4", 3_600, id="short"),
        pytest.param("", 60, id="as shipped", marks=pytest.mark.long),
    ],
)
def test_a_blocked_loop_is_killed_and_started_again_and_nothing_is_lost(
    make_unit: MakeUnit, unit_scene: Scene, systemd: BootedSystemd, watchdog: str, stall_s: int
) -> None:
    scene = unit_scene
    environment = f"Environment=BRIDGE_FAULT_POINTS=loop=stall:{stall_s}@5"
    unit = make_unit(scene.config(), drop_in=f"[Service]\n{watchdog}\n{environment}\n")
    unit.start()
    unit.wait_ready(QUIET_DEADLINE_S)
    devices = scene.devices()
    devices.start(fleet(20), rate_per_s=500.0)

    eventually(
        lambda: unit.show("NRestarts"),
        lambda restarts: int(restarts) >= 1,
        what="the watchdog ends the bridge and systemd starts it again",
        deadline_s=QUIET_DEADLINE_S,
        poll_s=0.2,
    )
    unit.drop_in("")
    unit.restart()
    devices.stop()
    reckoning = scene.reckon_when_quiet(unit)

    told = systemd.run("journalctl", "--no-pager", "-u", unit.unit)
    assert "Watchdog timeout" in told
    assert 'File "' in told  # Where it stood, by faulthandler.
    assert "in reach" in told
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()


@pytest.mark.long
def test_five_minutes_without_any_broker_restart_nothing(make_unit: MakeUnit) -> None:
    unit = make_unit(away())
    unit.start()

    let_last(300.0)

    assert ("active", "0") == (unit.show("ActiveState"), unit.show("NRestarts"))
    report(unit.show("StatusText"))


@pytest.mark.long
def test_twenty_minutes_with_the_spool_full_restart_nothing(
    make_unit: MakeUnit, make_systemd_scene: MakeScene, victim: KafkaProcess
) -> None:
    scene = make_systemd_scene(victim.client)
    unit = make_unit(scene.config(spool={"bytes_max": SPOOL_BYTES}))
    unit.start()
    unit.wait_ready(QUIET_DEADLINE_S)
    devices = scene.devices()
    victim.freeze()
    devices.start(fleet(20), rate_per_s=100.0)
    eventually(
        lambda: unit.show("StatusText"),
        lambda status: "spool_full" in status,
        what="the spool is full",
        deadline_s=QUIET_DEADLINE_S,
        poll_s=0.2,
    )

    let_last(1_200.0)
    devices.stop()
    stood = (unit.show("ActiveState"), unit.show("NRestarts"), unit.show("StatusText"))
    victim.thaw()
    reckoning = scene.reckon_when_quiet(unit)

    report(stood)
    assert ("active", "0") == stood[:2]
    assert "spool_full" in stood[2]
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()


def test_an_upgrade_under_load_loses_nothing(
    unit_scene: Scene, systemd: BootedSystemd, wheel: Path
) -> None:
    scene = unit_scene
    bridge = scene.start()
    devices = scene.devices()
    devices.start(fleet(20), rate_per_s=500.0)
    await_received(bridge, 500)
    before = systemd.show(bridge_unit(bridge), "MainPID")

    systemd.install_wheel(wheel)
    installed = systemd.run("/opt/mqtt-kafka-bridge/bin/mqtt-kafka-bridge", "install", "--systemd")
    assert isinstance(bridge, BridgeUnit)
    bridge.restart()
    await_received(bridge, 500)
    devices.stop()
    reckoning = scene.reckon_when_quiet(bridge)

    assert "kept, since it is yours: /etc/mqtt-kafka-bridge/bridge.toml" in installed
    assert "unchanged: /etc/systemd/system/mqtt-kafka-bridge.service" in installed
    assert before != bridge.show("MainPID")
    assert "0" == bridge.show("NRestarts")
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()


def test_a_drain_longer_than_the_unit_allows_gets_the_time_that_it_asks_for(
    make_unit: MakeUnit, make_systemd_scene: MakeScene, victim: KafkaProcess
) -> None:
    scene = make_systemd_scene(victim.client)
    config = scene.config(shutdown={"drain_timeout_s": 15})
    unit = make_unit(config, drop_in="[Service]\nTimeoutStopSec=1\n")
    unit.start()
    unit.wait_ready(QUIET_DEADLINE_S)
    victim.freeze()
    scene.devices().publish(fleet(10, 100))
    await_in_flight(unit, 100)

    exit_code = unit.stop()
    result = unit.show("Result")
    victim.thaw()
    unit.start()
    reckoning = scene.reckon_when_quiet(unit)

    assert (0, "success") == (exit_code, result)
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()


def test_instances_of_the_template_run_side_by_side(make_unit: MakeUnit) -> None:
    one, other = (make_unit(away(), instance=name) for name in ("north", "south"))

    one.start()
    other.start()

    assert ["active", "active"] == [each.show("ActiveState") for each in (one, other)]
    assert {"mqtt-kafka-bridge-north", "mqtt-kafka-bridge-south"} == {
        each.show("StateDirectory") for each in (one, other)
    }


def await_entries(systemd: BootedSystemd, count: int, match: str) -> list[dict[str, Any]]:
    """Wait until the journal, which writes in its own time, has so many entries."""
    return eventually(
        lambda: systemd.journal(match),
        lambda entries: len(entries) >= count,
        what=f"{count} entries have {match}",
        poll_s=0.2,
    )


def bridge_unit(bridge: object) -> str:
    assert isinstance(bridge, BridgeUnit)
    return bridge.unit
