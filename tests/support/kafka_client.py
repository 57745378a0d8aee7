"""What tests ask of a Kafka cluster: topics made and deleted, and everything in them read back."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from tests.support.eventually import NeverHappenedError, eventually

_REQUEST_TIMEOUT_S = 30.0
_CONSUME_BATCH = 2_000
_PASSING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._TRANSPORT,  # noqa: SLF001  the library's own public name
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError._DESTROY_BROKER,  # noqa: SLF001  its address changed meanwhile
    }
)


class ConsumedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record as it lies in Kafka."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]

    def header(self, name: str) -> bytes | None:
        """Return the last header of this name, or None."""
        found = [value for key, value in self.headers if key == name]
        return found[-1] if found else None


Until: TypeAlias = int | Callable[[Sequence[ConsumedRecord]], object] | None


class KafkaClient:
    """A cluster as its clients see it, by its bootstrap address (`host:port`)."""

    def __init__(self, bootstrap: str, client_properties: Mapping[str, str] | None = None) -> None:
        self.bootstrap = bootstrap
        self.client_properties = dict(client_properties or {})

    def _properties(self) -> dict[str, Any]:  # The stubs of Admin and Consumer disagree.
        return {
            "bootstrap.servers": self.bootstrap,
            "log_level": 0,  # Brokers go down on purpose; librdkafka would fill the screen.
            "reconnect.backoff.ms": 10,
            "reconnect.backoff.max.ms": 100,
            "topic.metadata.propagation.max.ms": 100,
            "error_cb": _ignore,
            **self.client_properties,
        }

    def admin(self) -> AdminClient:
        """Return a new admin client."""
        return AdminClient(self._properties())

    def brokers_up(self) -> int:
        """Count the brokers that the cluster says it has; 0 when it does not answer."""
        try:
            return len(self.admin().list_topics(timeout=2.0).brokers)
        except KafkaException:
            return 0

    def create_topic(
        self,
        name: str,
        partitions: int = 1,
        config: Mapping[str, str] | None = None,
        replication_factor: int = 1,
        assignment: Sequence[Sequence[int]] = (),
    ) -> str:
        """Create a topic, wait until every partition has a leader, and return its name.

        `assignment` names the brokers of each partition, and then says how many there are.
        """
        admin = self.admin()
        shape: dict[str, Any] = {"replication_factor": replication_factor}
        if assignment:
            partitions = len(assignment)
            shape = {"replica_assignment": [list(each) for each in assignment]}
        topic = NewTopic(name, num_partitions=partitions, config=dict(config or {}), **shape)
        created = admin.create_topics([topic], request_timeout=_REQUEST_TIMEOUT_S)
        created[name].result(_REQUEST_TIMEOUT_S)
        eventually(
            lambda: self._partitions_led(admin, name),
            lambda led: led == partitions,
            what=f"every partition of {name} has a leader",
        )
        return name

    def _partitions_led(self, admin: AdminClient, name: str) -> int:
        topic = admin.list_topics(name, timeout=5.0).topics[name]
        if topic.error is not None:
            return 0
        return sum(partition.leader >= 0 for partition in topic.partitions.values())

    def add_partitions(self, name: str, partitions: int) -> None:
        """Let a topic have so many partitions in all, and wait until each has a leader."""
        admin = self.admin()
        added = admin.create_partitions(
            [NewPartitions(name, partitions)], request_timeout=_REQUEST_TIMEOUT_S
        )
        added[name].result(_REQUEST_TIMEOUT_S)
        eventually(
            lambda: self._partitions_led(admin, name),
            lambda led: led == partitions,
            what=f"every partition of {name} has a leader",
        )

    def delete_topic(self, name: str) -> None:
        """Delete a topic with all that is in it, and wait until the cluster forgot it."""
        admin = self.admin()
        deleted = admin.delete_topics([name], request_timeout=_REQUEST_TIMEOUT_S)
        deleted[name].result(_REQUEST_TIMEOUT_S)
        eventually(
            lambda: name in self.topic_names(),
            lambda there: not there,
            what=f"topic {name} is gone",
        )

    def topic_names(self) -> set[str]:
        """Return the names of all topics."""
        return set(self.admin().list_topics(timeout=10.0).topics)

    def deny_write(
        self, topic: str, principal: str = "User:ANONYMOUS", *, others: str | None = None
    ) -> None:
        """Take the right to write away; the cluster must run with `AUTHORIZER`.

        An ACL on a topic ends "everyone may" for it, so what is to stay allowed is said too: to the
        same principal, or to `others`, such as `User:*`.
        """
        admin = self.admin()
        for who, operation, permission in (
            (others or principal, AclOperation.ALL, AclPermissionType.ALLOW),
            (principal, AclOperation.WRITE, AclPermissionType.DENY),
        ):
            acl = AclBinding(
                ResourceType.TOPIC,
                topic,
                ResourcePatternType.LITERAL,
                who,
                "*",
                operation,
                permission,
            )
            for made in admin.create_acls([acl]).values():
                made.result(_REQUEST_TIMEOUT_S)

    def allow_write(self, topic: str) -> None:
        """Remove every ACL of the topic."""
        acls = AclBindingFilter(
            ResourceType.TOPIC,
            topic,
            ResourcePatternType.LITERAL,
            cast("str", None),  # Any principal; the stub says str, the docstring None.
            cast("str", None),  # Any host.
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        admin = self.admin()
        for removed in admin.delete_acls([acls]).values():
            removed.result(_REQUEST_TIMEOUT_S)

    def produce(
        self,
        topic: str,
        values: Sequence[bytes | None],
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Produce these values in order and wait for every delivery report.

        A broker that has just become the leader may not know the topic for a moment: what it
        refused for that is produced again.
        """
        ends_at = time.monotonic() + _REQUEST_TIMEOUT_S
        # In order by one request at a time: a first producer id costs up to 1 s.
        producer = Producer({**self._properties(), "acks": "all", "max.in.flight": 1})
        owed = list(values)
        while owed:
            refused: list[tuple[bytes | None, KafkaError]] = []

            def on_delivery(
                error: KafkaError | None,
                message: Message,
                into: list[tuple[bytes | None, KafkaError]] = refused,
            ) -> None:
                if error is not None:
                    into.append((message.value(), error))

            for value in owed:
                producer.produce(
                    topic, value=value, key=key, headers=list(headers), on_delivery=on_delivery
                )
                producer.poll(0)
            left = producer.flush(_REQUEST_TIMEOUT_S)
            lasting = [error for _, error in refused if error.code() not in _PASSING]
            is_over = bool(lasting) or left > 0 or time.monotonic() >= ends_at
            assert not (refused and is_over), f"produce to {topic}: {left} left, {refused}"
            owed = [value for value, _ in refused]

    def consumer(self) -> Consumer:
        """Return a new consumer that is to be assigned its partitions and commits nothing."""
        return Consumer(
            {
                **self._properties(),
                "group.id": f"harness-{secrets.token_hex(8)}",  # Asked for, never joined.
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 20,
                "fetch.error.backoff.ms": 20,
            }
        )

    def consume_all(
        self, topic: str, *, until: Until = None, deadline_s: float = 60.0
    ) -> list[ConsumedRecord]:
        """Read the topic from its beginning, in order within each partition.

        Without `until` up to what was its end at the start; with a number until so many records
        were read; with a predicate until it holds for everything read. Records beyond the number
        that came in the same batch are returned too: a test that expects 10 must see the 11th.

        Raises:
            NeverHappenedError: the deadline passed first.
        """
        consumer = self.consumer()
        try:
            return _read(consumer, topic, until, deadline_s)
        finally:
            consumer.close()

    def stream(self, topic: str, *, deadline_s: float = 600.0) -> Iterator[ConsumedRecord]:
        """Give what the topic holds now, one by one: for topics that are too large to keep.

        Raises:
            NeverHappenedError: the deadline passed first.
        """
        consumer = self.consumer()
        ends_at = time.monotonic() + deadline_s
        try:
            marks = _watermarks(consumer, topic, deadline_s=deadline_s)
            consumer.assign([TopicPartition(topic, n, low) for n, (low, _) in marks.items()])
            while not _is_done(consumer, topic, marks, (), None):
                if time.monotonic() >= ends_at:
                    raise NeverHappenedError(f"{topic}: not read to its end in {deadline_s} s")
                for message in consumer.consume(_CONSUME_BATCH, timeout=0.2):
                    if message.error() is None:
                        yield _record(message)
        finally:
            consumer.close()

    def count(self, topic: str) -> int:
        """Return how many records lie in the topic, control records of transactions included."""
        consumer = Consumer({**self._properties(), "group.id": "harness-count"})
        try:
            ends = _watermarks(consumer, topic)
            return sum(high - low for low, high in ends.values())
        finally:
            consumer.close()


def _watermarks(
    consumer: Consumer, topic: str, *, deadline_s: float = _REQUEST_TIMEOUT_S
) -> dict[int, tuple[int, int]]:
    """Ask for the ends of all partitions, again while a leader is being elected or comes back."""
    ends_at = time.monotonic() + deadline_s
    while True:
        try:
            return _ask_watermarks(consumer, topic)
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() >= ends_at:
                raise
            consumer.poll(0.05)  # Waits for news of the cluster; nothing is assigned yet.


def _ask_watermarks(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    metadata = consumer.list_topics(topic, timeout=_REQUEST_TIMEOUT_S).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    found: dict[int, tuple[int, int]] = {}
    for partition in metadata.partitions:
        marks = consumer.get_watermark_offsets(
            TopicPartition(topic, partition), timeout=_REQUEST_TIMEOUT_S
        )
        assert marks is not None, f"{topic}/{partition}: no watermarks"
        found[partition] = marks
    return found


def _read(consumer: Consumer, topic: str, until: Until, deadline_s: float) -> list[ConsumedRecord]:
    ends_at = time.monotonic() + deadline_s
    marks = _watermarks(consumer, topic, deadline_s=deadline_s)
    records: list[ConsumedRecord] = []
    consumer.assign([TopicPartition(topic, number, low) for number, (low, _) in marks.items()])
    while not _is_done(consumer, topic, marks, records, until):
        if time.monotonic() >= ends_at:
            raise NeverHappenedError(
                f"{topic}: read {len(records)} records in {deadline_s} s, expected {until}"
            )
        for message in consumer.consume(_CONSUME_BATCH, timeout=0.02):
            if (error := message.error()) is not None:
                if error.fatal():
                    raise KafkaException(error)
                continue  # Brokers come and go in these tests; the deadline bounds it.
            records.append(_record(message))
    return records


def _is_done(
    consumer: Consumer,
    topic: str,
    marks: Mapping[int, tuple[int, int]],
    records: Sequence[ConsumedRecord],
    until: Until,
) -> bool:
    match until:
        case int():
            return len(records) >= until
        case None:
            # Positions, not counts: compaction and transactions leave holes.
            unread = [TopicPartition(topic, n) for n, (low, high) in marks.items() if high > low]
            at = {spot.partition: spot.offset for spot in consumer.position(unread)}
            return all(at[spot.partition] >= marks[spot.partition][1] for spot in unread)
        case _:
            return bool(until(records))


def _record(message: Message) -> ConsumedRecord:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    headers = message.headers() or []
    assert isinstance(headers, list)
    return ConsumedRecord(
        topic=topic,
        partition=partition,
        offset=offset,
        timestamp_ms=message.timestamp()[1],
        key=_as_bytes(message.key()),
        value=_as_bytes(message.value()),
        headers=[(name, _as_bytes(value)) for name, value in headers],
    )


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def _ignore(_error: KafkaError) -> None:
    """Say nothing: a broker that is away is what these tests are about."""
