"""Rules on trial in a running bridge: told by type and firmware, and of no effect on any record."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.scene import PROBE, Scene, report
from tests.support.devices import DeviceMessage, telemetry
from tests.support.kafka_choice import ChosenKafka
from tests.support.kafka_client import ConsumedRecord, KafkaClient

DEVICES = [f"device-{number}" for number in range(10)]
ROUNDS = 20
TRIAL = {
    "timestamp_age_max_s": 1e9,
    "metrics_required": ["temperature"],
    "ranges": {"temperature": [0, 40]},
}
OF_ONE_BRIDGE = {"dlq.id", "dlq.received-at"}
HOSTILE = "9.9\x1b[2J\u202e"


def messages() -> Iterator[DeviceMessage]:
    """Give good ones, flagged ones, old ones and broken ones, of two firmware versions."""
    for number in range(ROUNDS):
        for index, device in enumerate(DEVICES):
            firmware = "2.0" if index % 2 else "1.0"
            metadata = {"firmware_version": firmware}
            metrics: dict[str, Any] = {"sequence": number, "temperature": 20}
            extra: dict[str, Any] = {}
            if index == 1:
                metrics["temperature"] = 41
            elif index == 2:
                del metrics["temperature"]
            elif index == 3:
                metrics["temperature"] = 999
            elif index == 4:
                extra["timestamp"] = f"2020-01-01T00:00:{number:02}Z"
            elif index == 5:
                metrics["temperature"], metadata["firmware_version"] = -1, HOSTILE
            elif index == 6:
                extra["metrics"] = number
            yield telemetry(device, number, **{"metrics": metrics, "metadata": metadata, **extra})


def traces(records: list[ConsumedRecord]) -> dict[bytes | None, list[object]]:
    """Give what two bridges have to agree on, in the order of each device."""
    found: dict[bytes | None, list[object]] = {}
    for record in records:
        if record.key == PROBE.encode():
            continue
        headers = dict(record.headers)
        apart = set(OF_ONE_BRIDGE)
        if headers.get("dlq.reason") == b"timestamp_old":  # How old, to the microsecond.
            apart |= {"dlq.detail", "__connect.errors.exception.message"}
        value: object = record.value
        if "dlq.reason" not in headers:
            body = json.loads(record.value or b"")
            del body["server_received_at"], body["time_drift_seconds"]
            value = json.dumps(body)
        names = [(name, sent) for name, sent in record.headers if name not in apart]
        found.setdefault(record.key, []).append((value, names))
    return found


def registered(directory: Path) -> dict[str, str]:
    path = directory / "devices.toml"
    path.write_text("".join(f'[device.{each}]\ntype = "meter"\n' for each in [*DEVICES, PROBE]))
    return {"file": str(path)}


def without_names(records: list[ConsumedRecord], scene: Scene) -> str:
    """Write what is compared, the names of the topics left out."""
    text = repr(sorted(traces(records).items(), key=lambda each: each[0] or b""))
    return text.replace(scene.telemetry, "T").replace(scene.dead_letters, "D")


@pytest.mark.slow
def test_a_trial_is_told_and_changes_no_record_header_key_or_order(
    make_scene: Callable[[KafkaClient], Scene], kafka: ChosenKafka, tmp_path: Path
) -> None:
    plain, trial = make_scene(kafka.client), make_scene(kafka.client)
    trial.telemetry += "-trial"
    trial.dead_letters += "-trial"
    trial.client_id += "-trial"
    registry = registered(tmp_path)
    limits = {"per_device_per_s": 0}
    for scene in (plain, trial):
        scene.create_topics()
    without = plain.start(registry=registry, limits=limits)
    on_trial = trial.start(registry=registry, limits=limits, shadow=TRIAL)

    trial.devices().publish(messages())
    trial.await_quiet(on_trial)
    plain.await_quiet(without)
    trial.await_nothing_in_flight(on_trial)

    found, expected = trial.read(), plain.read()
    assert len(DEVICES) == len(traces([*found.telemetry, *found.dead_letters]))
    assert without_names(expected.telemetry, plain) == without_names(found.telemetry, trial)
    assert without_names(expected.dead_letters, plain) == without_names(found.dead_letters, trial)
    counted = {
        (change, reason): on_trial.metric(
            "bridge_shadow_verdicts_total", change=change, reason=reason, device_type="meter"
        )
        for change, reason in (
            ("newly_fails", "out_of_range"),
            ("newly_fails", "schema_mismatch"),
            ("newly_passes", "timestamp_old"),
            ("unchanged", "out_of_range"),
        )
    }
    assert [2 * ROUNDS, ROUNDS, ROUNDS, ROUNDS] == list(counted.values())
    assert 0 == on_trial.metric("bridge_shadow_readings_total", outcome="failed")
    answer = on_trial.get("/status")
    assert answer is not None
    shadow = answer.json()["shadow"]
    report(shadow)
    groups = {
        (each["change"], each["reason"], each["device_type"], each["firmware"]): (
            each["readings"],
            each["devices"],
        )
        for each in shadow["largest_groups"]
    }
    assert {
        ("newly_fails", "out_of_range", "meter", "2.0"): (ROUNDS, ["device-1"]),
        ("newly_fails", "out_of_range", "meter", "9.9\\x1b[2J\\u202e"): (ROUNDS, ["device-5"]),
        ("newly_fails", "schema_mismatch", "meter", "1.0"): (ROUNDS, ["device-2"]),
        ("newly_passes", "timestamp_old", "meter", "1.0"): (ROUNDS, ["device-4"]),
    } == groups
    other = without.get("/status")
    assert other is not None
    assert {"state": "off"} == other.json()["shadow"]
    assert [] == [each for each in without.metrics() if each.startswith("bridge_shadow")]
