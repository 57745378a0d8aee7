"""The files an operator installs: that they agree with each other and with the bridge."""

from typing import Any

import pytest

from bridge.config.sections import BridgeConfig, MqttSection, Route
from tests.support.certificates import PROJECT

DRAIN_TIMEOUT_S = BridgeConfig().shutdown.drain_timeout_s


def _read(name: str) -> str:
    return (PROJECT / name).read_text(encoding="utf-8")


def _settings(name: str) -> list[str]:
    """Return the lines of a file that say something."""
    lines = (line.strip() for line in _read(name).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _seconds(value: str) -> float:
    return float(value.removesuffix("s"))


@pytest.fixture
def compose() -> dict[str, Any]:
    """compose.yaml, parsed."""
    yaml: Any = pytest.importorskip("yaml")
    parsed: dict[str, Any] = yaml.safe_load(_read("compose.yaml"))
    return parsed


# --- Mosquitto


def test_no_right_hangs_on_a_client_id_that_the_client_chooses() -> None:
    assert not [line for line in _settings("mosquitto/acl") if "%c" in line]


def test_the_acl_grants_exactly_what_the_promise_needs() -> None:
    client_id = MqttSection().client_id

    assert _settings("mosquitto/acl") == [
        "pattern write devices/%u/telemetry",
        f"user {client_id}",
        f"topic read {Route().filter}",
        "topic read $SYS/broker/publish/messages/dropped",
        f"topic write bridge/{client_id}/status",
        f"topic write {Route().filter.replace('+', 'bridge-canary')}",
    ]


def test_mosquitto_lets_as_much_be_in_flight_as_the_bridge_asks_for() -> None:
    expected = f"max_inflight_messages {MqttSection().receive_maximum}"

    assert expected in _settings("mosquitto/production.conf")


def test_mosquitto_takes_larger_packets_than_the_bridge_makes_dead_letters_of() -> None:
    (line,) = (
        line
        for line in _settings("mosquitto/production.conf")
        if line.startswith("max_packet_size ")
    )

    assert int(line.split()[1]) > MqttSection().packet_bytes_max


def test_no_shipped_mosquitto_configuration_discards_large_messages_silently() -> None:
    settings = _settings("mosquitto/production.conf") + _settings("mosquitto/development.conf")

    assert not [line for line in settings if line.startswith("message_size_limit")]


# --- Containers


def test_every_file_that_compose_mounts_exists(compose: dict[str, Any]) -> None:
    sources = [
        mount.split(":")[0]
        for service in compose["services"].values()
        for mount in service.get("volumes", [])
    ]
    files = [source for source in sources if source.startswith("./")]
    volumes = {source for source in sources if not source.startswith("./")}

    assert [file for file in files if not (PROJECT / file).is_file()] == []
    assert volumes == set(compose["volumes"])


def test_compose_publishes_no_port_beyond_loopback(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]

    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_every_service_that_stays_has_a_health_check(compose: dict[str, Any]) -> None:
    staying = {
        name: service for name, service in compose["services"].items() if "restart" in service
    }

    assert set(staying) == {"mosquitto", "kafka", "bridge", "prometheus", "grafana"}
    assert [name for name, service in staying.items() if "healthcheck" not in service] == ["bridge"]
    assert "/health/live" in _read("Dockerfile")


def test_the_bridges_container_can_write_only_its_state(compose: dict[str, Any]) -> None:
    bridge = compose["services"]["bridge"]
    writable = [mount for mount in bridge["volumes"] if not mount.endswith(":ro")]

    assert bridge["read_only"] is True
    assert bridge["cap_drop"] == ["ALL"]
    assert bridge["security_opt"] == ["no-new-privileges:true"]
    assert writable == ["bridge-state:/var/lib/mqtt-kafka-bridge"]


def test_compose_waits_longer_for_a_stop_than_the_bridge_needs(compose: dict[str, Any]) -> None:
    assert _seconds(compose["services"]["bridge"]["stop_grace_period"]) > DRAIN_TIMEOUT_S


def test_compose_sets_only_keys_that_the_configuration_has(compose: dict[str, Any]) -> None:
    environment = compose["services"]["bridge"]["environment"]

    unknown = []
    for name in environment:
        section, key, *_ = name.removeprefix("BRIDGE__").lower().split("__")
        if key not in BridgeConfig.__annotations__[section].__annotations__:
            unknown.append(name)

    assert unknown == []
