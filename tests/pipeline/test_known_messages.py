"""Messages that are known already, seen from the flow."""

import msgspec

from bridge.config.sections import Route, ValidationSection
from bridge.fleet.dedup_window import DedupWindow
from bridge.fleet.duplicates import Duplicates
from bridge.kafka.record import Record
from bridge.pipeline.flow import Flow, Outcome
from bridge.pipeline.stages import Stages
from bridge.pipeline.together import SECOND_READING
from bridge.pipeline.verdict import Duplicate
from tests.pipeline.given import PAYLOAD, RECEIVED, Packet, message


def knowing(stages: Stages | None = None) -> tuple[Flow, Duplicates]:
    duplicates = Duplicates(DedupWindow(ttl_s=1e9, keys_max=100, keys_min=10))
    flow = Flow(
        routes=(Route(),),
        dead_letter_topic="telemetry-dlq",
        validation=ValidationSection(),
        entropy=lambda size: b"\xff" * size,
        duplicates=duplicates,
        stages=stages or Stages(),
    )
    return flow, duplicates


def confirm(duplicates: Duplicates, *outcomes: Outcome) -> None:
    duplicates.confirm([each.dedup_key for each in outcomes if isinstance(each, Record)])


def test_the_same_message_in_one_batch_is_carried_once_and_the_other_waits_for_it() -> None:
    flow, _ = knowing()

    first, second = flow.process([Packet(), Packet()], RECEIVED)

    assert isinstance(first, Record)
    assert isinstance(second, Duplicate)
    assert (first.dedup_key, True) == (second.key, second.is_under_way)


def test_a_message_that_kafka_has_is_a_duplicate_that_waits_for_nobody() -> None:
    flow, duplicates = knowing()
    confirm(duplicates, *flow.process([Packet()], RECEIVED))

    (again,) = flow.process([Packet()], RECEIVED)

    assert isinstance(again, Duplicate)
    assert not again.is_under_way


def test_a_key_with_a_control_character_is_another_than_the_text_of_its_escape() -> None:
    flow, _ = knowing()
    keys = ["x\u202e", "x\\u202e", "x\n", "x\\x0a"]

    outcomes = flow.process(
        [Packet(user_properties=[("idempotency-key", key)]) for key in keys], RECEIVED
    )

    assert [Record] * 4 == [type(each) for each in outcomes]


def test_the_same_timestamp_with_other_content_is_a_second_reading_and_flagged() -> None:
    flow, duplicates = knowing()
    confirm(duplicates, *flow.process([Packet()], RECEIVED))

    (record,) = flow.process([Packet(payload=message(metrics={"temperature": 7}))], RECEIVED)

    assert isinstance(record, Record)
    assert record.is_flagged
    assert [SECOND_READING] == msgspec.json.decode(record.value)["warnings"]


def test_an_id_that_the_publisher_gives_is_scoped_to_its_device() -> None:
    flow, duplicates = knowing()
    named = [("idempotency-key", "42")]
    confirm(duplicates, *flow.process([Packet(user_properties=named)], RECEIVED))

    (other,) = flow.process(
        [
            Packet(
                topic="devices/dev-2/telemetry",
                payload=message(device_id="dev-2"),
                user_properties=named,
            )
        ],
        RECEIVED,
    )

    assert isinstance(other, Record)
    assert not other.is_flagged


def test_a_dead_letter_is_carried_once_too() -> None:
    flow, duplicates = knowing()
    confirm(duplicates, *flow.process([Packet(payload=b"nope")], RECEIVED))

    (again,) = flow.process([Packet(payload=b"nope")], RECEIVED)

    assert isinstance(again, Duplicate)


def test_what_was_accepted_once_and_is_too_old_by_now_is_a_duplicate_not_a_dead_letter() -> None:
    flow, duplicates = knowing()
    confirm(duplicates, *flow.process([Packet()], RECEIVED))
    later = msgspec.structs.replace(RECEIVED, unix_us=RECEIVED.unix_us + 30 * 86_400 * 1_000_000)

    (again,) = flow.process([Packet()], later)

    assert isinstance(again, Duplicate)


def test_what_is_known_only_as_a_dead_letter_and_accepted_today_is_carried() -> None:
    flow, duplicates = knowing()
    early = msgspec.structs.replace(RECEIVED, unix_us=RECEIVED.unix_us - 86_400 * 1_000_000)
    confirm(duplicates, *flow.process([Packet()], early))

    (record,) = flow.process([Packet()], RECEIVED)

    assert isinstance(record, Record)
    assert record.dead_letter is None


def test_after_a_fault_of_ours_the_message_itself_is_not_known() -> None:
    def broken(*_: object) -> Record:
        raise RuntimeError

    flow, _ = knowing(Stages(write=broken))
    (letter,) = flow.process([Packet()], RECEIVED)
    assert isinstance(letter, Record)
    assert letter.dead_letter is not None
    assert "internal_error" == letter.dead_letter.reason

    whole, duplicates = knowing()
    confirm(duplicates, letter)
    (record,) = whole.process([Packet(payload=PAYLOAD)], RECEIVED)

    assert isinstance(record, Record)
    assert record.dead_letter is None


def test_a_record_that_kafka_refuses_is_known_as_a_dead_letter_only() -> None:
    flow, duplicates = knowing()
    (record,) = flow.process([Packet()], RECEIVED)
    assert isinstance(record, Record)

    letter = flow.refuse(record, error="MSG_SIZE_TOO_LARGE", value_bytes_max=10)
    confirm(duplicates, letter)
    (again,) = flow.process([Packet()], RECEIVED)

    assert isinstance(again, Record), "today's rules accept it, so it is no duplicate"
