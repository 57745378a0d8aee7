"""Configuration files, log lines and samples are read and written as they are meant."""

import tomllib
from pathlib import Path

from tests.support.bridge_process import BridgeProcess, to_toml


def test_nested_settings_survive_the_way_through_toml() -> None:
    config = {
        "mqtt": {"host": "::1", "port": 1883, "tls": {"ca_file": 'a "quoted" \\ path'}},
        "kafka": {"properties": {"security.protocol": "SSL"}, "quiet_s": 0.5},
        "route": [
            {"filter": "devices/+/telemetry", "user_properties": ["a", "b"]},
            {"filter": "\x7f\u2028", "per_device_per_s": 10.0},
        ],
        "validation": {"ranges": {"battery level": [0, 100]}, "empty": {}},
        "limits": {"burst": 20, "is_on": True},
    }

    assert config == tomllib.loads(to_toml(config))


def test_log_lines_are_events_and_other_output_is_not(tmp_path: Path) -> None:
    bridge = BridgeProcess(tmp_path, {})
    lines = ['{"event": "started", "n": 1}', "Traceback", '{"event": "started", "n": 2}', '{"ev']

    bridge.log_path.write_text("\n".join(lines), encoding="utf-8")

    assert [1, 2] == [event["n"] for event in bridge.logs()]
    assert {"event": "started", "n": 1} == bridge.wait_for_event("started", n=1)


def test_the_configuration_gets_an_ops_port_and_json_logs(tmp_path: Path) -> None:
    bridge = BridgeProcess(tmp_path, {"log": {"level": "debug"}})

    written = tomllib.loads(bridge.config_path.read_text(encoding="utf-8"))

    assert {"format": "json", "level": "debug"} == written["log"]
    assert {"listen": f"127.0.0.1:{bridge.ops_port}"} == written["ops"]
    assert bridge.get("/health/live") is None
