from datetime import UTC, datetime

import msgspec
import pytest

from bridge.cli.showcase.accounting import Accounting, quantile
from bridge.cli.showcase.kafka_in_process import DEAD_LETTERS, TELEMETRY, Arrival
from bridge.cli.showcase.traffic import Device, Kind, Message, message_for

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DEVICE = Device(number=3, device_id="meter-0003", seed=7)


def good(sequence: int) -> Message:
    return message_for(DEVICE, sequence, Kind.GOOD, NOW)


def bad(sequence: int) -> Message:
    return message_for(DEVICE, sequence, Kind.MALFORMED, NOW, way="truncated")


def telemetry(message: Message, **changes: object) -> Arrival:
    value = msgspec.json.decode(message.payload) | {"time_drift_seconds": 0.5} | changes
    return arrival(TELEMETRY, msgspec.json.encode(value), {})


def letter(message: Message, reason: str = "not_decodable", copy: str = "") -> Arrival:
    headers = {"dlq.reason": reason.encode(), "dlq.detail": b"why", "dlq.copy": copy.encode()}
    return arrival(DEAD_LETTERS, message.payload, headers)


def arrival(kafka_topic: str, value: bytes, headers: dict[str, bytes]) -> Arrival:
    return Arrival(
        kafka_topic=kafka_topic,
        partition=0,
        offset=0,
        key=b"meter-0003",
        value=value,
        headers=headers,
        arrived_at=1.0,
    )


def books_after(sent: list[Message], arrived: list[Arrival]) -> Accounting:
    books = Accounting()
    for message in sent:
        books.sent(message)
    for one in arrived:
        books.arrived(one)
    return books


def test_books_balance_when_each_message_is_in_its_place() -> None:
    books = books_after([good(1), bad(2)], [telemetry(good(1)), letter(bad(2))])

    assert books.is_balanced
    summary = books.summary()
    assert summary["telemetry"] == 1
    assert summary["dead_letters_by_reason"] == {"not_decodable": 1}


@pytest.mark.parametrize(
    ("sent", "arrived", "wrong"),
    [
        pytest.param([good(1)], [], {"missing": 1}, id="nothing came"),
        pytest.param(
            [good(1)], [telemetry(good(1)), telemetry(good(1))], {"duplicates": 1}, id="twice"
        ),
        pytest.param(
            [bad(1)], [letter(bad(1)), letter(bad(1))], {"duplicates": 1}, id="a letter twice"
        ),
        pytest.param(
            [good(1), good(2)],
            [telemetry(good(2)), telemetry(good(1))],
            {"out_of_order": 1},
            id="order",
        ),
        pytest.param(
            [good(1)], [letter(good(1))], {"missing": 1, "unexpected": 1}, id="wrong topic"
        ),
        pytest.param([bad(1)], [letter(bad(1), "empty")], {"unexpected": 1}, id="wrong reason"),
        pytest.param([], [telemetry(good(1))], {"unexpected": 1}, id="never sent"),
        pytest.param(
            [good(1)], [telemetry(good(1), metrics={"a": 1})], {"unexpected": 1}, id="altered"
        ),
        pytest.param(
            [], [arrival(TELEMETRY, b"{", {})], {"unexpected": 1}, id="unreadable telemetry"
        ),
    ],
)
def test_books_name_what_is_wrong(
    sent: list[Message], arrived: list[Arrival], wrong: dict[str, int]
) -> None:
    books = books_after(sent, arrived)

    assert not books.is_balanced
    summary = books.summary()
    found = {
        name: summary[name]
        for name in ("missing", "unexpected", "duplicates", "out_of_order")
        if summary[name]
    }
    assert found == wrong


def test_a_flagged_copy_is_owed_to_nobody_and_disturbs_nothing() -> None:
    books = books_after([good(1)], [telemetry(good(1)), letter(good(1), copy="true")])

    assert books.is_balanced
    assert books.summary()["flagged_copies"] == 1


def test_a_quantile_is_a_value_that_was_measured() -> None:
    values = [4.0, 1.0, 3.0, 2.0]

    assert quantile(values, 0.5) == 3.0
    assert quantile(values, 0.99) == 4.0
    assert quantile([], 0.5) is None
