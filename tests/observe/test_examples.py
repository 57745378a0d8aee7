from bridge.kafka.record import DeadLetter, Instant, Kept, Record
from bridge.observe.examples import HEAD_BYTES, KEPT, Examples
from bridge.pipeline.verdict import Reason

RECEIVED = Instant(unix_us=1, monotonic_s=0.0, rfc3339="2026-01-02T03:04:05.000006Z")


def letter(
    payload: bytes, *, number: int = 0, reason: str = "not_decodable", device_id: str = "d-1"
) -> Record:
    topic = f"devices/{device_id}/telemetry"
    return Record(
        kafka_topic="telemetry-dlq",
        key=device_id.encode(),
        value=payload,
        headers=[],
        received=RECEIVED,
        origin=Kept(topic, payload, None),
        dead_letter=DeadLetter(
            dlq_id=f"id-{number}",
            reason=reason,
            layer="protocol",
            detail="no JSON",
            device_id=device_id,
            mqtt_topic=topic,
        ),
    )


def test_an_example_says_whose_it_was_why_it_failed_and_what_it_was() -> None:
    examples = Examples()

    examples.note(letter(b'{"a": 1'))

    assert {
        "not_decodable": [
            {
                "dlq_id": "id-0",
                "received_at": RECEIVED.rfc3339,
                "layer": "protocol",
                "detail": "no JSON",
                "device_id": "d-1",
                "mqtt_topic": "devices/d-1/telemetry",
                "is_copy": False,
                "payload_bytes": 7,
                "payload": '{"a": 1',
                "is_cut": False,
            }
        ]
    } == examples.as_tree()


def test_the_last_of_each_reason_are_kept_the_newest_first() -> None:
    examples = Examples()

    for number in range(10):
        examples.note(letter(b"x", number=number))
    examples.note(letter(b"", number=10, reason="empty"))

    told = examples.as_tree()
    assert ["id-9", "id-8", "id-7"] == [each["dlq_id"] for each in told["not_decodable"]]
    assert ["id-10"] == [each["dlq_id"] for each in told["empty"]]


def test_nothing_in_an_example_moves_a_cursor_or_turns_the_text() -> None:
    examples = Examples()

    examples.note(letter(b"a\x1b[2J\xff\n\xe2\x80\xae" + bytes(3), device_id="d\u202e\x07"))

    (told,) = examples.as_tree()["not_decodable"]
    assert r"a\x1b[2J\xff\n\u202e\x00\x00\x00" == told["payload"]
    assert r"d\u202e\x07" == told["device_id"]
    assert all(str(each).isprintable() for each in told.values())


def test_all_examples_together_are_bounded_whatever_was_sent() -> None:
    examples = Examples()
    huge = "\u202e" * 100_000

    for reason in Reason:
        for number in range(KEPT + 1):
            examples.note(letter(b"\xff" * 1_000_000, number=number, reason=reason, device_id=huge))

    told = [each for kept in examples.as_tree().values() for each in kept]
    assert len(Reason) * KEPT == len(told)
    assert all(each["is_cut"] and each["payload_bytes"] == 1_000_000 for each in told)
    assert all(len(each["payload"]) == 4 * HEAD_BYTES for each in told)
    assert all(sum(map(len, map(str, each.values()))) < 2_500 for each in told)
