"""The oracle for millions must be able to fail, as the other one is."""

import json
from datetime import UTC, datetime

from tests.faults.numbered import Load, Marks, Verdict, judge
from tests.support.kafka_client import ConsumedRecord

LOAD = Load(["a", "b"], topic="devices/{}/telemetry", began_at=datetime(2026, 1, 1, tzinfo=UTC))


def ledger(count: int, *, unanswered: int = 0) -> Marks:
    marks = Marks()
    for number in range(count):
        for device in (0, 1):
            marks.sent.append(LOAD.message(device, number))
            if number < count - unanswered:
                marks.acknowledged.append(LOAD.message(device, number))
    return marks


def record(device: int, number: int, partition: int = 0, **more: object) -> ConsumedRecord:
    body = {**LOAD.body(device, number), "server_received_at": "2026-01-01T00:00:01Z", **more}
    return ConsumedRecord(
        topic="t",
        partition=partition,
        offset=0,
        timestamp_ms=0,
        key=LOAD.device_ids[device].encode(),
        value=json.dumps(body).encode(),
        headers=[],
    )


def verdict_on(records: list[ConsumedRecord], dead_letters: int = 0) -> Verdict:
    return judge(LOAD, [ledger(2)], records, dead_letters=dead_letters)


WHOLE = [record(0, 0), record(1, 0), record(0, 1), record(1, 1)]


def test_all_in_order_and_once_keeps_the_promise() -> None:
    verdict = verdict_on(WHOLE)

    assert verdict.holds
    assert (4, 4, 4) == (verdict.sent, verdict.acknowledged, verdict.records)


def test_what_is_missing_is_lost_unless_its_publisher_got_no_puback() -> None:
    records = WHOLE[:2]

    assert 2 == verdict_on(records).lost
    assert judge(LOAD, [ledger(2, unanswered=1)], records, dead_letters=0).holds


def test_a_second_copy_is_doubled_and_says_nothing_about_order() -> None:
    verdict = verdict_on([*WHOLE, record(0, 0)])

    assert (1, 0) == (verdict.doubled, verdict.out_of_order)
    assert not verdict.holds


def test_an_older_message_behind_a_newer_one_is_out_of_order() -> None:
    assert 1 == verdict_on([WHOLE[2], WHOLE[0], *WHOLE[1::2]]).out_of_order


def test_a_device_in_two_partitions_has_no_order() -> None:
    assert 1 == verdict_on([WHOLE[0], record(0, 1, partition=1), *WHOLE[1::2]]).out_of_order


def test_other_content_and_other_numbers_were_never_published() -> None:
    strangers = [record(0, 0, metrics={"sequence": 0, "temperature": 0.0}), record(1, 7)]

    verdict = verdict_on([*WHOLE, *strangers])

    assert 2 == verdict.unpublished
    assert verdict.examples[0].startswith("never published: b'a'")


def test_a_dead_letter_is_one_too_many() -> None:
    assert not verdict_on(WHOLE, dead_letters=1).holds
