"""The table of delivery errors."""

import pytest
from confluent_kafka import KafkaError

from bridge.kafka.delivery import _TABLE, Fate, fate_of, remedy_for


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, Fate.DELIVERED),
        ("MSG_SIZE_TOO_LARGE", Fate.REFUSED),
        ("INVALID_RECORD", Fate.REFUSED),
        ("INVALID_TIMESTAMP", Fate.REFUSED),
        ("RECORD_LIST_TOO_LARGE", Fate.REFUSED),
        ("TOPIC_AUTHORIZATION_FAILED", Fate.HELD),
        ("CLUSTER_AUTHORIZATION_FAILED", Fate.HELD),
        ("UNKNOWN_TOPIC_OR_PART", Fate.HELD),
        ("_UNKNOWN_TOPIC", Fate.HELD),
        ("POLICY_VIOLATION", Fate.HELD),
        ("THROTTLING_QUOTA_EXCEEDED", Fate.AGAIN),
        ("UNKNOWN", Fate.AGAIN),
        ("INVALID_PRODUCER_EPOCH", Fate.AGAIN),
        ("OUT_OF_ORDER_SEQUENCE_NUMBER", Fate.FATAL),
        ("_FATAL", Fate.FATAL),
        ("_PURGE_QUEUE", Fate.FATAL),
        ("_PURGE_INFLIGHT", Fate.FATAL),
        ("_MSG_TIMED_OUT", Fate.HELD),
        ("AN_ERROR_OF_A_LATER_KAFKA", Fate.HELD),
    ],
)
def test_each_error_has_its_fate_and_an_unknown_one_only_delays(
    error: str | None, expected: Fate
) -> None:
    assert expected == fate_of(error)


def test_every_name_in_the_table_is_one_that_librdkafka_uses() -> None:
    known = {
        KafkaError(code).name()
        for name, code in vars(KafkaError).items()
        if name.isupper() and isinstance(code, int)
    }

    assert set() == set(_TABLE) - known


def test_a_missing_topic_names_its_remedy() -> None:
    assert "create the topic" in remedy_for("UNKNOWN_TOPIC_OR_PART")
