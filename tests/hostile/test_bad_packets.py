"""PUBLISHes that no publisher should be able to make, and bytes cut where no one would cut them."""

import asyncio
import hashlib
import json
import random
from collections.abc import Callable, Iterator

import mqtt5
import pytest

from tests.hostile.bench import PATIENCE_S, Bench, good
from tests.support.hostile_broker import (
    MqttSession,
    connack,
    duplicate,
    publish,
    string,
    user_property,
    variable_byte_integer,
)
from tests.support.kafka_client import ConsumedRecord

MIB = 1 << 20
TOPIC = "devices/device-1/telemetry"
OFF = {"keys_max": 0}
"""The same bytes come again on purpose, so that nothing may be told apart by them."""
PAYLOAD = b'{"device_id": "device-1"}'
PACKET_BYTES_MAX = 2_097_152
HEAD_BYTES = 65_536
LARGE = bytes(range(256)) * 12 * 1024  # 3 MiB
ALIAS = b"\x23\x00\x01"

Frame = Callable[[int], bytes]

POISONS: dict[str, tuple[Frame, str]] = {
    "ill-formed UTF-8 in the topic": (
        lambda each: publish(b"devices/\xff\xfe/telemetry", PAYLOAD, packet_id=each),
        "malformed_packet",
    ),
    "a surrogate in the topic": (
        lambda each: publish(b"devices/\xed\xa0\x80/telemetry", PAYLOAD, packet_id=each),
        "malformed_packet",
    ),
    "ill-formed UTF-8 in a user property": (
        lambda each: publish(
            TOPIC, PAYLOAD, packet_id=each, properties=user_property("name", b"\xc3\x28")
        ),
        "malformed_packet",
    ),
    "an unknown property": (
        lambda each: publish(TOPIC, PAYLOAD, packet_id=each, properties=b"\x7f\x00"),
        "malformed_packet",
    ),
    "a property cut short": (
        lambda each: publish(TOPIC, PAYLOAD, packet_id=each, properties=b"\x26\x00\x09ab"),
        "malformed_packet",
    ),
    "a property that may come once coming twice": (
        lambda each: publish(
            TOPIC, PAYLOAD, packet_id=each, properties=2 * (b"\x03" + string("text/json"))
        ),
        "malformed_packet",
    ),
    "properties longer than the packet": (
        lambda each: publish(TOPIC, PAYLOAD, packet_id=each, properties_bytes=10_000),
        "malformed_packet",
    ),
    "properties of 256 MB in a small packet": (
        lambda each: publish(TOPIC, PAYLOAD, packet_id=each, properties_bytes=268_435_455),
        "malformed_packet",
    ),
    "a packet larger than packet_bytes_max": (
        lambda each: publish(TOPIC, LARGE, packet_id=each),
        "too_large",
    ),
    "a packet larger than packet_bytes_max with an ill-formed topic": (
        lambda each: publish(b"devices/\xff/telemetry", LARGE, packet_id=each),
        "too_large",
    ),
}


def _sequences(records: list[ConsumedRecord]) -> list[int]:
    return [json.loads(record.value or b"")["metrics"]["sequence"] for record in records]


def _text(record: ConsumedRecord, name: str) -> str | None:
    value = record.header(name)
    return None if value is None else value.decode()


async def test_each_poison_publish_at_the_head_of_the_session_lets_the_message_behind_it_through(
    bench: Bench,
) -> None:
    frames: dict[int, bytes] = {}
    for position, (frame, _) in enumerate(POISONS.values()):
        frames[2 * position + 1] = frame(2 * position + 1)
        frames[2 * position + 2] = good(2 * position + 2)
    last = 2 * len(POISONS)
    session = MqttSession(frames)
    broker = await bench.broker()
    bridge = bench.bridge(broker, dedup=OFF)

    connection = await session.serve_next(broker)
    await connection.wait_acknowledged(last)
    letters = await bench.records(len(POISONS), kafka_topic=bench.dead_letter_topic)
    records = await bench.records(len(POISONS))

    assert [] == bridge.events("mqtt_protocol_violated")
    assert (list(frames), []) == (session.acknowledged, list(session.owed))
    assert list(range(2, last + 1, 2)) == sorted(_sequences(records))
    reasons = [str(_text(each, "dlq.reason")) for each in letters]
    assert sorted(reason for _, reason in POISONS.values()) == sorted(reasons)
    for letter in letters:
        if _text(letter, "dlq.reason") == "too_large":
            assert LARGE[:HEAD_BYTES] == letter.value
            assert str(len(LARGE)) == _text(letter, "dlq.payload-bytes")
            assert hashlib.sha256(LARGE).hexdigest() == _text(letter, "dlq.payload-sha256")
        else:
            # Where the properties cannot be told from the payload, all of it is kept.
            assert (letter.value or b"").endswith(PAYLOAD)


async def test_a_publish_that_ends_the_connection_three_times_running_is_suspected_of_poison(
    bench: Bench,
) -> None:
    ill_formed = b"devices/\xff/telemetry"
    await asyncio.gather(
        _end_three_times(bench, publish(TOPIC, PAYLOAD, packet_id=0), 0x81, "malformed_packet"),
        _end_three_times(
            bench,
            publish(TOPIC, PAYLOAD, packet_id=2, properties=ALIAS),
            0x81,
            "malformed_packet",
        ),
        _end_three_times(
            bench,
            publish(ill_formed, PAYLOAD, packet_id=2, first=0x34),  # QoS 2: a PUBACK is no answer.
            0x9B,
            "qos_not_supported",
        ),
    )
    # What came before it is in Kafka, once for each time it was received: none was lost.
    assert {1} == set(_sequences(await bench.records(3)))


async def _end_three_times(bench: Bench, poison: bytes, reason_code: int, kind: str) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker)

    for attempt in range(3):
        connection = await broker.accept(connack(session_present=attempt > 0))
        connection.say((duplicate(good(1)) if attempt else good(1)) + poison + good(3))
        disconnect = await connection.wait_for(mqtt5.DisconnectPacket)
        await connection.wait_ended()
        assert reason_code == disconnect.reason_code
        assert connection.packets[-1] is disconnect, "nothing may follow a DISCONNECT"
        assert 3 not in connection.acknowledged
    suspicion = await bridge.event("mqtt_poison_suspected")
    violations = [await bridge.event("mqtt_protocol_violated", count=each) for each in (1, 2, 3)]

    assert 3 == suspicion["times"]
    assert kind == violations[-1]["kind"]
    assert violations[-1]["retry_in_s"] >= PATIENCE_S


async def test_one_violation_costs_one_reconnect_and_the_message_behind_it_arrives(
    bench: Bench,
) -> None:
    broker = await bench.broker()
    bench.bridge(broker)
    first = await broker.accept()

    first.say(good(1) + publish(TOPIC, PAYLOAD, packet_id=0))
    await first.wait_ended()
    second = await broker.accept(connack(session_present=True))
    owed = [each for each in (1, 2) if each not in first.acknowledged]
    second.say(b"".join(good(each) for each in owed))

    assert owed == await second.wait_acknowledged(len(owed))
    records = await bench.records(1 + len(owed))
    assert [1, *owed] == _sequences(records)
    assert 2 == len(broker.connections)


@pytest.mark.parametrize("sent_bytes", [MIB // 4, PACKET_BYTES_MAX + MIB // 2])
async def test_a_poison_cut_off_half_way_is_taken_whole_when_it_comes_again(
    bench: Bench, sent_bytes: int
) -> None:
    poison = publish(TOPIC, LARGE, packet_id=1)
    broker = await bench.broker()
    bridge = bench.bridge(broker)
    first = await broker.accept()
    await bridge.ready()

    await first.say_all([poison[:sent_bytes]])
    first.cut()
    second = await broker.accept(connack(session_present=True))
    await second.say_all([duplicate(poison), good(2)])

    assert [1, 2] == await second.wait_acknowledged(2)
    (letter,) = await bench.records(1, kafka_topic=bench.dead_letter_topic)
    assert hashlib.sha256(LARGE).hexdigest() == _text(letter, "dlq.payload-sha256")
    assert [2] == _sequences(await bench.records(1))


async def test_the_same_bytes_give_the_same_result_glued_byte_by_byte_and_cut_anywhere(
    bench: Bench,
) -> None:
    chance = random.Random(25)  # noqa: S311 -- a seed, so that a failure comes again
    broker = await bench.broker()
    bench.bridge(broker, dedup=OFF, packet_bytes_max=1_024)
    connection = await broker.next_connection()
    # CONNACK byte by byte as well.
    await connection.wait_for(mqtt5.ConnectPacket)
    await connection.say_in_segments(connack(properties=b"\x1f" + string("hello")), range(1, 13))
    subscribe = await connection.wait_for(mqtt5.SubscribePacket)
    await connection.say_in_segments(
        b"\x90\x04" + subscribe.packet_id.to_bytes(2, "big") + b"\x00\x01", range(1, 6)
    )

    def stream(base: int) -> bytes:
        return b"".join(
            (
                good(base + 1),
                publish(b"devices/\xff/telemetry", b"poison", packet_id=base + 2),
                good(base + 3),
                publish(TOPIC, b"l" * 1_500, packet_id=base + 4),
                publish(TOPIC, b"", packet_id=base + 5, properties=user_property("n", "v" * 200)),
                good(base + 6),
            )
        )

    size = len(stream(0))
    cuts: list[list[int]] = [[], list(range(1, size))]
    cuts += [sorted(chance.sample(range(1, size), count)) for count in (1, 2, 5, 20, 60, 200)]
    cuts += [[each] for each in chance.sample(range(1, size), 20)]
    for position, each in enumerate(cuts):
        await connection.say_in_segments(stream(6 * position), each)
        await connection.wait_acknowledged(6 * (position + 1))
    records = await bench.records(3 * len(cuts))
    letters = await bench.records(3 * len(cuts), kafka_topic=bench.dead_letter_topic)

    bases = range(0, 6 * len(cuts), 6)
    assert list(range(1, 6 * len(cuts) + 1)) == connection.acknowledged
    assert [base + each for base in bases for each in (1, 3, 6)] == _sequences(records)
    reasons = [_text(each, "dlq.reason") for each in letters]
    assert {name: len(cuts) for name in ("malformed_packet", "too_large", "empty")} == {
        name: reasons.count(name) for name in reasons
    }
    values = {(_text(each, "dlq.reason"), each.value) for each in letters}
    assert {
        ("malformed_packet", b"poison"),
        ("too_large", b"l" * 1_500),
        ("empty", b""),
    } == values


async def test_a_publish_of_256_mb_streams_by_in_bounded_memory(bench: Bench) -> None:
    head = string(TOPIC) + b"\x00\x01" + b"\x00"
    remaining = 268_435_455
    payload_bytes = remaining - len(head)
    chunk = bytes(MIB)
    expected = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        yield b"\x32" + variable_byte_integer(remaining) + head
        left = payload_bytes
        while left:
            piece = chunk[: min(left, MIB)]
            expected.update(piece)
            left -= len(piece)
            yield piece

    broker = await bench.broker()
    bridge = bench.bridge(broker)
    connection = await broker.accept()
    await bridge.ready()
    before = largest = bridge.rss_bytes
    streaming = asyncio.create_task(connection.say_all(pieces()))
    while not streaming.done():
        await asyncio.wait([streaming], timeout=0.05)
        largest = max(largest, bridge.rss_bytes)
    connection.say(good(2))

    assert [1, 2] == await connection.wait_acknowledged(2)
    assert largest - before < 32 * MIB
    assert [2] == _sequences(await bench.records(1))
    (letter,) = await bench.records(1, kafka_topic=bench.dead_letter_topic)
    assert bytes(HEAD_BYTES) == letter.value
    assert "too_large" == _text(letter, "dlq.reason")
    assert str(payload_bytes) == _text(letter, "dlq.payload-bytes")
    assert expected.hexdigest() == _text(letter, "dlq.payload-sha256")


async def test_packets_that_have_no_place_cost_a_reconnect_each_and_never_the_process(
    bench: Bench,
) -> None:
    broker = await bench.broker()
    bridge = bench.bridge(broker)
    first = await broker.accept()
    first.say(b"\x62\x02\x00\x01")  # PUBREL
    answer = await first.wait_for(mqtt5.DisconnectPacket)
    second = await broker.accept()
    second.say(b"\xf0\x02\x19\x00")  # AUTH
    await second.wait_ended()
    await bridge.event("mqtt_protocol_violated", count=2)

    assert 0x82 == answer.reason_code
    assert bridge.is_alive
    assert 0 == await bridge.stopped()
