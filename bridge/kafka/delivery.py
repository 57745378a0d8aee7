"""What a delivery report means: the table of errors.

librdkafka's `retriable()` answered False for every error seen, so the bridge keeps its own table,
by the names librdkafka gives the codes. What librdkafka retries by itself (leader moves, not enough
replicas, transport, request time-outs) never shows here, since records have no time-out.
"""

import enum
from typing import Final


class Fate(enum.Enum):
    """What becomes of a record after its delivery report."""

    DELIVERED = enum.auto()
    """Kafka has it, on all in-sync replicas: it may be acknowledged."""
    REFUSED = enum.auto()
    """Kafka will never take this record: it becomes a dead letter."""
    HELD = enum.auto()
    """Kafka refuses the topic by configuration: wait until somebody mends it."""
    AGAIN = enum.auto()
    """It failed once for a passing reason: produce it again before anything newer."""
    FATAL = enum.auto()
    """The producer is finished: build a new one and produce again what is unconfirmed."""


_TABLE: Final[dict[str, Fate]] = {
    # The batch may have been too large rather than the record: the outbox tries it alone first.
    "MSG_SIZE_TOO_LARGE": Fate.REFUSED,
    "RECORD_LIST_TOO_LARGE": Fate.REFUSED,
    "INVALID_MSG_SIZE": Fate.REFUSED,
    "INVALID_RECORD": Fate.REFUSED,
    "INVALID_TIMESTAMP": Fate.REFUSED,
    # Another record of its batch was invalid; this one was only beside it (KIP-467).
    "_INVALID_DIFFERENT_RECORD": Fate.AGAIN,
    "THROTTLING_QUOTA_EXCEEDED": Fate.AGAIN,
    "UNKNOWN": Fate.AGAIN,
    "INVALID_PRODUCER_EPOCH": Fate.AGAIN,
    "INVALID_MSG": Fate.AGAIN,
    "_FATAL": Fate.FATAL,
    # What librdkafka gives to everything queued when the producer is fatal or is replaced.
    "_PURGE_QUEUE": Fate.FATAL,
    "_PURGE_INFLIGHT": Fate.FATAL,
    "_FENCED": Fate.FATAL,
    "OUT_OF_ORDER_SEQUENCE_NUMBER": Fate.FATAL,
    "DUPLICATE_SEQUENCE_NUMBER": Fate.FATAL,
    "UNKNOWN_PRODUCER_ID": Fate.FATAL,
    "INVALID_PRODUCER_ID_MAPPING": Fate.FATAL,
    "_GAPLESS_GUARANTEE": Fate.FATAL,
}

FOR_SIZE: Final = frozenset({"MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_MSG_SIZE"})
"""Refusals that a smaller record would not meet."""

_REMEDIES: Final[dict[str, str]] = {
    "UNKNOWN_TOPIC_OR_PART": "create the topic, or correct its name in the configuration",
    "_UNKNOWN_PARTITION": "create the topic again, or wait until its partitions are there",
    "_UNKNOWN_TOPIC": "create the topic, or correct its name in the configuration",
    "TOPIC_AUTHORIZATION_FAILED": "grant the bridge WRITE and DESCRIBE on the topic",
    "CLUSTER_AUTHORIZATION_FAILED": "grant the bridge IDEMPOTENT_WRITE on the cluster",
    "INVALID_TIMESTAMP": "set the clock of this host, or raise message.timestamp.after.max.ms and"
    " message.timestamp.before.max.ms of the topic",
    "INVALID_RECORD": "see what the Kafka cluster demands of the records of this topic",
    "POLICY_VIOLATION": "see the policy of the Kafka cluster for this topic",
}


def fate_of(error: str | None) -> Fate:
    """Look an error up by librdkafka's name of its code; None means delivered.

    Whatever the table does not know is held and tried again: a new error may delay a record, but
    never lose it. The names of configuration errors therefore need no entry.
    """
    if error is None:
        return Fate.DELIVERED
    return _TABLE.get(error, Fate.HELD)


def remedy_for(error: str) -> str:
    """Tell the operator what would end a hold."""
    return _REMEDIES.get(error, "the bridge goes on trying; see the log of the Kafka cluster")
