"""What Kafka's errors do to the order of PUBACKs and records, and to nobody's message."""

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import mqtt5
import pytest

from tests.hostile.bench import Bench, good
from tests.support.in_process_kafka import InProcessKafka
from tests.support.kafka_client import ConsumedRecord

MakeKafka = Callable[[int], InProcessKafka]

UNKNOWN: Final = -1
MSG_SIZE_TOO_LARGE: Final = 10
OUT_OF_ORDER_SEQUENCE_NUMBER: Final = 45
TOPIC_AUTHORIZATION_FAILED: Final = 29


def _sequences(records: Sequence[ConsumedRecord]) -> list[int]:
    return [json.loads(record.value or b"")["metrics"]["sequence"] for record in records]


@pytest.mark.parametrize(
    ("errors", "event", "fields"),
    [
        pytest.param(
            [OUT_OF_ORDER_SEQUENCE_NUMBER],
            "kafka_producer_rebuilt",
            {"error": "OUT_OF_ORDER_SEQUENCE_NUMBER"},
            id="fatal",
        ),
        pytest.param([UNKNOWN], "kafka_record_produced_again", {}, id="passing"),
        pytest.param(
            [MSG_SIZE_TOO_LARGE] * 3, "kafka_batch_refused", {"run_bytes_max": 262_144}, id="batch"
        ),
        pytest.param(
            [TOPIC_AUTHORIZATION_FAILED],
            "kafka_topic_held",
            {"error": "TOPIC_AUTHORIZATION_FAILED"},
            id="forbidden",
        ),
    ],
)
async def test_after_each_kind_of_failure_every_record_arrives_in_order_and_every_puback_leaves(
    bench: Bench, make_kafka: MakeKafka, errors: list[int], event: str, fields: dict[str, Any]
) -> None:
    kafka = make_kafka(1)
    kafka.create_topic(bench.telemetry_topic, [1])
    broker = await bench.broker()
    bridge = bench.bridge(broker, kafka=kafka, linger_ms=50)
    connection = await broker.accept()
    await bridge.ready()

    kafka.fail_produce(errors)
    # In one write, so in one batch: of several under way newer ones might pass the failed one.
    connection.say(b"".join(good(each) for each in range(1, 201)))

    assert list(range(1, 201)) == await connection.wait_acknowledged(200)
    await bridge.event(event, **fields)
    records = await bench.records(200, kafka=kafka)
    assert list(range(1, 201)) == list(dict.fromkeys(_sequences(records)))
    assert 0 == await bridge.sample("bridge_conservation_residue")
    assert 0 == await bridge.sample("bridge_records_reordered_total")
    assert 0 == await bridge.stopped()


async def test_the_ledger_pauses_reading_when_one_held_record_holds_every_puback(
    bench: Bench, make_kafka: MakeKafka
) -> None:
    kafka = make_kafka(3)
    broker = await bench.broker()
    routes = [
        (f"{room}/+/telemetry", kafka.create_topic(f"{bench.telemetry_topic}-{room}", [leader]))
        for room, leader in (("devices", 1), ("other", 2))
    ]
    bridge = bench.bridge(broker, kafka=kafka, routes=routes, unsettled_max=500)
    connection = await broker.accept()
    await bridge.ready()
    kafka.take_down(1)
    connection.say(good(1))

    sending = asyncio.create_task(
        connection.say_all(good(each, room="other") for each in range(2, 60_000))
    )
    await bridge.event("reading_paused", cause="unsettled_max")
    await bridge.reaches(0, "bridge_pubacks_sent_total")
    kafka.bring_up(1)
    await sending

    assert list(range(1, 60_000)) == await connection.wait_acknowledged(59_999)
    # One pause a connection at a time: it is not read on while the ledger is still full.
    assert 1 == len(bridge.events("reading_paused")) - len(bridge.events("reading_resumed")) + 1


async def test_a_password_file_that_is_away_for_a_moment_only_delays_the_connection(
    bench: Bench, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("first")
    secret.chmod(0o600)
    broker = await bench.broker()
    bridge = bench.bridge(broker, username="bridge", password={"file": str(secret)})
    connection = await broker.accept()
    await bridge.ready()

    secret.rename(tmp_path / "away")
    connection.cut()
    await bridge.event("mqtt_connect_failed")
    secret.write_text("second")
    secret.chmod(0o600)
    after = await broker.accept()

    passwords = [
        packet.password
        for each in (connection, after)
        for packet in each.all_of(mqtt5.ConnectPacket)
    ]
    assert [b"first", b"second"] == passwords
