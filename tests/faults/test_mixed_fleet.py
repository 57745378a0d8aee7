"""Every rule at once: the sums of what a fleet sent, by kind, are the sums of what arrived."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import pytest

from tests.faults.conftest import Length
from tests.faults.mixed_fleet import (
    FLAGGED,
    KAFKA_BYTES_MAX,
    PACKET_BYTES_MAX,
    PAYLOAD_BYTES_MAX,
    VALIDATION,
    Fleet,
    Sums,
    part_of,
)
from tests.faults.stage import Stage, await_drained, await_metric
from tests.integration.scene import report
from tests.integration.speakers import Alerts
from tests.support.bridge_process import BridgeProcess, to_toml
from tests.support.devices import DeviceMessage, Ledger
from tests.support.eventually import eventually, let_last
from tests.support.kafka_client import ConsumedRecord

RATE_PER_S: Final = 1_000.0
OF_EACH_MIN: Final = 10
"""Of each kind of message, or the test proves nothing of it."""
DEADLINE_S: Final = 300.0
REASONS: Final = frozenset(
    {
        *("empty", "not_decodable", "too_large", "unsupported_format", "schema_mismatch"),
        *("timestamp_future", "timestamp_old", "device_mismatch", "device_id_invalid"),
        *("rate_limited", "kafka_refused"),
    }
)


class Counted:
    """The ledger of a publisher of a million messages: how many, not which."""

    class Many:
        """Looks like a list to a publisher."""

        def __init__(self) -> None:
            self.count = 0

        def append(self, _: object) -> None:
            self.count += 1

        def __len__(self) -> int:
            return self.count

    def __init__(self) -> None:
        self.sent, self.acknowledged = self.Many(), self.Many()
        self.unmatched, self.refused = self.Many(), self.Many()


class Topics:
    """The Kafka topics beside those of every stage."""

    def __init__(self, stage: Stage, make_name: Callable[[str], str]) -> None:
        self.alarms = stage.client.create_topic(make_name("alarms"), 4)
        limits = {"max.message.bytes": str(KAFKA_BYTES_MAX)}
        self.blobs = stage.client.create_topic(make_name("blobs"), 2, limits)
        self.alerts = Alerts(stage.client, make_name("alerts"))

    def config(self, stage: Stage, registry: Path, copy_interval_s: float) -> dict[str, Any]:
        """Give the whole configuration."""
        sections = stage.config(
            mqtt={"packet_bytes_max": PACKET_BYTES_MAX, "keep_alive_s": 2},
            validation={**VALIDATION, "flagged_copy_interval_s": copy_interval_s},
            registry={"file": str(registry)},
            limits={"per_device_per_s": 10.0, "burst": 20},
            silence={"kafka_topic": self.alerts.kafka_topic, "expected_interval_s": 3_600},
        )
        routes: list[dict[str, Any]] = [
            {"filter": "devices/+/telemetry", "payload_bytes_max": PAYLOAD_BYTES_MAX},
            {"filter": "devices/+/telemetry/batch", "kind": "batch"},
            {"filter": "gateways/+/telemetry/batch", "kind": "batch"},
            {"filter": "alarms/+/raw", "kind": "opaque", "kafka_topic": self.alarms},
            {"filter": "blobs/+/raw", "kind": "opaque", "kafka_topic": self.blobs},
        ]
        common: dict[str, Any] = {
            "kafka_topic": stage.telemetry,
            "payload_bytes_max": PACKET_BYTES_MAX // 2,
        }
        return {**sections, "route": [{**common, **each} for each in routes]}


class Arrived:
    """What lies in Kafka, summed up."""

    def __init__(self, stage: Stage, topics: Topics, serials: int) -> None:
        self.sums = Sums()
        self.copies: Counter[str] = Counter()
        self.retained = self.doubled = 0
        self._seen = bytearray(serials + 1)
        for record in stage.client.stream(stage.telemetry):
            self._take_telemetry(record)
        for record in stage.client.stream(stage.dead_letters):
            self._take_letter(record)
        for record in stage.client.stream(topics.alarms):
            self.sums.opaque[part_of((record.key or b"").decode())] += 1
        self.blobs = stage.client.count(topics.blobs)

    def _take_telemetry(self, record: ConsumedRecord) -> None:
        part = part_of((record.key or b"").decode())
        value = json.loads(record.value or b"")
        serial = value["metrics"]["serial"]
        self.doubled += self._seen[serial]
        self._seen[serial] = 1
        self.sums.telemetry[part] += 1
        self.retained += record.header("mqtt.retained") == b"true"
        for warning in value.get("warnings", ()):
            self.sums.warnings[part, warning.partition(":")[0]] += 1

    def _take_letter(self, record: ConsumedRecord) -> None:
        device_id = (record.key or b"").decode()
        reason = (record.header("dlq.reason") or b"").decode()
        if record.header("dlq.copy") == b"true":
            self.copies[reason] += 1
            left_out = int(record.header("dlq.suppressed") or b"0")
            self.sums.flagged[device_id, reason] += 1 + left_out
        else:
            self.sums.letters[part_of(device_id), reason] += 1


@pytest.fixture
def topics(stage: Stage, unique_name: Callable[[str], str]) -> Topics:
    return Topics(stage, unique_name)


@pytest.mark.slow
def test_of_a_mixed_fleet_with_every_rule_provoked_the_sums_sent_are_the_sums_arrived(
    stage: Stage, topics: Topics, tmp_path: Path, length: Length
) -> None:
    devices, seconds = int(length(400, 10_000)), length(25.0, 600.0)
    copy_interval_s = length(5.0, 60.0)
    fleet = Fleet(devices, rate_per_s=RATE_PER_S, began_at=datetime.now(UTC))
    registry = tmp_path / "devices.toml"
    registry.write_text(to_toml({"device": fleet.registry()}), encoding="utf-8")
    stage.beside().publish(fleet.retained())
    bridge = stage.start_with(topics.config(stage, registry, copy_interval_s))

    _publish(stage, fleet.speak(seconds), RATE_PER_S)
    _await_settled(bridge, fleet)
    let_last(copy_interval_s)  # Whatever is flagged from now on is copied, with what was left out.
    _publish(stage, fleet.speak_flagged(), RATE_PER_S)
    _await_settled(bridge, fleet)
    _await_silences(topics, fleet)

    arrived = Arrived(stage, topics, fleet.serial)
    report(f"{len(fleet.registry())} registered devices, {fleet.messages} messages")
    report(_table(fleet, arrived))
    _assert_sums(fleet, arrived)
    _assert_counted(bridge, fleet, arrived)
    assert 0 == bridge.stop()


def _publish(stage: Stage, messages: Iterator[DeviceMessage], rate_per_s: float) -> None:
    """Publish at a rate; every one is acknowledged, and had a subscriber."""
    publisher = stage.beside()
    counted = Counted()
    publisher.ledger = cast("Ledger", counted)
    publisher.start(messages, rate_per_s=rate_per_s)
    publisher.wait(3 * DEADLINE_S)
    assert counted.sent.count == counted.acknowledged.count


def _await_settled(bridge: BridgeProcess, fleet: Fleet) -> None:
    wanted = fleet.messages + len(fleet.ids_of("kept"))
    await_metric(
        bridge,
        "bridge_messages_received_total",
        lambda received: received == wanted,
        deadline_s=DEADLINE_S,
    )
    await_drained(bridge, DEADLINE_S)


def _await_silences(topics: Topics, fleet: Fleet) -> None:
    """Each mute device, and nobody else, is silent at the end; a pause of the load may end."""
    told: Counter[str] = Counter()

    def look() -> bool:
        told.clear()
        for alert in topics.alerts.records():
            kind, device_id = alert["type"], alert.get("device_id", "")
            told[device_id] += {"device_silence": 1, "device_recovered": -1}.get(kind, 100)
        return dict.fromkeys(fleet.ids_of("mute"), 1) == {k: v for k, v in told.items() if v}

    eventually(
        look, what="the mute devices are told, and nobody else", deadline_s=DEADLINE_S, poll_s=0.5
    )


def _assert_sums(fleet: Fleet, arrived: Arrived) -> None:
    sent, came = fleet.sent, arrived.sums
    limited = came.letters.pop(("noisy", "rate_limited"))
    assert fleet.noise == limited + came.telemetry.pop("noisy")
    assert limited >= OF_EACH_MIN
    assert dict(sent.telemetry) == dict(came.telemetry)
    assert dict(sent.warnings) == dict(came.warnings)
    assert dict(sent.letters) == dict(came.letters)
    assert dict(sent.flagged) == dict(came.flagged)
    assert dict(sent.opaque) == dict(came.opaque)
    assert (0, 0) == (arrived.doubled, arrived.blobs)
    assert len(fleet.ids_of("kept")) == arrived.retained
    assert REASONS == sent.by_reason.keys()
    rare = {
        each: count
        for sums in (sent.telemetry, sent.warnings, sent.by_reason, sent.opaque, sent.outcomes)
        for each, count in cast("Counter[object]", sums).items()
        if count < OF_EACH_MIN
    }
    assert {} == rare
    assert {each for reasons in FLAGGED.values() for each in reasons} == arrived.copies.keys()
    assert arrived.copies.total() < sum(sent.flagged.values()), "none was left out"


def _assert_counted(bridge: BridgeProcess, fleet: Fleet, arrived: Arrived) -> None:
    """The bridge's own counters say the same as the topics."""
    metrics = bridge.metrics()

    def labelled(name: str, label: str) -> dict[str, float]:
        found = {
            key.partition('="')[2].removesuffix('"}'): value
            for key, value in metrics.items()
            if key.startswith(f"{name}{{{label}=")
        }
        return {key: value for key, value in found.items() if value}

    outcomes = Counter(fleet.sent.outcomes)
    noise_limited = int(
        labelled("bridge_dead_letters_total", "reason")["rate_limited"]
        - fleet.sent.letters["capped", "rate_limited"]
    )
    outcomes.update({"produced": fleet.noise - noise_limited, "dead_lettered": noise_limited})
    reasons = fleet.sent.by_reason + Counter({"rate_limited": noise_limited})
    assert dict(outcomes) == labelled("bridge_messages_settled_total", "outcome")
    assert dict(fleet.sent.readings) == labelled("bridge_readings_total", "outcome")
    assert dict(reasons) == labelled("bridge_dead_letters_total", "reason")
    assert dict(arrived.copies) == labelled("bridge_flagged_copies_total", "reason")
    assert outcomes.total() == metrics["bridge_messages_received_total"]
    assert 0 == metrics["bridge_conservation_residue"]


def _table(fleet: Fleet, arrived: Arrived) -> str:
    sent, came = fleet.sent, arrived.sums
    lines = [f"{'':44} {'sent':>9} {'arrived':>9}"]
    kinds: list[tuple[str, Any, Any]] = [
        ("telemetry of", sent.telemetry, came.telemetry),
        ("warned", sent.warnings, came.warnings),
        ("dead letters", sent.letters, came.letters),
        ("opaque of", sent.opaque, came.opaque),
    ]
    for kind, theirs, ours in kinds:
        for each in sorted({*theirs, *ours} - {"noisy", ("noisy", "rate_limited")}):
            name = " ".join(each) if isinstance(each, tuple) else each
            lines.append(f"{f'{kind} {name}':44} {theirs[each]:>9} {ours[each]:>9}")
    noise = came.telemetry["noisy"] + came.letters["noisy", "rate_limited"]
    lines.append(f"{'noisy, telemetry or rate_limited':44} {fleet.noise:>9} {noise:>9}")
    for reason, copies in sorted(arrived.copies.items()):
        flagged = sum(count for (_, each), count in sent.flagged.items() if each == reason)
        told = sum(count for (_, each), count in came.flagged.items() if each == reason)
        lines.append(f"{f'flagged {reason}, in {copies} copies':44} {flagged:>9} {told:>9}")
    lines.append(f"outcomes {dict(sent.outcomes)}, readings {dict(sent.readings)}")
    return "\n".join(lines)
