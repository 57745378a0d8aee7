"""Opaque messages: bytes that are carried as they are."""

from typing import Any, NoReturn

import pytest

from bridge.config.sections import LimitsSection, Route, ValidationSection
from bridge.fleet.dedup_window import DedupWindow
from bridge.fleet.duplicates import Duplicates
from bridge.fleet.limits import Limits
from bridge.fleet.registry import Registry
from bridge.kafka.record import Record
from bridge.pipeline.allowance import Allowance
from bridge.pipeline.flow import Flow
from bridge.pipeline.policy import Policy
from bridge.pipeline.verdict import Duplicate
from tests.pipeline.given import RECEIVED, Packet, headers

TOPIC = "alarms/dev-0001/events"
KEYED = [("idempotency-key", "alarm-1")]


def flow(**route: Any) -> Flow:
    routes = (Route(filter="alarms/+/events", kind="opaque", kafka_topic="alarms", **route),)
    return Flow(
        routes=routes,
        dead_letter_topic="dlq",
        validation=ValidationSection(),
        entropy=lambda size: b"\xff" * size,
        duplicates=Duplicates(DedupWindow(ttl_s=1e9, keys_max=100, keys_min=10)),
        policy=Policy.of(
            ValidationSection(), Registry(), Allowance.of(LimitsSection(), routes, Limits())
        ),
    )


def carry(carrying: Flow, **fields: Any) -> Record:
    (record,) = carrying.process([Packet(topic=TOPIC, **fields)], RECEIVED)
    assert isinstance(record, Record)
    return record


@pytest.mark.parametrize("payload", [b"", b"\0\xff", b"{", b"x" * 262_144])
def test_bytes_are_carried_as_they_are(payload: bytes) -> None:
    record = carry(flow(), payload=payload)

    assert ("alarms", b"dev-0001", payload) == (record.kafka_topic, record.key, record.value)
    assert {"content-type": "application/octet-stream"} == headers(record)
    assert record.dead_letter is None


def test_the_content_type_and_what_the_route_names_go_along() -> None:
    properties = [("site", "roof"), ("other", "x"), *KEYED]

    record = carry(
        flow(user_properties=("site",)),
        payload=b"<a/>",
        content_type="text/xml",
        user_properties=properties,
        retain=True,
    )

    found = headers(record)
    key = found.pop("idempotency-key")
    assert {"content-type": "text/xml", "mqtt.retained": "true", "mqtt.user.site": "roof"} == found
    assert key.startswith("dev-0001:alarm-1:")


def test_without_a_key_of_the_publisher_nothing_is_recognised() -> None:
    carrying = flow()

    assert [b"", b""] == [carry(carrying, payload=b"x").dedup_key for _ in range(2)]


def test_with_a_key_of_the_publisher_the_same_bytes_are_a_duplicate() -> None:
    carrying = flow()
    carry(carrying, payload=b"x", user_properties=KEYED)
    again = [
        Packet(topic=TOPIC, payload=b"x", user_properties=KEYED),
        Packet(topic=TOPIC, payload=b"y", user_properties=KEYED),
    ]

    same, other = carrying.process(again, RECEIVED)

    assert isinstance(same, Duplicate)
    assert isinstance(other, Record), "another content under the same id is another message"
    assert not other.is_flagged


def test_a_payload_over_the_bound_of_its_route_is_a_dead_letter() -> None:
    record = carry(flow(payload_bytes_max=3), payload=b"1234")

    assert record.dead_letter is not None
    assert "too_large" == record.dead_letter.reason


def test_only_a_route_that_sets_a_limit_has_one() -> None:
    free, limited = flow(), flow(per_device_per_s=1.0)

    reasons = [
        [carry(each, payload=b"%d" % number).dead_letter for number in range(30)]
        for each in (free, limited)
    ]

    assert 0 == sum(letter is not None for letter in reasons[0])
    assert 10 == sum(letter is not None for letter in reasons[1])


def test_a_refused_message_without_a_key_is_one_letter_however_often_it_comes() -> None:
    carrying = flow()
    record = carry(carrying, payload=b"x")

    letter = carrying.refuse(record, error="too large", value_bytes_max=10)
    again = carrying.refuse(record, error="too large", value_bytes_max=10)

    assert isinstance(letter, Record)
    assert letter.dead_letter is not None
    assert ("kafka_refused", b"x") == (letter.dead_letter.reason, letter.value)
    assert headers(letter)["idempotency-key"].startswith("dev-0001::")
    assert isinstance(again, Duplicate)


class BrokenAllowance(Allowance):
    """A policy with a bug of ours."""

    def judge(self, *_: Any, **__: Any) -> NoReturn:
        raise RuntimeError("broken")


def test_after_a_fault_of_ours_the_key_is_new_again() -> None:
    route = Route(filter="alarms/+/events", kind="opaque", kafka_topic="alarms")
    duplicates = Duplicates(DedupWindow(ttl_s=1e9, keys_max=100, keys_min=10))
    allowance = BrokenAllowance.of(LimitsSection(), (route,), Limits())
    policy = Policy.of(ValidationSection(), Registry(), allowance)
    broken, whole = (
        Flow(
            routes=(route,),
            dead_letter_topic="dlq",
            validation=ValidationSection(),
            entropy=lambda size: b"\xff" * size,
            duplicates=duplicates,
            policy=each,
        )
        for each in (policy, None)
    )

    letter = carry(broken, payload=b"x", user_properties=KEYED)
    record = carry(whole, payload=b"x", user_properties=KEYED)

    assert letter.dead_letter is not None
    assert "internal_error" == letter.dead_letter.reason
    assert record.dead_letter is None, "a duplicate of what is under way for ever is never PUBACKed"
