"""What follows from what a Kafka cluster says of itself, case by case."""

from collections.abc import Mapping

import msgspec
import pytest

from bridge.runtime.live_check.kafka_facts import ClusterFacts, TopicFacts
from bridge.runtime.live_check.kafka_points import Need, batch_bytes_of, judge_cluster, judge_topic

WEEK_S = 604_800
NEED = Need(
    payload_bytes_max={"t": 262_144},
    session_expiry_s=WEEK_S,
    side_topics=frozenset({"side"}),
    batch_bytes=1_000_000,
)
SETTINGS = {
    "min.insync.replicas": "2",
    "unclean.leader.election.enable": "false",
    "max.message.bytes": "1048588",
    "cleanup.policy": "delete",
    "retention.ms": str(WEEK_S * 1_000),
    "retention.bytes": "-1",
    "message.timestamp.type": "CreateTime",
}
SOUND = TopicFacts(
    name="t",
    partitions=12,
    replicas=3,
    in_sync=3,
    operations=frozenset({"READ", "WRITE", "DESCRIBE"}),
    settings=SETTINGS,
)


def judge(topic: TopicFacts, *, brokers: int = 3) -> dict[str, str]:
    """Give the standing of each point, by the first word of its name."""
    found = judge_topic(topic, NEED, brokers=brokers)
    return {point.name.partition(' "')[0]: str(point.standing) for point in found}


def with_settings(**changed: str) -> TopicFacts:
    settings = {**SETTINGS, **{name.replace("_", "."): value for name, value in changed.items()}}
    return msgspec.structs.replace(SOUND, settings=settings)


def test_a_sound_topic_is_ok_in_every_point() -> None:
    assert {"ok"} == set(judge(SOUND).values())


@pytest.mark.parametrize(
    ("topic", "name", "standing"),
    [
        pytest.param(with_settings(min_insync_replicas="1"), "min.insync.replicas", "FAIL", id="1"),
        pytest.param(with_settings(min_insync_replicas="3"), "min.insync.replicas", "warn", id="3"),
        pytest.param(
            with_settings(min_insync_replicas="4"), "min.insync.replicas", "FAIL", id="more"
        ),
        pytest.param(
            with_settings(unclean_leader_election_enable="true"),
            "unclean leader election",
            "FAIL",
            id="unclean",
        ),
        pytest.param(
            with_settings(max_message_bytes="500000"), "max.message.bytes", "warn", id="b"
        ),
        pytest.param(with_settings(max_message_bytes="9000"), "max.message.bytes", "warn", id="r"),
        pytest.param(with_settings(cleanup_policy="compact"), "cleanup.policy", "FAIL", id="c"),
        pytest.param(
            with_settings(cleanup_policy="compact,delete"), "cleanup.policy", "FAIL", id="both"
        ),
        pytest.param(with_settings(retention_ms="3600000"), "retention", "warn", id="hour"),
        pytest.param(with_settings(retention_ms="-1"), "retention", "ok", id="for-ever"),
        pytest.param(with_settings(retention_bytes="1000"), "retention", "warn", id="bytes"),
        pytest.param(
            with_settings(message_timestamp_type="LogAppendTime"), "timestamps", "warn", id="append"
        ),
        pytest.param(msgspec.structs.replace(SOUND, replicas=1), "replication", "FAIL", id="one"),
        pytest.param(msgspec.structs.replace(SOUND, in_sync=2), "replication", "warn", id="behind"),
        pytest.param(msgspec.structs.replace(SOUND, leaderless=1), "topic", "FAIL", id="no-leader"),
        pytest.param(
            msgspec.structs.replace(SOUND, operations=frozenset({"READ", "DESCRIBE"})),
            "rights",
            "FAIL",
            id="no-write",
        ),
        pytest.param(
            msgspec.structs.replace(SOUND, operations=frozenset({"WRITE", "DESCRIBE"})),
            "rights",
            "warn",
            id="no-read",
        ),
        pytest.param(
            msgspec.structs.replace(SOUND, operations=None), "rights", "not proven", id="silent"
        ),
        pytest.param(
            msgspec.structs.replace(SOUND, settings={}, settings_error="DENIED"),
            "settings",
            "not proven",
            id="no-describe-configs",
        ),
        pytest.param(
            TopicFacts(name="t", error="UNKNOWN_TOPIC_OR_PART"), "topic", "FAIL", id="gone"
        ),
    ],
)
def test_a_topic_that_is_not_sound_fails_in_that_point(
    topic: TopicFacts, name: str, standing: str
) -> None:
    judged = judge(topic)

    assert standing == judged[name]
    others = {each for point, each in judged.items() if point != name}
    assert others <= ({"ok", "warn", "FAIL"} if name == "replication" else {"ok"})


def test_on_a_single_broker_one_replica_is_a_warning_and_no_failure() -> None:
    alone = msgspec.structs.replace(with_settings(min_insync_replicas="1"), replicas=1, in_sync=1)

    judged = judge(alone, brokers=1)

    assert {"replication", "min.insync.replicas"} == {
        name for name, standing in judged.items() if standing == "warn"
    }
    assert "FAIL" not in judged.values()


def test_a_topic_that_nothing_waits_for_is_a_warning_when_it_is_missing() -> None:
    facts = ClusterFacts(
        brokers=3,
        topics=(TopicFacts(name="side", error="UNKNOWN_TOPIC_OR_PART"),),
        producer_error="",
    )

    assert ["ok", "ok", "warn"] == [str(each.standing) for each in judge_cluster(facts, NEED)]


def test_a_cluster_that_gives_no_producer_id_fails() -> None:
    facts = ClusterFacts(brokers=3, topics=(), producer_error="CLUSTER_AUTHORIZATION_FAILED: no")

    points = list(judge_cluster(facts, NEED))

    assert ["ok", "FAIL"] == [str(each.standing) for each in points]
    assert "IDEMPOTENT_WRITE" in points[1].remedy


@pytest.mark.parametrize(
    ("properties", "expected"),
    [({}, 1_000_000), ({"batch.size": 5_000}, 5_000), ({"message.max.bytes": "70000"}, 70_000)],
)
def test_a_batch_is_as_large_as_librdkafka_makes_it(
    properties: Mapping[str, str | int], expected: int
) -> None:
    assert expected == batch_bytes_of(properties)
