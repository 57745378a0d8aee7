"""Records that Kafka never takes become dead letters; topics that it refuses are waited for."""

import json
from collections.abc import Iterator
from hashlib import sha256

import pytest

from tests.integration.scene import QUIET_DEADLINE_S, Scene, await_owed, report
from tests.support.devices import DeviceMessage, fleet, telemetry
from tests.support.eventually import eventually
from tests.support.kafka_client import ConsumedRecord
from tests.support.kafka_cluster import KafkaProcess

RECORD_BYTES_MAX = 20_000
LARGE_BYTES = 30_000
MESSAGES = 24
LARGE = {7, 19}
SMALL = {"max.message.bytes": str(RECORD_BYTES_MAX)}
# The neighbours fill less than a batch of this size together, so they share it with the large one.
SHARED_BATCH = {"linger.ms": 150}


def with_large_ones() -> Iterator[DeviceMessage]:
    for number in range(MESSAGES):
        extra = {"filler": "x" * LARGE_BYTES} if number in LARGE else {}
        yield telemetry(f"device-{number % 4}", number, **extra)


def letters_by_sequence(records: list[ConsumedRecord], messages: list[DeviceMessage]) -> set[int]:
    by_hash = {sha256(each.payload).hexdigest(): each for each in messages}
    found = set()
    for record in records:
        whole = record.header("dlq.payload-sha256")
        digest = whole.decode() if whole else sha256(record.value or b"").hexdigest()
        found.add(json.loads(by_hash[digest].payload)["metrics"]["sequence"])
    return found


def test_a_record_too_large_for_its_topic_is_a_dead_letter_and_its_neighbours_are_not(
    scene: Scene,
) -> None:
    scene.create_topics(1, telemetry=SMALL)
    bridge = scene.start(kafka={"properties": SHARED_BATCH})

    ledger = scene.devices().publish(with_large_ones())
    scene.await_quiet(bridge)

    found = scene.read()
    reckoning = scene.reckon(bridge, found)
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()
    assert LARGE == letters_by_sequence(found.dead_letters, ledger.sent)
    for letter in found.dead_letters:
        headers = dict(letter.headers)
        assert (b"kafka_refused", b"kafka", b"true") == (
            headers["dlq.reason"],
            headers["dlq.layer"],
            headers["dlq.retryable"],
        )
        assert scene.telemetry.encode() == headers["dlq.kafka-topic"]
        assert len(letter.value or b"") > LARGE_BYTES, "cut, though Kafka had taken all of it"
        assert "dlq.payload-bytes" not in headers
    assert 2 == bridge.metric("bridge_dead_letters_total", reason="kafka_refused")
    assert 2 == len(bridge.events("kafka_record_refused", error="MSG_SIZE_TOO_LARGE"))
    assert MESSAGES - len(LARGE) + 1 == reckoning.telemetry
    report(f"{reckoning.telemetry} neighbours are telemetry, in order")


def test_a_dead_letter_too_large_for_its_topic_is_cut_and_says_what_it_was(scene: Scene) -> None:
    scene.create_topics(1, telemetry=SMALL, dead_letters=SMALL)
    bridge = scene.start(kafka={"properties": SHARED_BATCH})
    spoiled = DeviceMessage(topic="devices/device-9/telemetry", payload=b"?" * LARGE_BYTES)

    ledger = scene.devices().publish([*with_large_ones(), spoiled])
    scene.await_quiet(bridge)

    found = scene.read()
    reckoning = scene.reckon(bridge, found)
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()
    sent = {sha256(each.payload).hexdigest().encode(): each.payload for each in ledger.sent}
    assert 3 == len(found.dead_letters)
    for letter in found.dead_letters:
        headers = dict(letter.headers)
        payload = sent[headers["dlq.payload-sha256"] or b""]
        value = letter.value or b""
        assert payload.startswith(value)
        assert 0 < len(value) < RECORD_BYTES_MAX
        assert str(len(payload)).encode() == headers["dlq.payload-bytes"]
        assert b"false" == headers["dlq.retryable"], "a part of a message is not replayed"
    reasons = sorted((letter.header("dlq.reason") or b"").decode() for letter in found.dead_letters)
    assert ["kafka_refused", "kafka_refused", "not_decodable"] == reasons
    report(f"cut to {sorted(len(each.value or b'') for each in found.dead_letters)} bytes")


def test_a_payload_larger_than_any_kafka_record_is_a_dead_letter_cut_to_fit(scene: Scene) -> None:
    scene.create_topics(1)
    bridge = scene.start(route={"payload_bytes_max": 4_000_000})
    huge = telemetry("device-1", 1, filler="x" * 1_500_000)

    scene.devices().publish([telemetry("device-1", 0), huge, telemetry("device-1", 2)])
    scene.await_quiet(bridge)

    found = scene.read()
    scene.reckon(bridge, found).assert_holds()
    (letter,) = found.dead_letters
    assert b"kafka_refused" == letter.header("dlq.reason")
    assert str(len(huge.payload)).encode() == letter.header("dlq.payload-bytes")
    assert 900_000 < len(letter.value or b""), "cut far below what a record may hold"
    assert huge.payload.startswith(letter.value or b"?")


@pytest.mark.parametrize("missing", ["telemetry", "dead letters"])
def test_a_missing_topic_is_held_and_said_and_recovers_when_it_is_created(
    missing: str, victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    client = victim.client
    late, there = scene.telemetry, scene.dead_letters
    if missing == "dead letters":
        late, there = there, late
    client.create_topic(there, 2)
    bridge = scene.spawn()
    bridge.wait_for_event("mqtt_subscribed")
    bad = [DeviceMessage(topic="devices/device-0/telemetry", payload=b"?%d" % n) for n in range(50)]
    devices = scene.devices()

    devices.publish([*fleet(5, 100), *bad])
    held = bridge.wait_for_event("kafka_topic_held", kafka_topic=late)
    not_ready = bridge.wait_not_ready(QUIET_DEADLINE_S).json()["checks"]["kafka"]
    await_owed(bridge, 50)
    others = 50 if missing == "telemetry" else 100
    eventually(
        lambda: client.count(there), lambda count: count == others, what="the other topic goes on"
    )
    letters_before = bridge.metric("bridge_dead_letters_total")
    client.create_topic(late, 2)
    bridge.wait_for_event("kafka_topic_recovered", kafka_topic=late, deadline_s=QUIET_DEADLINE_S)
    bridge.wait_ready(QUIET_DEADLINE_S)
    reckoning = scene.reckon_when_quiet(bridge)

    report(f"{held}; {not_ready}")
    assert "create the topic" in held["remedy"]
    assert ("kafka_refuses", True) == (not_ready["state"], late in not_ready["detail"])
    assert letters_before <= 50, "a flood of dead letters"
    assert 50 == bridge.metric("bridge_dead_letters_total")
    assert 1 == len(bridge.events("kafka_topic_held", kafka_topic=late))
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()


def test_a_topic_that_may_not_be_written_is_held_and_said_and_recovers_when_it_may(
    victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics(2)
    bridge = scene.start()
    devices = scene.devices()
    devices.publish(fleet(5, 100))
    scene.await_quiet(bridge)

    victim.client.deny_write(scene.telemetry)
    devices.publish(fleet(5, 100))
    held = bridge.wait_for_event("kafka_topic_held", kafka_topic=scene.telemetry)
    not_ready = bridge.wait_not_ready(QUIET_DEADLINE_S).json()["checks"]["kafka"]
    live = bridge.get("/health/live")
    victim.client.allow_write(scene.telemetry)
    bridge.wait_for_event("kafka_topic_recovered", kafka_topic=scene.telemetry)
    bridge.wait_ready(QUIET_DEADLINE_S)
    reckoning = scene.reckon_when_quiet(bridge)

    report(f"{held}; {not_ready}")
    assert "TOPIC_AUTHORIZATION_FAILED" == held["error"]
    assert "WRITE" in held["remedy"]
    assert "kafka_refuses" == not_ready["state"]
    assert live is not None
    assert 200 == live.status
    assert 0 == bridge.metric("bridge_dead_letters_total"), "a flood of dead letters"
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()
