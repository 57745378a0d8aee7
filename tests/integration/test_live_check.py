"""`check --live` on real brokers: each point that fails was made to fail."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from tests.integration.scene import Scene
from tests.support.certificates import Certificates, make_certificates
from tests.support.kafka_cluster import KafkaProcess
from tests.support.live_check import Checked, check_live
from tests.support.mosquitto import MosquittoProcess, find_mosquitto
from tests.support.mqtt_client import Client
from tests.support.processes import free_port

pytestmark = pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed")

KEY = "00112233445566778899aabbccddeeff"
QUICK = ("--listen", "0.1")
"""For tests that await no message; the last --listen counts."""
PATIENT = ("--listen", "20")
"""For tests that do: the check goes on as soon as it came."""
FILTER = "devices/+/telemetry"
READING = f'reading "{FILTER}"'

StartBroker = Callable[..., MosquittoProcess]
Check = Callable[..., Checked]


@pytest.fixture
def start_broker(tmp_path: Path) -> Iterator[StartBroker]:
    """Start a Mosquitto with lines of the test's own; killed at the end."""
    started: list[MosquittoProcess] = []

    def start(extra: str = "", **options: str) -> MosquittoProcess:
        directory = tmp_path / f"broker-{len(started)}"
        started.append(MosquittoProcess(directory, extra=extra, **options))  # type: ignore[arg-type]
        started[-1].start()
        return started[-1]

    yield start
    for each in started:
        each.kill()


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Run the check with a state directory that holds the bridge's canary key."""
    state = tmp_path / "state"
    state.mkdir()
    memory = f'{{"client_id":"any","address":"any","canary_key":"{KEY}"}}'
    (state / "session.json").write_text(memory, encoding="utf-8")

    def run(config: Mapping[str, Any], *options: str, state: Path = state) -> Checked:
        return check_live(tmp_path, config, *QUICK, *options, state=state)

    return run


@pytest.fixture
def nowhere() -> dict[str, Any]:
    """A configuration whose Kafka is not there: for what only the MQTT broker says."""
    return {"kafka": {"bootstrap_servers": f"127.0.0.1:{free_port()}"}}


def mqtt(broker: MosquittoProcess, **keys: object) -> dict[str, object]:
    return {"port": broker.port, "client_id": "bridge-1", "canary_device_id": "canary", **keys}


def assert_no_session_is_left(broker: MosquittoProcess, checked: Checked) -> None:
    """Ask for each session that the check had."""
    for suffix in ("", "-queue", "-fill"):
        client = Client(f"bridge-1-check-{checked.nonce}{suffix}", kept=True)
        client.connect(broker.port, None)
        assert client.session_present is False, suffix
        client.disconnect()


# ---------------------------------------------------------------------------------- all is well


def test_beside_a_running_bridge_it_proves_the_promise_and_changes_nothing(
    victim_scene: Scene, check: Check
) -> None:
    victim_scene.create_topics()
    keys = {"client_id": "bridge-1", "canary_device_id": "canary"}
    bridge = victim_scene.start(mqtt=keys)
    connections = len(bridge.events("mqtt_connected"))

    checked = check(
        victim_scene.config(mqtt=keys),
        *("--fill", "2500"),
        *PATIENT,
        state=bridge.directory / "state",
    )

    assert (0, set()) == (checked.exit_code, checked.failed()), checked.points
    for name in (
        *("client id", "session expiry", "maximum QoS", f'subscription "{FILTER}"', READING),
        *("effective window", "broker queue", "dropped counter", "idempotent producer"),
        f'rights "{victim_scene.telemetry}"',
        f'cleanup.policy "{victim_scene.dead_letters}"',
    ):
        assert "ok" == checked.standing(name), checked.points[name]
    assert "proven by a canary that came back" == checked.points[READING]["value"]
    # A single broker is the one thing that is not as it should be.
    assert "warn" == checked.standing(f'replication "{victim_scene.telemetry}"')
    assert "warn" == checked.standing(f'min.insync.replicas "{victim_scene.telemetry}"')
    assert_no_session_is_left(victim_scene.mosquitto, checked)
    assert connections == len(bridge.events("mqtt_connected")), "the bridge was disturbed"
    reckoning = victim_scene.read()
    assert ([], []) == (reckoning.telemetry, reckoning.dead_letters)


# ---------------------------------------------------------------------------------- Kafka


def test_every_kafka_point_that_is_wrong_is_found_in_one_run(
    victim: KafkaProcess,
    mosquitto: MosquittoProcess,
    check: Check,
    unique_name: Callable[[str], str],
) -> None:
    client = victim.client
    missing = unique_name("missing")
    compacted = client.create_topic(
        unique_name("compacted"),
        config={
            "cleanup.policy": "compact",
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": "20000",
            "retention.ms": "60000",
        },
    )
    unwritable = client.create_topic(unique_name("unwritable"))
    client.deny_write(unwritable)
    routes = {compacted: "a/+/t", unwritable: "b/+/t"}
    config = {
        "mqtt": {"port": mosquitto.port},
        "kafka": {"bootstrap_servers": victim.bootstrap},
        "route": [{"filter": each, "kafka_topic": topic} for topic, each in routes.items()],
        "dead_letter": {"kafka_topic": missing},
    }

    checked = check(config)

    assert 69 == checked.exit_code
    assert {
        f'cleanup.policy "{compacted}"',
        f'rights "{unwritable}"',
        f'topic "{missing}"',
    } == checked.failed()
    for point in ("timestamps", "max.message.bytes", "retention"):
        assert "warn" == checked.standing(f'{point} "{compacted}"')
    assert "UNKNOWN_TOPIC_OR_PART" in checked.points[f'topic "{missing}"']["value"]
    assert checked.verdict.startswith(
        f'the first thing that would lose data: Kafka: cleanup.policy "{compacted}": compact'
    )


def test_rights_that_only_the_check_or_the_window_needs_are_not_failures(
    victim: KafkaProcess,
    mosquitto: MosquittoProcess,
    check: Check,
    unique_name: Callable[[str], str],
) -> None:
    topic = victim.client.create_topic(unique_name("raw"))
    dead_letters = victim.client.create_topic(unique_name("dlq"))
    admin = victim.client.admin()
    for operation, permission in (
        (AclOperation.ALL, AclPermissionType.ALLOW),
        (AclOperation.READ, AclPermissionType.DENY),
        (AclOperation.DESCRIBE_CONFIGS, AclPermissionType.DENY),
    ):
        acl = AclBinding(
            ResourceType.TOPIC,
            topic,
            ResourcePatternType.LITERAL,
            "User:ANONYMOUS",
            "*",
            operation,
            permission,
        )
        for made in admin.create_acls([acl]).values():
            made.result(30)
    config = {
        "mqtt": {"port": mosquitto.port},
        "kafka": {"bootstrap_servers": victim.bootstrap},
        "route": [{"filter": FILTER, "kafka_topic": topic}],
        "dead_letter": {"kafka_topic": dead_letters},
    }

    checked = check(config)

    assert (0, set()) == (checked.exit_code, checked.failed())
    assert "warn" == checked.standing(f'rights "{topic}"')
    assert "not proven" == checked.standing(f'settings "{topic}"')
    assert "DESCRIBE_CONFIGS" in checked.points[f'settings "{topic}"']["remedy"]


def test_brokers_that_are_not_there_are_69_and_the_first_is_the_verdict(
    check: Check, nowhere: dict[str, Any]
) -> None:
    checked = check({**nowhere, "mqtt": {"port": free_port()}})

    assert 69 == checked.exit_code
    assert {"connection", "cluster"} == checked.failed()
    assert "MQTT: connection: 127.0.0.1 port" in checked.verdict
    assert "" == checked.stderr


# ---------------------------------------------------------------------------------- MQTT


def test_an_acl_that_denies_reading_is_found_though_suback_granted_it(
    start_broker: StartBroker, check: Check, nowhere: dict[str, Any], tmp_path: Path
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic write devices/+/telemetry\ntopic write bridge/#\n")
    broker = start_broker(f"acl_file {acl}\n")

    checked = check({**nowhere, "mqtt": mqtt(broker)}, "--fill")

    assert "ok" == checked.standing(f'subscription "{FILTER}"')
    assert "FAIL" == checked.standing(READING)
    assert READING in checked.verdict
    # What may not be read cannot be measured either, and the counter stays silent.
    assert "not proven" == checked.standing("broker queue")
    assert "not proven" == checked.standing("dropped counter")
    assert_no_session_is_left(broker, checked)


def test_without_the_bridge_s_own_key_no_canary_is_sent(
    start_broker: StartBroker, check: Check, nowhere: dict[str, Any], tmp_path: Path
) -> None:
    broker = start_broker()
    witness = Client("witness")
    witness.connect(broker.port, None)
    witness.subscribe("#")

    checked = check({**nowhere, "mqtt": mqtt(broker)}, state=tmp_path / "elsewhere")
    witness.publish("end", b"")

    assert "not proven" == checked.standing(READING)
    assert ("end", b"") == witness.receive()
    witness.disconnect()


def test_a_message_of_a_device_proves_reading_and_stays_unacknowledged(
    start_broker: StartBroker, check: Check, nowhere: dict[str, Any]
) -> None:
    broker = start_broker()
    device = Client("device-1")
    device.connect(broker.port, None)
    device.publish("devices/device-1/telemetry", b"{}", retain=True)

    checked = check({**nowhere, "mqtt": mqtt(broker, canary_device_id="")}, *PATIENT)

    assert "proven by 1 messages that came" == checked.points[READING]["value"]
    device.disconnect()


def test_a_broker_that_grants_only_qos_0_fails(
    start_broker: StartBroker, check: Check, nowhere: dict[str, Any]
) -> None:
    checked = check({**nowhere, "mqtt": mqtt(start_broker("max_qos 0\n"))}, "--fill")

    assert "FAIL" == checked.standing("maximum QoS")
    assert "MQTT: maximum QoS: 0" in checked.verdict
    assert "not proven" == checked.standing("broker queue")


def test_a_keep_alive_and_a_retain_that_differ_are_told_and_are_no_failure(
    start_broker: StartBroker, check: Check, nowhere: dict[str, Any]
) -> None:
    broker = start_broker("max_keepalive 20\nretain_available false\n")

    checked = check({**nowhere, "mqtt": mqtt(broker)})

    assert "20 s, imposed by the broker and honoured" == checked.points["keep alive"]["value"]
    assert "warn" == checked.standing("retain")
    assert {"cluster"} == checked.failed()


def test_a_queue_that_is_too_small_is_measured_and_its_session_removed(
    start_broker: StartBroker, check: Check, nowhere: dict[str, Any]
) -> None:
    broker = start_broker("max_queued_messages 150\nmax_inflight_messages 30\n")

    checked = check({**nowhere, "mqtt": mqtt(broker)}, "--fill", "400")

    assert "FAIL" == checked.standing("broker queue")
    assert "holds 150 of 400 messages" in checked.points["broker queue"]["value"]
    assert_no_session_is_left(broker, checked)


def test_credentials_that_are_refused_are_69_with_the_reason(
    start_broker: StartBroker, check: Check, nowhere: dict[str, Any]
) -> None:
    config = "listener $port 127.0.0.1\nuser $user\nallow_anonymous false\n"

    checked = check({**nowhere, "mqtt": mqtt(start_broker(config=config))})

    assert 69 == checked.exit_code
    assert "Not authorized" in checked.points["connection"]["value"]


# ---------------------------------------------------------------------------------- its manners


def test_where_the_user_may_be_the_session_s_name_it_does_not_connect(
    start_broker: StartBroker, check: Check, nowhere: dict[str, Any]
) -> None:
    broker = start_broker()

    checked = check({**nowhere, "mqtt": mqtt(broker, username="bridge-1")})

    assert 69 == checked.exit_code
    assert "not proven" == checked.standing("connection")
    assert "bridge-1-check" not in broker.output()


def test_a_session_met_under_a_fresh_name_is_left_as_it_was(
    start_broker: StartBroker, check: Check, nowhere: dict[str, Any]
) -> None:
    broker = start_broker("use_username_as_clientid true\n")
    bridge, device = Client("bridge-1", kept=True), Client("device-1")
    bridge.authenticate("the-bridge", "")
    bridge.connect(broker.port, None)
    bridge.subscribe(FILTER)
    bridge.disconnect()
    device.authenticate("device-1", "")
    device.connect(broker.port, None)
    device.publish("devices/device-1/telemetry", b"kept")

    checked = check({**nowhere, "mqtt": mqtt(broker, username="the-bridge")}, "--fill")

    again = Client("bridge-1", kept=True)
    again.authenticate("the-bridge", "")
    again.connect(broker.port, None)
    assert 69 == checked.exit_code
    assert "not proven" == checked.standing("session of its own")
    assert again.session_present
    assert ("devices/device-1/telemetry", b"kept") == again.receive()
    again.disconnect()
    device.disconnect()


def test_exclusive_uses_the_bridge_s_session_and_leaves_all_in_it(
    start_broker: StartBroker, check: Check, nowhere: dict[str, Any]
) -> None:
    broker = start_broker()
    bridge, device = Client("bridge-1", kept=True), Client("device-1")
    bridge.connect(broker.port, None)
    bridge.subscribe(FILTER)
    bridge.disconnect()
    device.connect(broker.port, None)
    for number in range(3):
        device.publish("devices/device-1/telemetry", b"%d" % number)

    config = {**nowhere, "mqtt": mqtt(broker, canary_device_id="")}
    checked = check(config, "--exclusive", *PATIENT)

    assert "ok" == checked.standing("session")
    assert "waits at the broker" in checked.points["session"]["value"]
    assert "ok" == checked.standing(READING)
    again = Client("bridge-1", kept=True)
    again.connect(broker.port, None)
    assert again.session_present
    assert [b"0", b"1", b"2"] == [again.receive()[1] for _ in range(3)]
    again.disconnect()
    device.disconnect()


def test_exclusive_beside_a_running_bridge_is_refused(victim_scene: Scene, check: Check) -> None:
    victim_scene.create_topics()
    bridge = victim_scene.start()
    listen = {"listen": f"127.0.0.1:{bridge.ops_port}"}

    checked = check(victim_scene.config(ops=listen), "--exclusive")

    assert 69 == checked.exit_code
    assert "the bridge is running" in checked.points["connection"]["value"]
    assert 1 == len(bridge.events("mqtt_connected"))


# ---------------------------------------------------------------------------------- certificates

TLS_LISTENER = """\
listener $port 127.0.0.1
user $user
allow_anonymous true
cafile {0}/ca.crt
certfile {0}/server.crt
keyfile {0}/server.key
"""


def over_tls(broker: MosquittoProcess, authority: Certificates, **tls: object) -> dict[str, object]:
    return mqtt(broker, host="localhost", tls={"ca_file": authority.ca_file, **tls})


def test_an_expired_certificate_of_our_own_fails_and_one_that_ends_soon_is_a_warning(
    start_broker: StartBroker, check: Check, nowhere: dict[str, Any], tmp_path: Path
) -> None:
    soon = make_certificates(tmp_path / "soon", "--devices", "1", "--days", "5")
    expired = make_certificates(tmp_path / "expired", "--devices", "1", "--days", "-1").bridge
    broker = start_broker(config=TLS_LISTENER.format(soon.directory))
    own = {"cert_file": expired.cert_file, "key_file": expired.key_file}

    checked = check({**nowhere, "mqtt": over_tls(broker, soon, **own)})

    assert "FAIL" == checked.standing("certificate mqtt.tls.cert_file")
    assert "warn" == checked.standing("certificate of the MQTT broker")
    assert "warn" == checked.standing("client id")  # The Common Name is another.
    assert "TLSv1.3" in checked.points["connection"]["value"]


def test_an_expired_certificate_of_the_broker_fails_as_the_connection(
    start_broker: StartBroker, check: Check, nowhere: dict[str, Any], tmp_path: Path
) -> None:
    expired = make_certificates(tmp_path / "expired", "--devices", "1", "--days", "-1")
    broker = start_broker(config=TLS_LISTENER.format(expired.directory))

    checked = check({**nowhere, "mqtt": over_tls(broker, expired)})

    assert 69 == checked.exit_code
    assert "certificate has expired" in checked.points["connection"]["value"]
