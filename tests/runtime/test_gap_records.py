"""Gap records: sent beside the traffic, kept while Kafka does not take them, never in the way."""

from pathlib import Path

from bridge.runtime.aside_records import RETRY_S
from bridge.runtime.gap_records import RECORDS_MAX, Gap
from tests.runtime.gap_stand import Stand


def gap(number: int = 0) -> Gap:
    return Gap(
        type="session_lost",
        client_id="b1",
        filter=str(number),
        from_="2026-01-01T00:00:00.000000Z",
        to="2026-01-01T00:00:01.000000Z",
        cause="session_lost",
    )


def filters(stand: Stand) -> list[str]:
    return [each["filter"] for each in stand.gaps]


async def test_a_record_that_kafka_confirmed_is_kept_no_longer(tmp_path: Path) -> None:
    stand = Stand(tmp_path)

    stand.records.add(gap(), now=0.0)
    stand.records.serve(1.0)
    assert 1 == len(stand.records)
    stand.producer.report()
    stand.records.serve(2.0)

    assert 0 == len(stand.records)
    assert ["0"] == filters(stand)


async def test_a_record_that_kafka_refuses_is_said_once_and_tried_again_after_a_while(
    tmp_path: Path,
) -> None:
    stand = Stand(tmp_path)
    stand.records.add(gap(), now=0.0)

    for attempt in range(3):
        now = attempt * (RETRY_S + 1)
        stand.producer.report("TOPIC_AUTHORIZATION_FAILED")
        stand.records.serve(now)
        stand.records.serve(now + RETRY_S / 2)
        assert attempt + 1 == len(stand.gaps)
        stand.records.serve(now + RETRY_S)
    stand.producer.report()
    stand.records.serve(100.0)

    assert 0 == len(stand.records)
    (held,) = stand.events("gap_record_held")
    assert ("gaps", "TOPIC_AUTHORIZATION_FAILED", 1) == (
        held["kafka_topic"],
        held["error"],
        held["held"],
    )


async def test_a_full_queue_of_librdkafka_is_tried_again(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.producer.is_full = True
    stand.records.add(gap(), now=0.0)
    stand.producer.is_full = False

    stand.records.serve(RETRY_S)

    assert ["0"] == filters(stand)


async def test_a_rebuilt_producer_gets_what_the_old_one_had(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.records.add(gap(), now=0.0)
    stand.producer.reports.clear()
    stand.producer.generation += 1

    stand.records.serve(1.0)

    assert ["0", "0"] == filters(stand)


async def test_of_too_many_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    stand.producer.is_full = True
    for number in range(RECORDS_MAX + 3):
        stand.records.add(gap(number), now=0.0)
    stand.producer.is_full = False

    stand.records.serve(RETRY_S)

    assert [str(each) for each in range(3, RECORDS_MAX + 3)] == filters(stand)
    assert 3 == stand.counters.gap_records_dropped
    assert RECORDS_MAX + 3 == stand.counters.gaps["session_lost"]
