"""What follows from what the Kafka cluster said: points, and nothing is asked here."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from bridge.kafka.properties import MESSAGE_BYTES_MAX, RECORD_OVERHEAD_BYTES
from bridge.runtime.live_check.kafka_facts import ClusterFacts, TopicFacts
from bridge.runtime.live_check.points import Group, Point, Scribe, whole

SAY: Final = Scribe(Group.KAFKA)
_ENRICHMENT_BYTES: Final = 2_048
"""What a telemetry record adds to its payload: server fields, headers, key."""
_FOREVER: Final = -1


class Need(Struct, frozen=True, kw_only=True):
    """What the bridge wants of its topics."""

    payload_bytes_max: Mapping[str, int]
    """Of each Kafka topic, the largest payload that its routes let pass; others hold small ones."""
    session_expiry_s: int
    side_topics: frozenset[str]
    """Topics whose records nothing waits for."""
    batch_bytes: int
    """The largest batch that the producer makes."""


def batch_bytes_of(properties: Mapping[str, Any]) -> int:
    """Tell how large a batch librdkafka makes: `batch.size`, but never more than one message."""
    message = int(properties.get("message.max.bytes", MESSAGE_BYTES_MAX))
    return min(message, int(properties.get("batch.size", MESSAGE_BYTES_MAX)))


def judge_cluster(facts: ClusterFacts, need: Need) -> Iterator[Point]:
    """Judge the cluster, the producer's right, then each topic."""
    yield SAY.ok("cluster", f"answers, {facts.brokers} brokers")
    if facts.producer_error:
        yield SAY.refused(
            "idempotent producer",
            f"no producer id: {facts.producer_error}",
            "grant IDEMPOTENT_WRITE on the cluster, or, since Kafka 2.8, WRITE on one topic",
        )
    else:
        yield SAY.ok("idempotent producer", "the cluster gave a producer id")
    for topic in facts.topics:
        if topic.name in need.side_topics:
            yield _judge_side_topic(topic)
            continue
        yield from judge_topic(topic, need, brokers=facts.brokers)


def judge_topic(topic: TopicFacts, need: Need, *, brokers: int) -> Iterator[Point]:
    """Judge one topic: there, led, ours to write, replicated, and keeping what it gets."""
    name = f"topic {whole(topic.name)}"
    if topic.error:
        yield _judge_absence(name, topic)
        return
    if topic.leaderless:
        yield SAY.refused(
            name,
            f"{topic.leaderless} of {topic.partitions} partitions have no leader",
            "bring the brokers of these partitions back",
        )
    else:
        yield SAY.ok(name, f"is there, {topic.partitions} partitions, each with a leader")
    yield _judge_rights(topic)
    if not topic.settings:
        yield _judge_replicas(topic, brokers=brokers)
        yield SAY.not_proven(
            f"settings {whole(topic.name)}",
            f"min.insync.replicas and others: {topic.settings_error or 'not told'}",
            "grant DESCRIBE_CONFIGS on the topic to the principal of the check",
        )
        return
    yield _judge_replicas(topic, brokers=brokers)
    yield _judge_in_sync(topic, brokers=brokers)
    yield from _judge_election(topic)
    yield _judge_size(topic, need)
    yield _judge_cleanup(topic)
    yield _judge_retention(topic, need)
    yield _judge_timestamps(topic)


def _judge_side_topic(topic: TopicFacts) -> Point:
    """Judge a topic of alerts: without it they are not written, and nothing else changes."""
    name = f"topic {whole(topic.name)}"
    if topic.error:
        remedy = "create it, and grant WRITE and DESCRIBE: else its records are left out"
        return SAY.warn(name, f"{topic.error}, and nothing else waits for it", remedy)
    if topic.operations is not None and "WRITE" not in topic.operations:
        remedy = "grant WRITE on it: else its records are left out"
        return SAY.warn(name, "WRITE is missing, and nothing else waits for it", remedy)
    return SAY.ok(name, f"is there, {topic.partitions} partitions")


def _judge_absence(name: str, topic: TopicFacts) -> Point:
    remedies = {
        "UNKNOWN_TOPIC_OR_PART": "create it, or grant DESCRIBE: without that right it looks absent",
        "TOPIC_AUTHORIZATION_FAILED": "grant DESCRIBE, WRITE and READ on it",
    }
    return SAY.refused(name, topic.error, remedies.get(topic.error, "mend it in the cluster"))


def _judge_rights(topic: TopicFacts) -> Point:
    name = f"rights {whole(topic.name)}"
    if topic.operations is None:
        return SAY.not_proven(name, "the cluster did not say", "use a Kafka of 2.3 or later")
    for right in ("WRITE", "DESCRIBE"):
        if right not in topic.operations:
            return SAY.refused(name, f"{right} is missing", f"grant {right} on the topic")
    if "READ" not in topic.operations:
        return SAY.warn(
            name,
            "WRITE and DESCRIBE; READ is missing, so the promise is at least once",
            "grant READ on the topic: it rebuilds the deduplication window",
        )
    return SAY.ok(name, "WRITE, READ and DESCRIBE")


def _judge_replicas(topic: TopicFacts, *, brokers: int) -> Point:
    name = f"replication {whole(topic.name)}"
    value = f"{topic.replicas} replicas, {topic.in_sync} in sync"
    if topic.replicas < 2 and brokers < 2:  # noqa: PLR2004
        return SAY.warn(
            name,
            f"{value}, on a single broker: its disk holds the only copy",
            "three brokers and replication factor 3",
        )
    if topic.replicas < 2:  # noqa: PLR2004
        return SAY.wrong(
            name,
            f"{value}: a broker that is lost takes confirmed records with it",
            "raise the replication factor to 3 (kafka-reassign-partitions)",
        )
    if topic.in_sync < topic.replicas:
        return SAY.warn(name, value, "see why a broker does not keep up")
    return SAY.ok(name, value)


def _judge_in_sync(topic: TopicFacts, *, brokers: int) -> Point:
    name = f"min.insync.replicas {whole(topic.name)}"
    minimum = int(topic.settings.get("min.insync.replicas", "1"))
    if minimum > topic.in_sync:
        return SAY.refused(
            name,
            f"{minimum}, but only {topic.in_sync} replicas are in sync: nothing is taken",
            "bring brokers back, or lower it below the replication factor",
        )
    if minimum < 2 and brokers < 2:  # noqa: PLR2004
        return SAY.warn(name, f"{minimum}, on a single broker", "2, with replication factor 3")
    if minimum < 2:  # noqa: PLR2004
        return SAY.wrong(
            name,
            f"{minimum}: acks=all may then mean a single broker, and its loss is data lost",
            "set min.insync.replicas=2 on the topic",
        )
    if minimum == topic.replicas:
        return SAY.warn(
            name,
            f"{minimum} of {topic.replicas}: one broker away stops the topic, nothing is lost",
            "one more replica",
        )
    return SAY.ok(name, f"{minimum} of {topic.replicas}")


def _judge_election(topic: TopicFacts) -> Iterator[Point]:
    if topic.settings.get("unclean.leader.election.enable") == "true":
        yield SAY.wrong(
            f"unclean leader election {whole(topic.name)}",
            "allowed: a replica that lags may become leader, and confirmed records are gone",
            "set unclean.leader.election.enable=false on the topic",
        )


def _judge_size(topic: TopicFacts, need: Need) -> Point:
    name = f"max.message.bytes {whole(topic.name)}"
    limit = int(topic.settings.get("max.message.bytes", "0"))
    payload = need.payload_bytes_max.get(topic.name, 0)
    record = payload + _ENRICHMENT_BYTES + RECORD_OVERHEAD_BYTES
    if limit < record:
        return SAY.warn(
            name,
            f"{limit}, but a record may have {record} bytes: the largest become dead letters"
            if payload
            else f"{limit}: dead letters are cut to fit",
            f"set max.message.bytes={max(record, need.batch_bytes)} on the topic,"
            " or lower route.payload_bytes_max",
        )
    if limit < need.batch_bytes:
        return SAY.warn(
            name,
            f"{limit}, but a batch may have {need.batch_bytes} bytes: under load batches are"
            " refused and their records sent one by one",
            f"set max.message.bytes={need.batch_bytes} on the topic, or batch.size={limit} in"
            " kafka.properties",
        )
    return SAY.ok(name, f"{limit}, a batch has at most {need.batch_bytes}")


def _judge_cleanup(topic: TopicFacts) -> Point:
    name = f"cleanup.policy {whole(topic.name)}"
    policy = topic.settings.get("cleanup.policy", "")
    if "compact" in policy:
        return SAY.wrong(
            name,
            f"{policy}: the key is the device id, so compaction keeps one record a device",
            "set cleanup.policy=delete on the topic",
        )
    return SAY.ok(name, policy or "none")


def _judge_retention(topic: TopicFacts, need: Need) -> Point:
    name = f"retention {whole(topic.name)}"
    kept_ms = int(topic.settings.get("retention.ms", str(_FOREVER)))
    kept_bytes = int(topic.settings.get("retention.bytes", str(_FOREVER)))
    if kept_ms != _FOREVER and kept_ms < need.session_expiry_s * 1_000:
        return SAY.warn(
            name,
            f"{kept_ms // 1_000} s, shorter than mqtt.session_expiry_s ({need.session_expiry_s}):"
            " who reads the topic has less time than the bridge",
            "raise retention.ms",
        )
    if kept_bytes != _FOREVER:
        return SAY.warn(
            name,
            f"{kept_bytes} bytes a partition, so the time depends on the inflow",
            "set retention.bytes=-1, or reckon how long it lasts",
        )
    return SAY.ok(name, "for ever" if kept_ms == _FOREVER else f"{kept_ms // 1_000} s")


def _judge_timestamps(topic: TopicFacts) -> Point:
    name = f"timestamps {whole(topic.name)}"
    kind = topic.settings.get("message.timestamp.type", "CreateTime")
    if kind != "CreateTime":
        return SAY.warn(
            name,
            f"{kind}: Kafka writes its own time over that of the receipt, wrong after an outage",
            "set message.timestamp.type=CreateTime on the topic",
        )
    return SAY.ok(name, kind)
