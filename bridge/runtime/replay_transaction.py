"""One Kafka transaction of a replay: the records, and how far the group has come, or neither."""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from bridge.errors import UnavailableError
from bridge.kafka.delivery import Fate, fate_of
from bridge.kafka.partitions import Place
from bridge.kafka.properties import Value
from bridge.kafka.record import Record
from bridge.pipeline.letters.selection import GROUP_PREFIX
from bridge.runtime.fault_points import reach

TRANSACTION_MS: Final = 30_000
"""A killed replay holds up readers of committed records for so long at most."""
_ANSWER_S: Final = 35.0
_COMMIT_TRIES: Final = 3
_SILENT: Final = logging.getLogger("librdkafka.replay")
"""Not even of a fatal error does a line of librdkafka's belong on the screen: it is raised."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False
_REMEDIES: Final = {
    "_FENCED": "another replay of the same filter was started and took over",
    "PRODUCER_FENCED": "another replay of the same filter was started and took over",
    "INVALID_PRODUCER_EPOCH": "another replay of the same filter was started and took over",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED": (
        f"grant WRITE and DESCRIBE on the transactional ids with the prefix {GROUP_PREFIX}"
    ),
    "GROUP_AUTHORIZATION_FAILED": f"grant READ on the groups with the prefix {GROUP_PREFIX}",
    "TOPIC_AUTHORIZATION_FAILED": "grant WRITE and DESCRIBE on the topics of the routes",
    "UNKNOWN_TOPIC_OR_PART": "create the topics of the routes, or correct their names",
}
Offsets = Mapping[Place, tuple[int, str]]
"""For each partition the next offset to read, and what is to stand beside it."""


class RecordsRefusedError(Exception):
    """Kafka will never take one of the records, or their batch; nothing was written."""

    def __init__(self, error: str, position: int) -> None:
        super().__init__(error)
        self.error = error
        self.position = position
        """Of the record that was sent last."""


class ReplayTransactions:
    """A transactional producer: whoever has the same id and comes later ends this one.

    Invariant: after `write` the records and the offsets are in Kafka; when it raises, neither is,
    but for a commit whose answer was lost: then the committed offsets say what was done.
    """

    def __init__(self, properties: Mapping[str, Value], transactional_id: str) -> None:
        self._settings: dict[str, Any] = {
            **properties,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_MS,
            # Librdkafka refuses one that is longer than the transaction.
            "socket.timeout.ms": min(
                int(properties.get("socket.timeout.ms", TRANSACTION_MS)), TRANSACTION_MS
            ),
            "message.timeout.ms": TRANSACTION_MS,
            "linger.ms": 5,
            "log_level": 0,
            "error_cb": lambda _: None,
        }
        self._producer = Producer(self._settings, logger=_SILENT)
        self._errors: list[str] = []
        self._sent = 0

    def open(self) -> None:
        """End what a killed replay with the same id left open, and keep it from going on.

        Raises:
            UnavailableError: Kafka does not answer, or refuses.
        """
        try:
            self._producer.init_transactions(_ANSWER_S)
        except KafkaException as error:
            raise _unavailable(error, "no transaction could be begun") from error

    def write(
        self,
        records: Sequence[Record],
        offsets: Offsets,
        consumer: Consumer,
        *,
        is_one_by_one: bool = False,
    ) -> None:
        """Write all of it, or nothing; one by one, a refused record is the last that was sent.

        Raises:
            RecordsRefusedError: Kafka will never take one of the records.
            UnavailableError: Kafka does not answer, or refuses for another reason.
        """
        # A list of its own: what an aborted transaction had queued is reported during the next.
        self._errors, self._sent = list[str](), 0
        try:
            self._producer.begin_transaction()
            for record in records:
                self._produce(record)
                if is_one_by_one:
                    self._flush()
            self._flush()
            spots = [
                TopicPartition(topic, partition, offset, metadata)
                for (topic, partition), (offset, metadata) in offsets.items()
            ]
            group = consumer.consumer_group_metadata()
            self._producer.send_offsets_to_transaction(spots, group, _ANSWER_S)
            reach("replay_written")
            self._commit()
            reach("replay_committed")
        except RecordsRefusedError:
            self._begin_anew()
            raise
        except KafkaException as error:
            self._abort()
            # Once a record is refused, whatever follows fails for the state of the transaction,
            # maybe before its report was served.
            with contextlib.suppress(KafkaException):
                _serve(lambda: self._producer.poll(0))
            if refused := self._first_refused():
                self._begin_anew()
                raise RecordsRefusedError(refused, max(0, self._sent - 1)) from error
            raise _unavailable(error, "the transaction failed") from error

    def abort(self) -> None:
        """Give up what is under way, if anything is."""
        self._abort()

    def _produce(self, record: Record) -> None:
        while True:
            try:
                self._producer.produce(
                    record.kafka_topic,
                    record.value,
                    record.key,
                    on_delivery=partial(self._note, self._errors),
                    timestamp=record.received.unix_us // 1_000,
                    headers=record.headers,  # type: ignore[arg-type]  # list is invariant
                )
            except BufferError:
                _serve(lambda: self._producer.poll(0.1))
                continue
            except KafkaException as error:
                name = error.args[0].name()
                if fate_of(name) is Fate.REFUSED:
                    raise RecordsRefusedError(name, self._sent) from error
                raise
            self._sent += 1
            _serve(lambda: self._producer.poll(0))
            return

    @staticmethod
    def _note(errors: list[str], error: KafkaError | None, _: Message) -> None:
        if error is not None:
            errors.append(error.name())

    def _flush(self) -> None:
        left = _serve(lambda: self._producer.flush(_ANSWER_S))
        if refused := self._first_refused():
            raise RecordsRefusedError(refused, self._sent - 1)
        if left or self._errors:
            name = self._errors[0] if self._errors else "_TIMED_OUT"
            raise KafkaException(KafkaError(getattr(KafkaError, name, KafkaError._FAIL)))  # noqa: SLF001

    def _first_refused(self) -> str | None:
        return next((each for each in self._errors if fate_of(each) is Fate.REFUSED), None)

    def _commit(self) -> None:
        for tries_left in reversed(range(_COMMIT_TRIES)):
            try:
                self._producer.commit_transaction(_ANSWER_S)
            except KafkaException as error:
                if not tries_left or not error.args[0].retriable():
                    raise
            else:
                return

    def _begin_anew(self) -> None:
        """Leave a refused batch behind, whose sequence numbers librdkafka goes on counting from.

        The next transaction of the same producer fails with OUT_OF_ORDER_SEQUENCE_NUMBER (2.16.0).
        """
        self._abort()
        self._producer = Producer(self._settings, logger=_SILENT)
        self.open()

    def _abort(self) -> None:
        try:
            self._producer.abort_transaction(_ANSWER_S)
        except KafkaException:
            return  # Its time-out ends it, or the next replay of the same filter does.


def _serve(call: Callable[[], int]) -> int:
    """Serve librdkafka's events; a fatal error among them is raised as what it is.

    The client sets it as an exception and goes on to call back, which then fails for it.
    """
    try:
        return call()
    except SystemError as error:
        if isinstance(error.__cause__, KafkaException):
            raise error.__cause__ from None
        raise


def _unavailable(error: KafkaException, what: str) -> UnavailableError:
    reason = error.args[0]
    remedy = _REMEDIES.get(reason.name(), "see whether kafka.bootstrap_servers is right and up")
    return UnavailableError(
        f"{what}: {reason.name()}: {reason.str()}; {remedy}; what was committed stays, and the same"
        " command goes on from there"
    )
