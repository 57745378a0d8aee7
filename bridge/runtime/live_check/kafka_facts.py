"""What the Kafka cluster says of itself: asked with describe requests, and nothing is written."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource
from msgspec import Struct

from bridge.errors import UnavailableError

if TYPE_CHECKING:
    from concurrent.futures import Future

REQUEST_S: Final = 6.0
"""How long one answer may take; a cluster that is there needs milliseconds."""
PRODUCER_ID_S: Final = 15.0
"""The first producer id of a fresh cluster waits for its coordinator: a second or two."""
PATIENCE_S: Final = 1.0
"""All brokers were tried in vain, and again for so long."""
_POLL_S: Final = 0.05
_STATISTICS_MS: Final = 50
_ALL_DOWN: Final = "_ALL_BROKERS_DOWN"


class KafkaRefusedError(UnavailableError):
    """The cluster does not answer, or does not let us in; the message says which."""


class TopicFacts(Struct, frozen=True, kw_only=True):
    """One Kafka topic; `error` is the name of what was answered instead."""

    name: str
    error: str = ""
    partitions: int = 0
    leaderless: int = 0
    replicas: int = 0
    """Of the partition that has fewest."""
    in_sync: int = 0
    """Likewise."""
    operations: frozenset[str] | None = None
    """What we may do, READ, WRITE and the like; None where the cluster did not say."""
    settings: Mapping[str, str] = {}
    settings_error: str = ""


class ClusterFacts(Struct, frozen=True, kw_only=True):
    """What was answered; `producer_error` is empty once an idempotent producer had its id."""

    brokers: int
    topics: tuple[TopicFacts, ...]
    producer_error: str


class _Complaints:
    """What librdkafka said went wrong; the last that says more than that all are down."""

    def __init__(self) -> None:
        self.last = ""
        self.all_down_at: float | None = None

    def note(self, error: KafkaError) -> None:
        if error.name() == _ALL_DOWN and self.all_down_at is None:
            self.all_down_at = time.monotonic()
        if error.name() != _ALL_DOWN or not self.last:
            self.last = f"{error.name()}: {error.str()}"


def gather(properties: Mapping[str, Any], kafka_topics: Sequence[str]) -> ClusterFacts:
    """Ask for everything; `properties` are those of the bridge's producer.

    Raises:
        KafkaRefusedError: No answer at all.
    """
    complaints = _Complaints()
    ours = {
        **properties,
        "client.id": f"{properties['client.id']}-check",
        "log_level": 0,  # What it would log comes as a complaint.
        "statistics.interval.ms": 0,
        "error_cb": complaints.note,
    }
    # An admin client is a producer inside; this one needs no id, so none is asked for it.
    admin = AdminClient({**ours, "enable.idempotence": False})
    try:
        cluster = _await_cluster(admin, complaints)
    except (KafkaException, TimeoutError) as error:
        raise KafkaRefusedError(complaints.last or _reason(error)) from error
    topics = _describe_topics(admin, kafka_topics)
    settings = _describe_settings(admin, [name for name in topics if not topics[name].error])
    return ClusterFacts(
        brokers=len(cluster.nodes),
        topics=tuple(_with_settings(topics[name], settings.get(name)) for name in kafka_topics),
        producer_error=_producer_error(ours),
    )


def _await_cluster(admin: AdminClient, complaints: _Complaints) -> Any:  # noqa: ANN401
    """Wait for the first answer, but not for a cluster of which no broker can be reached."""
    described = admin.describe_cluster(request_timeout=REQUEST_S)
    while not described.done():
        admin.poll(_POLL_S)
        down_at = complaints.all_down_at
        if down_at is not None and time.monotonic() > down_at + PATIENCE_S and not described.done():
            raise TimeoutError(complaints.last)
    admin.poll(0)
    return described.result()


def _describe_topics(admin: AdminClient, names: Sequence[str]) -> dict[str, TopicFacts]:
    futures = admin.describe_topics(
        TopicCollection(list(names)), include_authorized_operations=True, request_timeout=REQUEST_S
    )
    found: dict[str, TopicFacts] = {}
    for name, future in futures.items():
        described, error = _answer(future)
        found[name] = TopicFacts(name=name, error=error) if error else _topic_facts(name, described)
    return found


def _topic_facts(name: str, described: Any) -> TopicFacts:  # noqa: ANN401  TopicDescription
    partitions = described.partitions
    operations = described.authorized_operations
    return TopicFacts(
        name=name,
        partitions=len(partitions),
        leaderless=sum(each.leader is None or each.leader.id < 0 for each in partitions),
        replicas=min((len(each.replicas) for each in partitions), default=0),
        in_sync=min((len(each.isr) for each in partitions), default=0),
        operations=None if operations is None else frozenset(each.name for each in operations),
    )


def _describe_settings(
    admin: AdminClient, names: Sequence[str]
) -> dict[str, tuple[dict[str, str], str]]:
    if not names:
        return {}
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
    found: dict[str, tuple[dict[str, str], str]] = {}
    for resource, future in admin.describe_configs(resources, request_timeout=REQUEST_S).items():
        entries, error = _answer(future)
        values = {} if error else {name: str(entry.value) for name, entry in entries.items()}
        found[resource.name] = (values, error)
    return found


def _with_settings(topic: TopicFacts, settings: tuple[dict[str, str], str] | None) -> TopicFacts:
    if settings is None:
        return topic
    return TopicFacts(
        name=topic.name,
        partitions=topic.partitions,
        leaderless=topic.leaderless,
        replicas=topic.replicas,
        in_sync=topic.in_sync,
        operations=topic.operations,
        settings=settings[0],
        settings_error=settings[1],
    )


def _answer(future: "Future[Any]") -> tuple[Any, str]:
    try:
        return future.result(REQUEST_S + 1), ""
    except (KafkaException, TimeoutError) as error:
        return None, _reason(error)


def _reason(error: Exception) -> str:
    if isinstance(error, KafkaException):
        return str(error.args[0].name())
    return f"no answer within {REQUEST_S:.0f} s"


def _producer_error(properties: Mapping[str, Any]) -> str:
    """Start an idempotent producer, wait for its id, and end it: no record is written."""
    complaints = _Complaints()
    states: list[str] = []

    def note_statistics(text: str) -> None:
        states.append(json.loads(text).get("eos", {}).get("idemp_state", ""))

    producer = Producer(
        {
            **properties,
            "error_cb": complaints.note,
            "statistics.interval.ms": _STATISTICS_MS,
            "stats_cb": note_statistics,
        }
    )
    ends_at = time.monotonic() + PRODUCER_ID_S
    while time.monotonic() < ends_at:
        try:
            producer.poll(_POLL_S)
        except KafkaException as error:
            return _reason(error)
        if "Assigned" in states:
            return ""
        if "FatalError" in states:
            break
    return complaints.last or f"no producer id within {PRODUCER_ID_S:.0f} s"
