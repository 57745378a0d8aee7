"""The oracle must be able to fail: each of its sentences is broken here once."""

import json
from collections.abc import Mapping
from hashlib import sha256

import pytest

from tests.support.devices import DeviceMessage, Ledger, telemetry
from tests.support.kafka_client import ConsumedRecord
from tests.support.oracle import Books, Reckoning, reckon

BALANCED = {
    "bridge_messages_received_total": 5.0,
    'bridge_messages_settled_total{outcome="produced"}': 3.0,
    'bridge_messages_settled_total{outcome="dead_lettered"}': 1.0,
    "bridge_messages_in_flight": 1.0,
    "bridge_conservation_residue": 0.0,
}


def ledger_of(*messages: DeviceMessage, unanswered: tuple[DeviceMessage, ...] = ()) -> Ledger:
    return Ledger(sent=[*messages, *unanswered], acknowledged=list(messages))


def record_of(message: DeviceMessage, offset: int = 0, partition: int = 0) -> ConsumedRecord:
    device_id = message.topic.split("/")[1]
    value = {**json.loads(message.payload), "server_received_at": "2026-01-01T00:00:00.000000Z"}
    return consumed(device_id, json.dumps(value).encode(), offset, partition)


def letter_of(
    message: DeviceMessage, offset: int = 0, also: Mapping[str, str] | None = None
) -> ConsumedRecord:
    device_id = message.topic.split("/")[1]
    headers = {"dlq.mqtt-topic": message.topic, **(also or {})}
    return consumed(device_id, message.payload, offset, headers=headers)


def consumed(
    key: str,
    value: bytes,
    offset: int = 0,
    partition: int = 0,
    headers: Mapping[str, str] | None = None,
) -> ConsumedRecord:
    return ConsumedRecord(
        topic="any",
        partition=partition,
        offset=offset,
        timestamp_ms=0,
        key=key.encode(),
        value=value,
        headers=[(name, text.encode()) for name, text in (headers or {}).items()],
    )


def judge(
    ledger: Ledger,
    telemetry_records: list[ConsumedRecord],
    dead_letters: list[ConsumedRecord] | None = None,
) -> Reckoning:
    return reckon([ledger], telemetry=telemetry_records, dead_letters=dead_letters or [])


GOOD = [telemetry("device-1", number) for number in range(3)]
BAD = DeviceMessage(topic="devices/device-1/telemetry", payload=b"not JSON")


def test_the_oracle_holds_where_every_message_is_in_one_topic_in_order() -> None:
    ledger = ledger_of(*GOOD, BAD)

    reckoning = judge(ledger, [record_of(each, n) for n, each in enumerate(GOOD)], [letter_of(BAD)])

    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()
    assert (4, 4, 3, 1) == (
        reckoning.sent,
        reckoning.acknowledged,
        reckoning.telemetry,
        reckoning.dead_letters,
    )


def test_an_acknowledged_message_that_is_in_no_topic_is_missing() -> None:
    reckoning = judge(ledger_of(*GOOD), [record_of(GOOD[0])])

    with pytest.raises(AssertionError, match="2 PUBACKed but in neither topic"):
        reckoning.assert_nothing_lost()


def test_a_message_whose_publisher_got_no_puback_may_be_there_or_not() -> None:
    ledger = ledger_of(GOOD[0], unanswered=(GOOD[1], GOOD[2]))

    reckoning = judge(ledger, [record_of(GOOD[0], 0), record_of(GOOD[1], 1)])

    reckoning.assert_holds()


def test_a_message_that_is_in_both_topics_is_seen() -> None:
    reckoning = judge(ledger_of(GOOD[0]), [record_of(GOOD[0])], [letter_of(GOOD[0])])

    with pytest.raises(AssertionError, match="in the telemetry and in the dead letter topic"):
        reckoning.assert_nothing_lost()


def test_a_flagged_copy_among_the_dead_letters_is_no_second_place() -> None:
    copy = letter_of(GOOD[0], also={"dlq.copy": "true"})

    judge(ledger_of(GOOD[0]), [record_of(GOOD[0])], [copy]).assert_nothing_lost()


@pytest.mark.parametrize(
    ("records", "dead_letters"),
    [
        pytest.param([record_of(telemetry("device-1", 99))], [], id="telemetry"),
        pytest.param([record_of(telemetry("device-2", 0))], [], id="telemetry of another device"),
        pytest.param([consumed("device-1", b"rubbish")], [], id="telemetry that is no JSON"),
        pytest.param([], [letter_of(BAD)], id="a dead letter"),
    ],
)
def test_a_record_that_nobody_published_is_seen(
    records: list[ConsumedRecord], dead_letters: list[ConsumedRecord]
) -> None:
    reckoning = judge(ledger_of(), records, dead_letters)

    with pytest.raises(AssertionError, match="1 in Kafka, but never published"):
        reckoning.assert_nothing_lost()


def test_a_record_whose_content_was_changed_is_unpublished_and_its_message_missing() -> None:
    changed = json.loads(GOOD[0].payload)
    changed["metrics"]["temperature"] = 21.6

    reckoning = judge(ledger_of(GOOD[0]), [consumed("device-1", json.dumps(changed).encode())])

    assert (1, 1) == (len(reckoning.missing), len(reckoning.unpublished))


def test_a_newer_record_before_an_older_one_of_the_device_is_out_of_order() -> None:
    records = [record_of(GOOD[1], 0), record_of(GOOD[0], 1), record_of(GOOD[2], 2)]

    reckoning = judge(ledger_of(*GOOD), records)

    reckoning.assert_nothing_lost()
    with pytest.raises(AssertionError, match="1 records behind a newer one of their device"):
        reckoning.assert_in_order()


def test_devices_are_not_in_order_with_each_other() -> None:
    first, second = telemetry("device-1", 0), telemetry("device-2", 0)

    judge(ledger_of(first, second), [record_of(second, 0), record_of(first, 1)]).assert_in_order()


def test_a_device_of_two_ledgers_is_refused_since_it_has_no_order() -> None:
    with pytest.raises(AssertionError, match="device-1 publishes through two ledgers"):
        reckon([ledger_of(GOOD[0]), ledger_of(GOOD[1])], telemetry=[], dead_letters=[])


def test_a_second_copy_is_counted_and_says_nothing_about_order() -> None:
    records = [record_of(each, n) for n, each in enumerate([*GOOD, GOOD[0], GOOD[1]])]

    reckoning = judge(ledger_of(*GOOD), records)

    reckoning.assert_holds()
    assert 2 == reckoning.duplicates
    with pytest.raises(AssertionError, match="2 records are there more than once"):
        reckoning.assert_nothing_doubled()


def test_messages_alike_in_every_byte_are_one_message_that_must_be_there() -> None:
    letters = [letter_of(BAD, offset) for offset in range(2)]

    assert [] == judge(ledger_of(BAD, BAD), [], letters[:1]).missing
    assert 1 == len(judge(ledger_of(BAD, BAD), [], []).missing)
    assert 1 == judge(ledger_of(BAD), [], letters).duplicates


def test_a_device_in_two_partitions_is_seen() -> None:
    records = [record_of(GOOD[0], 0, partition=0), record_of(GOOD[1], 0, partition=1)]

    with pytest.raises(AssertionError, match="devices in several partitions"):
        judge(ledger_of(*GOOD), records).assert_in_order()


def test_a_timestamp_that_the_bridge_rewrote_is_still_the_same_message() -> None:
    message = telemetry("device-1", 0, timestamp=1_760_000_000)
    body = json.loads(message.payload)
    rewritten = {**body, "timestamp": "2025-10-09T08:53:20Z", "timestamp_sent": body["timestamp"]}

    judge(
        ledger_of(message), [consumed("device-1", json.dumps(rewritten).encode())]
    ).assert_nothing_lost()


def test_a_cut_dead_letter_is_known_by_the_hash_of_the_whole() -> None:
    letter = letter_of(BAD, also={"dlq.payload-sha256": sha256(BAD.payload).hexdigest()})
    cut = ConsumedRecord(
        topic=letter.topic,
        partition=0,
        offset=0,
        timestamp_ms=0,
        key=letter.key,
        value=BAD.payload[:3],
        headers=letter.headers,
    )

    judge(ledger_of(BAD), [], [cut]).assert_nothing_lost()


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("bridge_conservation_residue", 1.0, "residue 1"),
        ("bridge_messages_received_total", 6.0, "do not add up"),
        ("bridge_messages_in_flight", 0.0, "do not add up"),
        ("bridge_messages_spooled", 1.0, "do not add up"),
        ("bridge_messages_spooled_at_start", 1.0, "do not add up"),
    ],
)
def test_counters_that_do_not_add_up_are_seen(name: str, value: float, complaint: str) -> None:
    sound = reckon([], telemetry=[], dead_letters=[], metrics=BALANCED)
    broken = reckon([], telemetry=[], dead_letters=[], metrics={**BALANCED, name: value})

    sound.assert_holds()
    with pytest.raises(AssertionError, match=complaint):
        broken.assert_holds()


def test_the_books_are_also_read_from_the_last_event() -> None:
    stopped = {"received": 5, "produced": 3, "dead_lettered": 1, "unsettled": 1, "residue": 0}
    stopped["duplicates"] = 0

    assert Books.from_metrics(BALANCED) == Books.from_stopped(stopped)


def test_what_lies_in_the_spool_is_in_the_books_at_both_ends() -> None:
    before = {"received": 5, "produced": 1, "dead_lettered": 0, "duplicates": 1, "residue": 0}
    stopped = {**before, "spooled": 3, "spooled_at_start": 2, "unsettled": 2}
    spooled = {"bridge_messages_spooled": 4.0, "bridge_messages_spooled_at_start": 4.0}

    assert Books.from_stopped(stopped).is_balanced
    assert Books.from_metrics({**BALANCED, **spooled}).is_balanced
