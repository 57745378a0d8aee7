"""Twenty thousand messages of a thousand devices, and every one of them looked at in Kafka.

What a record must look like is written here a second time, from the contract and without a line of
the bridge, so that both must be wrong alike for a mistake to pass.
"""

import itertools
import json
import random
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from hashlib import blake2b
from typing import Any, Final

import msgspec
import pytest

from tests.integration.scene import PROBE, Scene, report
from tests.support.devices import DeviceMessage
from tests.support.kafka_client import ConsumedRecord

DEVICES: Final = 1_000
MESSAGES: Final = 20_000
MALFORMED: Final = 200
PARTITIONS: Final = 8
TRACEPARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACESTATE: Final = "vendor=t61rcWkgMzE"
RFC3339_MICROSECONDS: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """One message, and what the contract says becomes of it."""

    message: DeviceMessage
    device_id: str
    body: dict[str, Any] | None = None
    """What the device sent, where it is a sound message."""
    measured_at: datetime | None = None
    """The device's timestamp where it can be read."""
    given_key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    """Headers beyond those that every record has."""
    warnings: tuple[str, ...] = ()
    reason: str = ""
    layer: str = ""
    is_retryable: bool = False


def rfc3339(instant: datetime) -> str:
    return instant.isoformat(timespec="microseconds").replace("+00:00", "Z")


# ---------------------------------------------------------------- sound messages, of ten kinds


def sound(number: int, device_id: str, measured_at: datetime) -> Expected:
    body: dict[str, Any] = {
        "device_id": device_id,
        "timestamp": rfc3339(measured_at),
        "metrics": {"sequence": number, "temperature": 21.5, "door": True, "note": None},
    }
    options: dict[str, Any] = {}
    expected: dict[str, Any] = {}
    match number % 10:
        case 1:
            body["metadata"] = {"battery_level": 87, "signal_strength": -71}
            body["unknown"] = {"deep": [1, {"deeper": "ü ☃ 𝄞 \u2028"}], "empty": {}, "no": None}
            body["integer"] = 2**63 + number
            body["float"] = 0.1 + number / 7
        case 2:
            body["timestamp"] = measured_at.astimezone(timezone(timedelta(hours=2))).isoformat()
        case 3:
            measured_at = measured_at.replace(microsecond=0)
            body["timestamp"] = int(measured_at.timestamp())
        case 4:
            measured_at = measured_at.replace(microsecond=measured_at.microsecond // 1000 * 1000)
            body["timestamp"] = round(measured_at.timestamp() * 1000)
        case 5:
            body["timestamp"] = rfc3339(measured_at).removesuffix("Z")
            expected["warnings"] = ("timestamp_without_zone",)
        case 6:
            body |= {
                "server_received_at": "1999-01-01T00:00:00Z",
                "time_drift_seconds": 12345,
                "warnings": ["made up by the device"],
                "timestamp_sent": "made up by the device",
            }
        case 7:
            options["user_properties"] = (
                ("site", "Köln"),
                ("unlisted", "x"),
                ("traceparent", TRACEPARENT),
                ("tracestate", TRACESTATE),
            )
            expected["headers"] = (
                ("mqtt.user.site", "Köln"),
                ("traceparent", TRACEPARENT),
                ("tracestate", TRACESTATE),
            )
        case 8:
            expected["given_key"] = f"order-{number}"
            options["user_properties"] = (("idempotency-key", f"order-{number}"),)
        case 9:
            options["content_type"] = "Application/JSON; charset=utf-8"
        case _:
            pass
    payload = json.dumps(body, ensure_ascii=number % 2 == 0).encode()
    message = DeviceMessage(topic=f"devices/{device_id}/telemetry", payload=payload, **options)
    return Expected(
        message=message, device_id=device_id, body=body, measured_at=measured_at, **expected
    )


# ---------------------------------------------------------------- malformed ones, in ten ways


def _changed(expected: Expected, **changes: object) -> bytes:
    return json.dumps({**(expected.body or {}), **changes}).encode()


Spoiler = Callable[[Expected, int], dict[str, Any]]


def _not_decodable(payload: bytes) -> dict[str, Any]:
    return {"payload": payload, "reason": "not_decodable", "layer": "protocol"}


def _from_the_future(good: Expected, _: int) -> dict[str, Any]:
    measured_at = datetime.now(UTC) + timedelta(hours=1)
    return {
        "payload": _changed(good, timestamp=rfc3339(measured_at)),
        "measured_at": measured_at,
        "reason": "timestamp_future",
        "layer": "schema",
        "is_retryable": True,
    }


SPOILERS: Final[dict[str, Spoiler]] = {
    "no JSON": lambda _, n: _not_decodable(b"temperature=21.5;n=%d" % n),
    "nothing": lambda _good, _n: {"payload": b"", "reason": "empty", "layer": "protocol"},
    "white space": lambda _, n: _not_decodable(b" " * n + b"\n"),
    "cut short": lambda good, _: _not_decodable(good.message.payload[:-2]),
    "two documents": lambda good, _: _not_decodable(good.message.payload * 2),
    "ill-formed UTF-8": lambda good, _: _not_decodable(
        good.message.payload.replace(b'"door"', b'"d\xc3\x28r"')
    ),
    "not a number": lambda good, _: _not_decodable(good.message.payload.replace(b"21.5", b"NaN")),
    "another device": lambda good, _: {
        "payload": _changed(good, device_id="somebody-else"),
        "measured_at": good.measured_at,
        "reason": "device_mismatch",
        "layer": "schema",
    },
    "from the future": _from_the_future,
    "no metrics": lambda good, n: {
        "payload": _changed(good, metrics={}, n=n),
        "measured_at": good.measured_at,
        "reason": "schema_mismatch",
        "layer": "schema",
    },
}


def malformed(number: int, good: Expected, spoiler: Spoiler) -> Expected:
    spoiled = spoiler(good, number)
    payload = spoiled.pop("payload")
    message = msgspec.structs.replace(good.message, payload=payload)
    spoiled.setdefault("measured_at", None)
    return msgspec.structs.replace(good, message=message, body=None, warnings=(), **spoiled)


def make_messages() -> Iterator[Expected]:
    # Half of the malformed ones from ten sick devices, so that their order shows as well.
    chosen = random.Random(20)  # noqa: S311 -- not for secrets
    sick = [n for n in range(MESSAGES) if n % DEVICES % 100 == 42]
    numbers = set(chosen.sample(sick, MALFORMED // 2))
    others = [n for n in range(MESSAGES) if n not in numbers]
    numbers.update(chosen.sample(others, MALFORMED - len(numbers)))
    spoilers = itertools.cycle(SPOILERS.values())
    for number in range(MESSAGES):
        # Multiplied, so that a device sends messages of several kinds.
        measured_at = datetime.now(UTC)
        good = sound(number, f"device-{number * 7 % DEVICES}", measured_at)
        yield malformed(number, good, next(spoilers)) if number in numbers else good


# ---------------------------------------------------------------- what a record must look like


def murmur2(data: bytes) -> int:
    """Hash as Kafka's own clients do for a record's key (org.apache.kafka.common.utils.Utils)."""
    mask, m = 0xFFFF_FFFF, 0x5BD1_E995
    h = 0x9747_B28C ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if len(data) > whole:
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition_of(key: bytes) -> int:
    return (murmur2(key) & 0x7FFF_FFFF) % PARTITIONS


def assert_is_record_of(expected: Expected, record: ConsumedRecord, received_at: str) -> None:
    """Check what telemetry and dead letters have in common."""
    key = expected.device_id.encode()
    assert key == record.key
    assert partition_of(key) == record.partition
    assert RFC3339_MICROSECONDS.fullmatch(received_at), received_at
    received_us = round(datetime.fromisoformat(received_at).timestamp() * 1_000_000)
    assert received_us // 1000 == record.timestamp_ms
    names = [name for name, _ in record.headers]
    assert len(set(names)) == len(names), f"a header is there twice: {names}"


def assert_is_telemetry_of(expected: Expected, record: ConsumedRecord) -> None:
    assert expected.body is not None, f"telemetry made of {expected.message.payload[:60]!r}"
    assert expected.measured_at is not None
    value = json.loads(record.value or b"")
    assert_is_record_of(expected, record, value["server_received_at"])
    _assert_value_is_of(expected.body, expected.measured_at, expected.warnings, value)
    given = value["timestamp"] if expected.given_key is None else expected.given_key
    digest = blake2b(expected.message.payload, digest_size=8).hexdigest()
    assert {
        "content-type": b"application/json",
        "idempotency-key": f"{expected.device_id}:{given}:{digest}".encode(),
        **{name: text.encode() for name, text in expected.headers},
    } == dict(record.headers)


def _assert_value_is_of(
    body: dict[str, Any], measured_at: datetime, warnings: tuple[str, ...], value: dict[str, Any]
) -> None:
    own = {
        name: said
        for name, said in body.items()
        if name not in {"server_received_at", "time_drift_seconds", "warnings", "timestamp_sent"}
    }
    if value["timestamp"] != own["timestamp"]:
        own["timestamp_sent"] = own["timestamp"]
    own["timestamp"] = value["timestamp"]
    # Two of these messages within a second share their id, which is the timestamp.
    repeated = [each for each in value.get("warnings", []) if each == "idempotency_id_repeated"]
    if warnings or repeated:
        own["warnings"] = [*warnings, *repeated]
    server = {name: value[name] for name in ("server_received_at", "time_drift_seconds")}
    assert {**own, **server} == value
    assert value["timestamp"].endswith("Z")
    assert measured_at == datetime.fromisoformat(value["timestamp"])
    received_at = datetime.fromisoformat(value["server_received_at"])
    drift = (received_at - measured_at) / timedelta(seconds=1)
    assert drift == pytest.approx(value["time_drift_seconds"], abs=1e-6)


def assert_is_dead_letter_of(expected: Expected, record: ConsumedRecord, meant_for: str) -> str:
    """Check a dead letter and return its id."""
    assert expected.message.payload == record.value
    headers = {name: (value or b"").decode() for name, value in record.headers}
    assert_is_record_of(expected, record, headers["dlq.received-at"])
    name = headers["idempotency-key"].partition(":")[2].rpartition(":")[0]
    if expected.given_key is not None:
        assert expected.given_key == name
    elif expected.measured_at is None:
        assert name == ""
    else:  # How many digits the record's form has is not said.
        assert name.endswith("Z")
        assert expected.measured_at == datetime.fromisoformat(name)
    digest = blake2b(expected.message.payload, digest_size=8).hexdigest()
    detail = headers["dlq.detail"]
    sent = expected.message.content_type
    wanted = {
        "dlq.reason": expected.reason,
        "dlq.layer": expected.layer,
        "dlq.retryable": "true" if expected.is_retryable else "false",
        "dlq.kafka-topic": meant_for,
        "dlq.mqtt-topic": expected.message.topic,
        "dlq.attempt": "1",
        "dlq.copy": "false",
        "idempotency-key": f"{expected.device_id}:{name}:{digest}",
        "__connect.errors.topic": meant_for,
        "__connect.errors.stage": expected.layer,
        "__connect.errors.exception.message": detail,
        **({} if sent is None else {"content-type": sent}),
        **dict(expected.headers),
    }
    free = {name: headers.pop(name) for name in ("dlq.id", "dlq.detail", "dlq.received-at")}
    assert wanted == headers
    assert detail.strip(), "dlq.detail says nothing"
    assert detail.isprintable(), detail
    assert 7 == uuid.UUID(free["dlq.id"]).version
    return free["dlq.id"]


# ---------------------------------------------------------------- the test


@pytest.mark.slow
def test_twenty_thousand_messages_end_in_exactly_one_topic_each_as_the_contract_has_it(
    scene: Scene,
) -> None:
    scene.create_topics(PARTITIONS)
    bridge = scene.start(route={"user_properties": ["site"]})
    expected: list[Expected] = []

    def sent() -> Iterator[DeviceMessage]:
        for each in make_messages():
            expected.append(each)
            yield each.message

    ledger = scene.devices(window=1_000).publish(sent(), timeout_s=120.0)
    scene.await_quiet(bridge)

    assert MESSAGES == len(ledger.acknowledged)
    found = scene.read()
    reckoning = scene.reckon(bridge, found)
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()
    by_sequence = {
        each.body["metrics"]["sequence"]: each for each in expected if each.body is not None
    }
    telemetry = [each for each in found.telemetry if each.key != PROBE.encode()]
    for record in telemetry:
        sequence = json.loads(record.value or b"")["metrics"]["sequence"]
        assert_is_telemetry_of(by_sequence[sequence], record)
    by_bytes = {
        (each.message.topic, each.message.payload): each for each in expected if each.body is None
    }
    ids = [
        assert_is_dead_letter_of(
            by_bytes[(record.header("dlq.mqtt-topic") or b"").decode(), record.value or b""],
            record,
            scene.telemetry,
        )
        for record in found.dead_letters
    ]
    # The same bytes of one device, nothing at all for instance, are one message sent again.
    assert len(by_bytes) == len(set(ids)) == len(ids)
    reasons = Counter((each.header("dlq.reason") or b"").decode() for each in found.dead_letters)
    assert {
        reason: bridge.metric("bridge_dead_letters_total", reason=reason) for reason in reasons
    } == reasons
    flagged = bridge.metric("ingestion_messages_total", status="flagged")
    assert flagged >= sum(bool(each.warnings) for each in expected)
    repeats = MALFORMED - len(by_bytes)
    assert repeats == bridge.metric("bridge_messages_settled_total", outcome="duplicate")
    report(
        f"{len(telemetry)} telemetry and {len(ids)} dead letters, each header and field checked;"
        f" reasons {dict(sorted(reasons.items()))}; flagged {flagged:.0f};"
        f" partitions used {sorted({each.partition for each in telemetry})}"
    )


def test_murmur2_here_is_the_one_of_the_java_client() -> None:
    # From UtilsTest.testMurmur2 of Apache Kafka, as unsigned numbers.
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}

    assert {text: number & 0xFFFF_FFFF for text, number in known.items()} == {
        text: murmur2(text) for text in known
    }
