"""What today's rules make of letters, and that it is what they would have made of the messages."""

import json
from typing import Any

import cbor2
import msgspec
import pytest
from hypothesis import given, strategies as st

from bridge.config.sections import Route
from bridge.fleet.registry import DeviceEntry
from bridge.kafka.record import Record
from bridge.pipeline.letters.selection import LeftOut
from tests.pipeline.given import RECEIVED, TOPIC, Packet, headers, message, value
from tests.pipeline.letters.given import (
    LATER,
    RECALL,
    letters_of,
    records_by,
    registry_of,
    rejudging,
)

RECALLED = message(metadata={"firmware_version": "1.2.3"})
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
BATCHES = Route(kind="batch", payload_bytes_max=1_048_576)
ENCODERS = {
    "application/json": lambda sent: json.dumps(sent).encode(),
    "application/msgpack": msgspec.msgpack.encode,
    "application/cbor": cbor2.dumps,
}


def without(record: Record, *names: str) -> dict[str, str]:
    return {name: text for name, text in headers(record).items() if name not in names}


def test_a_letter_of_a_withdrawn_rule_becomes_the_record_it_would_have_been() -> None:
    packet = Packet(
        payload=RECALLED,
        content_type="application/json",
        user_properties=[
            ("idempotency-key", "id:1"),
            ("site", "north"),
            ("traceparent", PARENT),
            ("tracestate", "a=b"),
        ],
        retain=True,
    )
    routes = (Route(user_properties=("site",)),)
    (letter,) = letters_of(records_by([packet], routes=routes, **RECALL))
    (live,) = records_by([packet], routes=routes)

    judged = rejudging(routes=routes).judge(letter)

    (record,) = judged.records
    assert judged.is_replayed
    assert headers(live) == without(record, "dlq.replay-of")
    assert "telemetry-dlq/3/0" == headers(record)["dlq.replay-of"]
    assert (live.key, live.value, live.kafka_topic) == (
        record.key,
        record.value,
        record.kafka_topic,
    )
    assert live.dedup_key == record.dedup_key
    assert RECEIVED.unix_us == record.received.unix_us
    assert RECEIVED.rfc3339 == value(record)["server_received_at"]


@given(
    st.dictionaries(st.sampled_from(["device_id", "timestamp", "metrics"]), st.none() | st.text()),
    st.one_of(st.just([]), st.text(max_size=300).map(lambda text: [("idempotency-key", text)])),
)
def test_the_idempotency_key_of_a_letter_stays_that_of_its_message(
    changes: dict[str, Any], properties: list[tuple[str, str]]
) -> None:
    packet = Packet(payload=message(**changes), user_properties=properties)
    records = records_by([packet], **RECALL)

    for letter in letters_of(records):
        (again,) = rejudging().judge(letter).records
        assert dict(letter.headers)["idempotency-key"].decode() == headers(again)["idempotency-key"]


def test_a_property_that_has_a_header_of_its_own_is_given_back_once() -> None:
    route = Route(user_properties=("traceparent", "tracestate", "idempotency-key", "site"))
    sent = [
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "a=1"),
        ("idempotency-key", "k"),
        ("site", "north"),
    ]
    packet = Packet(payload=RECALLED, user_properties=sent)
    (live,) = records_by([packet], routes=(route,))
    (letter,) = letters_of(records_by([packet], routes=(route,), **RECALL))

    (record,) = rejudging(routes=(route,)).judge(letter).records

    assert {"traceparent", "mqtt.user.traceparent", "mqtt.user.site"} <= set(headers(live))
    assert headers(live) == without(record, "dlq.replay-of")


def test_a_letter_that_fails_again_has_its_attempt_raised_and_its_time_kept() -> None:
    (first,) = letters_of(records_by([Packet(payload=RECALLED)], **RECALL))

    (second,) = letters_of(rejudging(**RECALL).judge(first).records, offset=9)
    judged = rejudging(**RECALL).judge(second)

    assert judged.failed is not None
    assert not judged.is_replayed
    found = headers(judged.failed)
    assert (2, "3") == (second.attempt, found["dlq.attempt"])
    assert "telemetry-dlq/3/9" == found["dlq.replay-of"]
    assert RECEIVED.rfc3339 == found["dlq.received-at"]
    assert first.payload == judged.failed.value
    names = list(found)
    assert names.index("dlq.attempt") + 1 == names.index("dlq.replay-of")


def test_what_telemetry_has_already_is_known_and_so_is_what_came_before_in_the_run() -> None:
    packet = Packet(payload=RECALLED)
    (letter,) = letters_of(records_by([packet], **RECALL))
    (live,) = records_by([packet])

    assert LeftOut.KNOWN is rejudging(known=[live.dedup_key]).judge(letter).left_out
    judging = rejudging(known=[])
    first, second = judging.judge(letter), judging.judge(letter)
    judging.settle([first, second])
    third = judging.judge(letter)
    assert [None, LeftOut.KNOWN, LeftOut.KNOWN] == [e.left_out for e in (first, second, third)]


def test_a_copy_comes_though_its_message_is_known_but_only_once_for_all_its_reasons() -> None:
    hot = message(metrics={"temperature": 200}, metadata={"firmware_version": "1.2.3"})
    packet = Packet(payload=hot)
    live, *copies = records_by([packet], firmware_recalled=("1.2.3",))
    letters = letters_of(copies)

    judging = rejudging(known=[live.dedup_key], ranges={"temperature": [0, 300]})
    judged = [judging.judge(each) for each in letters]

    assert [True, True] == [each.is_copy for each in letters]
    assert [None, LeftOut.KNOWN] == [each.left_out for each in judged]
    assert "warnings" not in value(judged[0].records[0])


@pytest.mark.parametrize(
    ("ahead_s", "becomes"), [(1_800, None), (3_600, None), (4_000, "timestamp_future")]
)
def test_the_future_may_have_come(ahead_s: int, becomes: str | None) -> None:
    at_s = RECEIVED.unix_us // 1_000_000 + ahead_s
    (letter,) = letters_of(records_by([Packet(payload=message(timestamp=at_s))]))

    judged = rejudging(now=LATER).judge(letter)

    failed = judged.failed.dead_letter if judged.failed else None
    assert becomes == (failed.reason if failed else None)


def test_age_is_that_at_receipt_however_late_the_replay_comes() -> None:
    (letter,) = letters_of(records_by([Packet(payload=RECALLED)], **RECALL))
    years_later = msgspec.structs.replace(LATER, unix_us=LATER.unix_us + 10**14)

    judged = rejudging(now=years_later).judge(letter)

    assert judged.is_replayed


def test_no_limit_of_messages_a_second_counts_and_flags_are_told_anew() -> None:
    packets = [
        Packet(payload=message(timestamp=f"2026-11-23T17:{n:02}:00Z", metrics={"temperature": 99}))
        for n in range(40)
    ]
    letters = letters_of(records_by(packets, semantic="dlq", ranges={"temperature": [0, 50]}))

    judging = rejudging(ranges={"temperature": [0, 50]})
    judged = [judging.judge(each) for each in letters]

    assert all(each.is_replayed for each in judged)
    assert [True] * 40 == [each.records[0].is_flagged for each in judged]
    copies = [record for each in judged for record in each.records if record.dead_letter]
    assert ["2"] == [headers(each)["dlq.attempt"] for each in copies]  # One a device and minute.


def test_a_letter_that_no_route_matches_is_for_another_bridge() -> None:
    (letter,) = letters_of(records_by([Packet(payload=RECALLED)], **RECALL))

    judged = rejudging(routes=(Route(filter="other/+/telemetry"),)).judge(letter)

    assert (LeftOut.NO_ROUTE, ()) == (judged.left_out, judged.records)


@pytest.mark.parametrize("content_type", ENCODERS)
def test_a_reading_of_a_batch_comes_back_as_the_record_it_would_have_been(
    content_type: str,
) -> None:
    reading = {"timestamp": "2026-11-23T17:35:24Z", "metrics": {"a": 1}, "device_id": "dev-2"}
    batch = {"batch_id": 7, "site": {"name": "north"}, "readings": [reading]}
    packet = Packet(payload=ENCODERS[content_type](batch), content_type=content_type)
    assigned = registry_of(**{"dev-2": DeviceEntry(gateway="dev-0001")})
    (live,) = records_by([packet], routes=(BATCHES,), registry=assigned)
    letters = letters_of(records_by([packet], routes=(BATCHES,)))

    (record,) = rejudging(routes=(BATCHES,), registry=assigned).judge(letters[0]).records

    assert [("device_mismatch", True)] == [(each.reason, each.is_retryable) for each in letters]
    assert value(live) == value(record)
    assert (7, 0, {"name": "north"}) == tuple(
        value(record)[name] for name in ("batch_id", "batch_index", "site")
    )
    assert (b"dev-2", live.dedup_key) == (record.key, record.dedup_key)
    assert headers(live) == without(record, "dlq.replay-of")


def test_a_reading_keeps_the_key_that_the_publisher_gave_its_batch() -> None:
    readings = [{"timestamp": "2026-11-23T17:35:24Z", "metrics": {"a": {}}}]
    payload = json.dumps({"device_id": "dev-0001", "batch_id": "b", "readings": readings}).encode()
    packet = Packet(payload=payload, user_properties=[("idempotency-key", "k")])
    (letter,) = letters_of(records_by([packet], routes=(BATCHES,)))

    (again,) = rejudging(routes=(BATCHES,)).judge(letter).records

    assert headers(again)["idempotency-key"].startswith("dev-0001:k.0:")
    assert "0" == headers(again)["dlq.reading-index"]


def test_a_whole_batch_comes_back_reading_by_reading() -> None:
    readings = [{"timestamp": f"2026-11-23T17:35:2{n}Z", "metrics": {"a": n}} for n in range(3)]
    payload = json.dumps({"device_id": "dev-0001", "batch_id": "b", "readings": readings}).encode()
    narrow = Route(kind="batch", payload_bytes_max=100)
    (letter,) = letters_of(records_by([Packet(payload=payload)], routes=(narrow,)))

    judged = rejudging(routes=(BATCHES,)).judge(letter)

    assert "too_large" == letter.reason
    assert [0, 1, 2] == [value(each)["batch_index"] for each in judged.records]


def test_a_refused_record_becomes_a_letter_and_a_refused_letter_is_cut_down_to_nothing() -> None:
    (letter,) = letters_of(records_by([Packet(payload=RECALLED)], **RECALL))
    judging = rejudging(known=[])
    judged = judging.judge(letter)

    judged = judging.refuse(judged, judged.records[0], error="MSG_SIZE_TOO_LARGE")
    (refused,) = judged.records
    lengths = [len(refused.value)]
    while judged.records[0].value:
        judged = judging.refuse(judged, judged.records[0], error="MSG_SIZE_TOO_LARGE")
        lengths.append(len(judged.records[0].value))

    assert refused.dead_letter is not None
    assert "kafka_refused" == refused.dead_letter.reason
    assert ("2", TOPIC) == (headers(refused)["dlq.attempt"], headers(refused)["dlq.mqtt-topic"])
    assert sorted(lengths, reverse=True) == lengths
    assert str(len(RECALLED)) == headers(judged.records[0])["dlq.payload-bytes"]
