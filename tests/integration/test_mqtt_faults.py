"""Faults of the MQTT side on a real Mosquitto: takeover, crash, freeze, lost session, drops, ACL.

Kafka is librdkafka's own in process: what is tested ends at the MQTT side's books.
"""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scene import Scene
from tests.support.bridge_process import BridgeProcess, Config
from tests.support.certificates import Certificates
from tests.support.devices import DevicePublisher, telemetry
from tests.support.eventually import eventually
from tests.support.in_process_kafka import InProcessKafka
from tests.support.kafka_client import KafkaClient
from tests.support.mosquitto import MosquittoProcess, find_mosquitto
from tests.support.shipped import as_shipped

pytestmark = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")

PLAIN = """\
listener $port 127.0.0.1
user $user
allow_anonymous true
set_tcp_nodelay true
sys_interval 1
"""
CONNECTIONS_MAX = 12
"""Of two bridges that take each other's session, until one of them says so: a few rounds."""

StartMosquitto = Callable[..., MosquittoProcess]
MakeSceneAt = Callable[[MosquittoProcess], Scene]


@pytest.fixture(scope="module")
def in_process_kafka() -> Iterator[InProcessKafka]:
    """One mock cluster for all tests here; they keep apart by their topic names."""
    kafka = InProcessKafka()
    yield kafka
    kafka.close()


@pytest.fixture
def start_mosquitto(tmp_path: Path) -> Iterator[StartMosquitto]:
    """Start a Mosquitto with this configuration; killed at the end of the test."""
    started: list[MosquittoProcess] = []

    def start(config: str = PLAIN, **options: Any) -> MosquittoProcess:
        directory = tmp_path / f"broker-{len(started)}"
        started.append(MosquittoProcess(directory, config=config, **options))
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def scene_at(
    in_process_kafka: InProcessKafka,
    unique_name: Callable[[str], str],
    start_bridge: Callable[[Config], BridgeProcess],
) -> Iterator[MakeSceneAt]:
    """Join a Mosquitto and the Kafka in process."""
    publishers: list[DevicePublisher] = []

    def make(mosquitto: MosquittoProcess) -> Scene:
        def start_devices(**options: Any) -> DevicePublisher:
            publisher = DevicePublisher(mosquitto.port, **options)
            publishers.append(publisher)
            publisher.connect()
            return publisher

        return Scene(
            mosquitto,
            in_process_kafka.client,
            make_name=unique_name,
            start_bridge=start_bridge,
            start_devices=start_devices,
        )

    yield make
    for publisher in publishers:
        publisher.close()


def gaps_in(client: KafkaClient, kafka_topic: str, count: int) -> list[dict[str, Any]]:
    records = client.consume_all(kafka_topic, until=count)
    return [json.loads(each.value or b"") for each in records]


def _await_drops_known(bridge: BridgeProcess) -> None:
    """Wait for the last word of the broker after a connection: all that came before is read."""
    memory = bridge.directory / "state" / "session.json"
    eventually(
        lambda: memory.exists() and json.loads(memory.read_bytes())["drops_count"] == 0,
        what="the count of drops is remembered",
    )


def messages(count: int, *, start: int = 0) -> Iterator[Any]:
    return (telemetry("device-1", number) for number in range(start, start + count))


# ---------------------------------------------------------------- the connection


def test_two_bridges_with_one_client_id_name_the_takeover_and_back_off(
    start_mosquitto: StartMosquitto, scene_at: MakeSceneAt
) -> None:
    scene = scene_at(start_mosquitto())
    bridges = [scene.spawn(), scene.spawn()]

    def said() -> list[Any]:
        return [each for bridge in bridges for each in bridge.events("session_taken_over")]

    eventually(said, what="one of them names the takeover", deadline_s=60.0)

    connected = sum(len(each.events("mqtt_connected")) for each in bridges)
    assert connected <= CONNECTIONS_MAX
    (taken, *_) = said()
    assert "mqtt.client_id" in taken["remedy"]
    # Whoever said it keeps away for at least half of the longest delay, so the other one serves.
    assert taken["retry_in_s"] >= 15
    served = [each for each in bridges if not each.events("session_taken_over")]
    assert served
    served[0].wait_ready()
    scene.devices().publish(messages(50))
    assert 50 <= len(scene.client.consume_all(scene.telemetry, until=50))
    assert all(not each.events("session_lost") for each in bridges)


def test_a_mosquitto_that_is_frozen_is_found_dead_and_served_again_once_it_lives(
    start_mosquitto: StartMosquitto, scene_at: MakeSceneAt
) -> None:
    mosquitto = start_mosquitto()
    scene = scene_at(mosquitto)
    bridge = scene.start(mqtt={"keep_alive_s": 2})
    devices = scene.devices()
    devices.publish(messages(100))

    mosquitto.freeze()
    bridge.wait_for_event("mqtt_keep_alive_timed_out")
    bridge.wait_not_ready()
    mosquitto.thaw()
    bridge.wait_for_event("session_resumed")
    devices.publish(messages(100, start=100))

    reckoning = scene.reckon_when_quiet(bridge)
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()
    assert [] == bridge.events("session_lost")
    assert 1 == bridge.metric("bridge_mqtt_connections_total", reason="keep_alive")


# ---------------------------------------------------------------- the session


def test_a_sigkill_of_mosquitto_as_it_is_shipped_loses_and_doubles_nothing(
    start_mosquitto: StartMosquitto,
    scene_at: MakeSceneAt,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    mosquitto = start_mosquitto(**as_shipped(certificates, tmp_path / "broker-0"))
    scene = scene_at(mosquitto)
    ours, device = certificates.bridge, certificates.device("device-1")
    tls = {"ca_file": certificates.ca_file, "cert_file": ours.cert_file, "key_file": ours.key_file}
    bridge = scene.start(mqtt={"host": "localhost", "client_id": "mqtt-kafka-bridge", "tls": tls})
    devices = scene.devices(
        host="localhost",
        ca_file=str(certificates.ca_file),
        cert_file=str(device.cert_file),
        key_file=str(device.key_file),
    )
    _await_drops_known(bridge)

    # What Mosquitto sent lies in the bridge's socket. Some of it is in the snapshot too, and comes
    # again; most is not, since what is in flight to a connected client counts as no change. Were
    # anything of the bridge unread by now, the kill would reset the connection, and lose it.
    bridge.freeze()
    devices.publish(messages(200))
    mosquitto.kill()
    bridge.thaw()
    bridge.wait_not_ready()
    mosquitto.start()
    bridge.wait_ready()
    # The publisher connects again by itself.
    devices.publish(messages(200, start=200), timeout_s=60.0)
    scene.client.consume_all(scene.telemetry, until=400)
    scene.await_nothing_in_flight(bridge)

    reckoning = scene.reckon(bridge)
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()
    assert 400 == reckoning.telemetry
    assert 1 == len(bridge.events("session_resumed"))
    assert 0 == bridge.metric("bridge_gaps_total")


def test_a_mosquitto_that_keeps_nothing_leaves_a_gap_with_each_restart(
    start_mosquitto: StartMosquitto, scene_at: MakeSceneAt, unique_name: Callable[[str], str]
) -> None:
    mosquitto = start_mosquitto()
    scene = scene_at(mosquitto)
    gap_topic = unique_name("gaps")
    bridge = scene.start(gaps={"kafka_topic": gap_topic})
    assert [] == bridge.events("session_lost")

    mosquitto.kill()
    bridge.wait_for_event("mqtt_connect_failed")
    mosquitto.start()
    assert "broker_restarted" == bridge.wait_for_event("session_lost")["cause"]
    bridge.wait_ready()
    assert 1 == bridge.metric("bridge_gaps_total", cause="broker_restarted")
    gaps_in(scene.client, gap_topic, 1)
    bridge.stop()
    mosquitto.kill()
    mosquitto.start()
    bridge.start()
    assert "session_lost" == bridge.wait_for_event("session_lost", count=2)["cause"]
    bridge.wait_ready()

    first, second = gaps_in(scene.client, gap_topic, 2)
    assert ["broker_restarted", "session_lost"] == [first["cause"], second["cause"]]
    assert first["from"] < first["to"] <= second["from"] < second["to"]
    scene.devices().publish(messages(20))
    scene.reckon_when_quiet(bridge).assert_holds()


# ---------------------------------------------------------------- what is not delivered


def test_what_mosquitto_dropped_while_the_bridge_was_away_is_told_to_the_last_message(
    start_mosquitto: StartMosquitto, scene_at: MakeSceneAt, unique_name: Callable[[str], str]
) -> None:
    scene = scene_at(start_mosquitto(PLAIN + "max_queued_messages 10\n"))
    gap_topic = unique_name("gaps")
    bridge = scene.start(gaps={"kafka_topic": gap_topic})
    _await_drops_known(bridge)
    bridge.stop()

    scene.devices().publish(messages(200))
    bridge.start()
    bridge.wait_ready()

    def told() -> int:
        return sum(each["dropped"] for each in bridge.events("broker_dropped_messages"))

    delivered = len(scene.client.consume_all(scene.telemetry, until=1))
    eventually(
        lambda: (told(), bridge.metric("bridge_messages_received_total")),
        lambda seen: sum(seen) == 200,
        what="delivered and dropped are all that was published",
    )
    assert delivered
    (gap, *_) = gaps_in(scene.client, gap_topic, 1)
    assert ("broker_dropped", "#") == (gap["cause"], gap["filter"])
    assert gap["dropped"] > 0


def test_reading_forbidden_though_suback_granted_is_found_by_the_canary_and_recovers(
    start_mosquitto: StartMosquitto,
    scene_at: MakeSceneAt,
    unique_name: Callable[[str], str],
    tmp_path: Path,
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic write devices/#\ntopic write bridge/#\n")
    mosquitto = start_mosquitto(f"{PLAIN}acl_file {acl}\n")
    scene = scene_at(mosquitto)
    gap_topic = unique_name("gaps")
    bridge = scene.start(gaps={"kafka_topic": gap_topic}, mqtt={"canary_device_id": "canary"})

    suspected = bridge.wait_for_event("reading_forbidden_suspected")
    answer = bridge.wait_not_ready()
    assert "devices/+/telemetry" == suspected["filter"]
    assert "reading forbidden" in answer.json()["checks"]["mqtt"]["detail"]
    acl.write_text("topic write devices/#\ntopic write bridge/#\ntopic read devices/#\n")
    mosquitto.send_signal(signal.SIGHUP)
    bridge.wait_for_event("reading_recovered")
    bridge.wait_ready()
    scene.devices().publish(messages(20))

    scene.reckon_when_quiet(bridge).assert_holds()
    opened, closed = gaps_in(scene.client, gap_topic, 2)
    assert opened["is_open"]
    assert opened["from"] == closed["from"]
    assert 1 == bridge.metric("bridge_gaps_total", cause="reading_forbidden")
    assert [] == scene.read().dead_letters
