"""A batch: each reading is telemetry of its own, and a bad one sinks no other."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
import msgspec
import pytest

from bridge.config.sections import LimitsSection, Route, ValidationSection
from bridge.fleet.dedup_window import DedupWindow
from bridge.fleet.duplicates import Duplicates
from bridge.fleet.limits import Limits
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.kafka.record import Record
from bridge.pipeline.allowance import Allowance
from bridge.pipeline.flow import Flow
from bridge.pipeline.policy import Policy
from bridge.pipeline.verdict import Dropped, Duplicate, Readings, Single
from tests.pipeline.given import DEVICE, RECEIVED, TIMESTAMP, Packet, headers, value

TOPIC = "devices/dev-0001/telemetry/batch"
GATEWAY_TOPIC = "gateways/gw-1/telemetry/batch"
ROUTES = (
    Route(filter="devices/+/telemetry/batch", kind="batch", payload_bytes_max=1_048_576),
    Route(filter="gateways/+/telemetry/batch", kind="batch", payload_bytes_max=1_048_576),
)


def reading(number: int, **changes: object) -> dict[str, Any]:
    return {"timestamp": TIMESTAMP, "metrics": {"temperature": 20.0, "number": number}} | changes


def batch(*readings: object, **changes: object) -> dict[str, Any]:
    whole = {"device_id": DEVICE, "batch_id": "b-1", "readings": list(readings)} | changes
    return {name: each for name, each in whole.items() if each is not ...}


def packet(content: object, *, topic: str = TOPIC, **fields: Any) -> Packet:
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Packet(payload=payload, topic=topic, **fields)


def flow(
    *,
    limits: LimitsSection | None = None,
    registry: Registry | None = None,
    knows: bool = False,
    routes: tuple[Route, ...] = ROUTES,
) -> Flow:
    allowance = Allowance.of(limits, routes, Limits()) if limits is not None else None
    return Flow(
        routes=routes,
        dead_letter_topic="dlq",
        validation=ValidationSection(),
        entropy=lambda size: b"\xff" * size,
        duplicates=Duplicates(DedupWindow(ttl_s=1e9, keys_max=10_000, keys_min=10))
        if knows
        else None,
        policy=Policy.of(ValidationSection(), registry or Registry(), allowance),
    )


def readings_of(carrying: Flow, sent: Packet) -> list[Single]:
    (outcome,) = carrying.process([sent], RECEIVED)
    assert isinstance(outcome, Readings), outcome
    return outcome.outcomes


def letter_of(carrying: Flow, sent: Packet) -> Record:
    (outcome,) = carrying.process([sent], RECEIVED)
    assert isinstance(outcome, Record)
    assert outcome.dead_letter is not None
    return outcome


def reason_of(outcome: Single) -> str:
    assert isinstance(outcome, Record)
    assert outcome.dead_letter is not None
    return outcome.dead_letter.reason


@pytest.mark.parametrize(
    ("content_type", "encode"),
    [
        (None, lambda tree: json.dumps(tree).encode()),
        ("application/msgpack", msgspec.msgpack.encode),
        ("application/cbor", cbor2.dumps),
    ],
)
def test_each_reading_becomes_a_telemetry_record(content_type: str | None, encode: Any) -> None:
    payload = encode(batch(reading(0), reading(1, metadata={"site": "x"}), site="roof"))

    first, second = readings_of(flow(), packet(payload, content_type=content_type))

    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert {
        "device_id": DEVICE,
        "batch_id": "b-1",
        "batch_index": 0,
        "timestamp": TIMESTAMP,
        "metrics": {"temperature": 20.0, "number": 0},
        "site": "roof",
        "server_received_at": RECEIVED.rfc3339,
        "time_drift_seconds": 0.877,
    } == value(first)
    assert (1, {"site": "x"}) == (value(second)["batch_index"], value(second)["metadata"])
    assert "application/json" == headers(first)["content-type"]
    assert headers(first)["idempotency-key"] != headers(second)["idempotency-key"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"timestamp": "2026-11-23T17:35:24.123Z"}', "schema_mismatch"),
        (b"5", "schema_mismatch"),
        (b"[]", "schema_mismatch"),
        (b'{"timestamp":"2031-01-01T00:00:00Z","metrics":{"a":1}}', "timestamp_future"),
        (b'{"timestamp":"2026-11-23T17:35:24Z","metrics":{"a":"\xff"}}', "not_decodable"),
        (b'{"timestamp":"2026-11-23T17:35:24Z","metrics":{"a":"\\ud800"}}', "not_decodable"),
        (b'{"timestamp":"2026-11-23T17:35:24Z","metrics":{"a":NaN}}', "not_decodable"),
        (b'{"timestamp":"2026-11-23T17:35:24Z","metrics":{"a":"\\x, ]}"}}', "not_decodable"),
        (b'{"timestamp":"2026-11-23T17:35:24Z","metrics":]', "not_decodable"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "not_decodable"),
        (b'{"timestamp":"2026-11-23T17:35:24Z","metrics":{"a":1},"device_id":"x/y"}', "schema_m"),
        (b'{"timestamp":"2026-11-23T17:35:24Z","metrics":{"a":1},"device_id":"z"}', "device_mis"),
    ],
)
def test_a_bad_reading_is_a_dead_letter_of_its_bytes_alone(bad: bytes, reason: str) -> None:
    good = json.dumps(reading(0)).encode()
    payload = b'{"device_id":"dev-0001","batch_id":7,"readings":[%s , %s,%s]}' % (good, bad, good)

    before, letter, _ = readings_of(flow(), packet(payload))

    assert isinstance(before, Record)
    assert before.dead_letter is None
    assert reason_of(letter).startswith(reason)
    assert isinstance(letter, Record)
    assert bad == letter.value == letter.origin.payload
    found = headers(letter)
    assert ("7", "1") == (found["dlq.batch-id"], found["dlq.reading-index"])
    assert '{"device_id":"dev-0001","batch_id":7}' == found["dlq.batch-head"]
    assert (TOPIC, b"dev-0001") == (found["dlq.mqtt-topic"], letter.key)


def test_the_time_of_messagepack_may_stand_beside_the_readings_as_within_them() -> None:
    shared = datetime(2026, 11, 23, 17, 35, 24, tzinfo=UTC)
    own = shared + timedelta(seconds=1)
    sent = batch(reading(0, timestamp=own), {"metrics": {"a": 1}}, timestamp=shared)
    payload = msgspec.msgpack.encode(sent)

    records = readings_of(flow(), packet(payload, content_type="application/msgpack"))

    assert ["2026-11-23T17:35:25Z", "2026-11-23T17:35:24Z"] == [
        value(each)["timestamp"] for each in records if isinstance(each, Record)
    ]


def test_a_value_that_json_cannot_hold_sinks_one_reading_of_cbor() -> None:
    payload = cbor2.dumps(batch(reading(0), reading(1, blob=b"\0\1"), reading(2)))

    outcomes = readings_of(flow(), packet(payload, content_type="application/cbor"))

    assert "not_decodable" == reason_of(outcomes[1])
    assert [None, None] == [each.dead_letter for each in outcomes[::2] if isinstance(each, Record)]


@pytest.mark.parametrize(
    ("content", "reason", "detail"),
    [
        (b"", "empty", "payload has no bytes"),
        (b"{", "not_decodable", ""),
        ([1], "schema_mismatch", "message is a list of 1, expected an object"),
        (batch(reading(0), readings=...), "schema_mismatch", "readings is missing"),
        (batch(readings="x"), "schema_mismatch", 'readings is "x", expected an array'),
        (batch(), "schema_mismatch", "readings has 0 elements, expected 1 to 1000"),
        (batch(*[1] * 1_001), "schema_mismatch", "readings has 1001 elements, expected 1 to 1000"),
        (batch(1, batch_id=...), "schema_mismatch", "batch_id is missing"),
        (batch(1, batch_id=""), "schema_mismatch", 'batch_id is "", expected a string of 1 to'),
        (batch(1, batch_id=2**63), "schema_mismatch", "or an integer of 64 bits"),
        (batch(1, batch_id=True), "schema_mismatch", "batch_id is true"),
        (batch(1, device_id="dev-2"), "device_mismatch", 'the MQTT topic is that of "dev-0001"'),
        (batch(1, device_id=None), "schema_mismatch", "device_id is null, expected 1 to 64"),
        (batch(1, more="x" * 5_000), "schema_mismatch", "larger than 4096 bytes"),
        (b'{"a":' * 35 + b"1" + b"}" * 35, "not_decodable", "nested 35 levels deep, at most 32"),
        (b'{"readings":[%s]}' % (b"[" * 5_000 + b"]" * 5_000), "schema_mismatch", "batch_id is"),
        (b'{"device_id":"dev-0001","batch_id":1,"readings":[1,]}', "not_decodable", ""),
        (b'{"device_id":"dev-0001","batch_id":1,"readings":[NaN]', "not_decodable", ""),
        (b'{"device_id":"dev-0001","batch_id":1,"readings":[NaN]} x', "not_decodable", ""),
        (b'{"device_id":"dev-0001","batch_id" 1,"readings":[NaN]}', "not_decodable", ""),
        (b'{"device_id":"\\ud800","batch_id":1,"readings":[1]}', "not_decodable", ""),
        (b" " * 1_048_577, "too_large", "at most 1048576 on this route"),
    ],
)
def test_what_is_no_batch_is_one_dead_letter_of_the_whole(
    content: object, reason: str, detail: str
) -> None:
    sent = packet(content)

    letter = letter_of(flow(), sent)

    assert reason == reason_of(letter)
    assert letter.dead_letter is not None
    assert detail in letter.dead_letter.detail
    assert sent.payload == letter.value
    assert "dlq.batch-id" not in headers(letter)


@pytest.mark.parametrize("content_type", ["application/protobuf", "application/x-protobuf"])
def test_a_format_that_holds_no_batch_is_named(content_type: str) -> None:
    letter = letter_of(flow(), packet(b"\x0a\x01x", content_type=content_type))

    assert "unsupported_format" == reason_of(letter)


def test_a_repeated_batch_adds_nothing_and_a_half_delivered_one_is_completed() -> None:
    carrying = flow(knows=True)
    readings_of(carrying, packet(batch(reading(0), reading(1))))

    outcomes = readings_of(carrying, packet(batch(reading(0), reading(1), reading(2))))

    assert [Duplicate, Duplicate, Record] == [type(each) for each in outcomes]


def test_the_same_reading_twice_in_a_batch_is_carried_once() -> None:
    first, second = readings_of(flow(knows=True), packet(batch(reading(0), reading(0))))

    assert isinstance(first, Record)
    assert isinstance(second, Duplicate)
    assert (first.dedup_key, True) == (second.key, second.is_under_way)


def test_a_key_that_the_publisher_gives_is_that_of_the_batch_and_flags_no_reading() -> None:
    sent = packet(batch(reading(0), reading(1)), user_properties=[("idempotency-key", "upload-5")])

    outcomes = readings_of(flow(knows=True), sent)

    records = [each for each in outcomes if isinstance(each, Record)]
    keys = [headers(each)["idempotency-key"].split(":")[1] for each in records]
    assert ["upload-5.0", "upload-5.1"] == keys
    assert [False, False] == [each.is_flagged for each in records]


def registry(**entries: DeviceEntry) -> Registry:
    made = Registry()
    made.replace({name.replace("_", "-"): entry for name, entry in entries.items()})
    return made


def from_gateway(*readings: Mapping[str, Any]) -> Packet:
    return packet(batch(*readings, device_id=...), topic=GATEWAY_TOPIC)


def test_a_gateway_speaks_for_the_devices_that_are_assigned_to_it() -> None:
    known = registry(dev_1=DeviceEntry(gateway="gw-1"), dev_2=DeviceEntry(gateway="gw-2"))
    sent = from_gateway(
        reading(0, device_id="dev-1"), reading(1, device_id="dev-2"), reading(2, device_id="dev-3")
    )

    own, foreign, unknown = readings_of(flow(registry=known), sent)

    assert isinstance(own, Record)
    assert (b"dev-1", "dev-1") == (own.key, value(own)["device_id"])
    assert headers(own)["idempotency-key"].startswith("dev-1:")
    assert ["device_mismatch"] * 2 == [reason_of(foreign), reason_of(unknown)]
    assert isinstance(foreign, Record)
    assert foreign.dead_letter is not None
    assert (
        'device_id is "dev-2", which the registry does not assign to "gw-1",'
        " the sender by the MQTT topic"
    ) == foreign.dead_letter.detail
    assert b"gw-1" == foreign.key
    assert isinstance(unknown, Record)
    assert ["true"] * 2 == [headers(each)["dlq.retryable"] for each in (foreign, unknown)]


def test_until_a_registry_is_known_a_gateway_speaks_for_nobody_and_a_replay_may_help() -> None:
    (outcome,) = readings_of(flow(), from_gateway(reading(0, device_id="dev-1")))

    assert "device_mismatch" == reason_of(outcome)
    assert isinstance(outcome, Record)
    found = headers(outcome)
    assert (
        'device_id is "dev-1", which no registry known yet assigns to "gw-1",'
        " the sender by the MQTT topic"
    ) == found["dlq.detail"]
    assert "true" == found["dlq.retryable"]


def test_no_registry_makes_a_batch_of_another_device_right() -> None:
    letter = letter_of(flow(), packet(batch(reading(0), device_id="dev-2")))

    assert ("device_mismatch", "false") == (reason_of(letter), headers(letter)["dlq.retryable"])


def test_a_reading_of_nobody_is_refused() -> None:
    (outcome,) = readings_of(flow(), from_gateway(reading(0)))

    assert isinstance(outcome, Record)
    assert outcome.dead_letter is not None
    assert "device_id is missing, in reading and batch alike" == outcome.dead_letter.detail


def test_layer_three_judges_each_reading() -> None:
    hot = {"temperature": 900.0}
    outcomes = readings_of(flow(), packet(batch(reading(0), reading(1, metrics=hot))))

    letters = [
        each.dead_letter
        for outcome in outcomes
        for each in getattr(outcome, "records", [])
        if each.dead_letter is not None
    ]
    assert [("out_of_range", True)] == [(each.reason, each.is_copy) for each in letters]


def test_a_batch_costs_its_sender_one_token_and_a_known_one_nothing() -> None:
    carrying = flow(limits=LimitsSection(per_device_per_s=1, burst=2), knows=True)
    first = packet(batch(*map(reading, range(100))))
    for _ in range(5):
        readings_of(carrying, first)
    readings_of(carrying, packet(batch(*map(reading, range(100, 200)))))

    letter = letter_of(carrying, packet(batch(*map(reading, range(200, 300)))))

    assert "rate_limited" == reason_of(letter)
    assert 0 == sum(isinstance(each, Duplicate) for each in _later(carrying))


def _later(carrying: Flow) -> list[Single]:
    """Give what becomes of readings whose batch was limited, when they come again."""
    later = msgspec.structs.replace(RECEIVED, monotonic_s=RECEIVED.monotonic_s + 60)
    (outcome,) = carrying.process([packet(batch(*map(reading, range(200, 300))))], later)
    assert isinstance(outcome, Readings)
    return outcome.outcomes


def _limited(carrying: Flow, *timestamps: object) -> list[bool]:
    """Send a batch for each timestamp, with one good reading and one of that time."""
    sent = [
        packet(batch(reading(number), reading(number, timestamp=timestamp)))
        for number, timestamp in enumerate(timestamps)
    ]
    outcomes = carrying.process(sent, RECEIVED)
    return [isinstance(each, Record) and reason_of(each) == "rate_limited" for each in outcomes]


@pytest.mark.parametrize("year", [2031, 9999])
def test_a_reading_of_a_time_that_is_refused_pays_for_no_batch(year: int) -> None:
    carrying = flow(limits=LimitsSection(per_device_per_s=1, burst=2))

    ahead = [f"{year}-01-01T00:0{minute}:00Z" for minute in range(4)]

    assert [False, False, True, True] == _limited(carrying, *ahead)


def test_a_reading_of_a_time_that_is_refused_takes_nothing_from_the_batches_after_it() -> None:
    carrying = flow(limits=LimitsSection(per_device_per_s=1, burst=2))
    _limited(carrying, "9999-01-01T00:00:00Z", TIMESTAMP)

    backlog = [f"2026-11-23T17:35:{second}Z" for second in (26, 27, 28)]

    assert [False, False, False] == _limited(carrying, *backlog)


def test_while_our_clock_is_doubted_no_time_of_a_batch_pays_for_it() -> None:
    carrying = flow(limits=LimitsSection(per_device_per_s=1, burst=2))
    carrying.trust_clock(is_trusted=False)

    ahead = [f"2031-01-01T00:0{minute}:00Z" for minute in range(4)]

    assert [False, False, True, True] == _limited(carrying, *ahead)


def test_a_batch_over_the_limit_is_dropped_where_the_operator_says_so() -> None:
    limits = LimitsSection(per_device_per_s=1, burst=1, on_exceed="drop")
    carrying = flow(limits=limits)
    readings_of(carrying, packet(batch(reading(0))))

    (outcome,) = carrying.process([packet(batch(reading(1)))], RECEIVED)

    assert isinstance(outcome, Dropped)


def test_a_retained_batch_is_marked_and_counts_for_no_limit() -> None:
    carrying = flow(limits=LimitsSection(per_device_per_s=1, burst=1))
    for number in range(3):
        (record,) = readings_of(carrying, packet(batch(reading(number)), retain=True))

    assert isinstance(record, Record)
    assert "true" == headers(record)["mqtt.retained"]
