"""The door to Kafka: shipments out, delivery reports in, by batch, on the event loop's thread."""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from bridge.config import secrets
from bridge.config.sections import BridgeConfig, Secret
from bridge.errors import ConfigError
from bridge.kafka.delivery import Fate, fate_of
from bridge.kafka.properties import Properties, producer_properties
from bridge.kafka.shipment import Shipment
from bridge.observe.kafka_facts import KafkaFacts, kafka_facts
from bridge.runtime.kafka_handle import Handle

PARTITION_UA: Final = -1
"""The partitioner chooses (librdkafka's RD_KAFKA_PARTITION_UA)."""
_LOOK_S: Final = 0.05
"""How often a stop drops again what went back into the queue."""
_VOID_MAX: Final = 4
"""Producers that may still report though they were replaced; older ones were polled long ago."""

Report = tuple[Shipment, str | None]
Callback = Callable[[KafkaError | None, Message], None]


class TopicAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the cluster said of a topic."""

    is_answer: bool
    """False where the cluster did not answer."""
    error: str | None
    """Of the topic where the cluster answered, of the connection where it did not."""
    partitions: int = 0


class KafkaProducer:
    """One idempotent producer, replaced whole after a fatal error.

    Reports are collected by `poll` and returned, never acted upon inside librdkafka's callback,
    where produce, poll and flush are forbidden. Each producer collects into a list of its own: what
    an old one still reports after `rebuild` is read by nobody.
    """

    def __init__(self, properties: Properties, *, on_error: Callable[[str, str], None]) -> None:
        """Build the producer; nothing is sent yet.

        Raises:
            ConfigError: librdkafka does not accept the properties, or cannot read a file.
        """
        self._properties = dict(properties)
        self._on_error = on_error
        self.note_place: Callable[[Shipment, int, int], None] | None = None
        """Told partition and offset of each record confirmed, while somebody asks for them."""
        self.on_epoch_bumped: Callable[[str, int], None] | None = None
        """Told why librdkafka numbers its records anew, and how many may come twice at most; from
        inside `poll`, so it may only take note."""
        self.generation = 0
        """Grows with each rebuild; what was sent aside to an older one may never be reported."""
        self._reports: list[Report] = []
        self._void_reports: deque[list[Report]] = deque(maxlen=_VOID_MAX)
        """Of producers that were replaced: emptied, since nobody reads what is told so late."""
        self._fatal_error = ""
        """What the current producer died of; the records it had only tell that they were purged."""
        self._statistics = ""
        """The last that librdkafka said of itself; read only when somebody asks."""
        self._handle = self._build()
        self._under_way = 0
        """Shipments that were handed over and not yet reported."""
        self._aside_under_way = 0
        """The same of what was sent aside."""
        self._successor: Handle | None = None
        """Takes over as soon as the producer has delivered what it has."""
        self._is_all_awaited = False
        self.records_sent = 0
        """All that librdkafka took so far, of whichever producer."""

    def _build(self) -> Handle:
        return self.prepare(self._properties)

    # ------------------------------------------------------------------ a successor

    def prepare(self, properties: Properties) -> Handle:
        """Build another producer; blocking, for a thread.

        Raises:
            ConfigError: librdkafka does not accept the properties, or cannot read a file.
        """
        return Handle(
            properties, self._report_error, self._keep_statistics, self._note_epoch_bumped
        )

    def hand_over(self, successor: Handle, *, is_all_awaited: bool = False) -> None:
        """Give the old producer nothing more; `poll` swaps the two when it has delivered all.

        Not where it died: what it had is in doubt, and only `rebuild` goes on from there. Until
        then `send` and `send_aside` behave as with a full queue. Where not `is_all_awaited`, what
        was sent aside is not waited for: it is sent again.
        """
        self._successor = successor
        self._is_all_awaited = is_all_awaited
        self._swap_if_done()

    def keep(self) -> None:
        """Go on with the old producer after all."""
        if self._successor is not None:
            self._successor.let_go()
            self._successor = None

    @property
    def properties(self) -> Properties:
        """What the producer was built with, its linger among it."""
        return self._properties

    @property
    def is_handing_over(self) -> bool:
        """True while a successor waits for the old producer."""
        return self._successor is not None

    def _swap_if_done(self) -> None:
        if self._successor is None or self._under_way or self._fatal_error:
            return
        if len(self._handle.producer):
            if self._is_all_awaited:
                return
            self.generation += 1  # What is aside waits for no receipt: it is sent again.
        self._take_over(self._successor)

    def _note_death(self, reports: Sequence[Report]) -> None:
        for _, error in reports:
            if not self._fatal_error and fate_of(error) is Fate.FATAL:
                self._fatal_error = str(error)

    def _take_over(self, successor: Handle) -> None:
        self._successor = None
        self._aside_under_way = 0
        self._properties = dict(successor.properties)
        old, self._handle = self._handle, successor
        old.let_go()

    def _report_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal_error = error.name()
        self._on_error(error.name(), error.str())

    def _note_epoch_bumped(self, reason: str) -> None:
        """Hear that what librdkafka has is numbered anew: what of it Kafka has comes twice."""
        under_way = self._under_way + self._aside_under_way
        if self.on_epoch_bumped is not None and under_way:
            self.on_epoch_bumped(reason, under_way)

    def _keep_statistics(self, statistics: str) -> None:
        self._statistics = statistics

    def facts(self) -> KafkaFacts:
        """Read what librdkafka last said of itself."""
        return kafka_facts(self._statistics) if self._statistics else KafkaFacts()

    def rebuild(self) -> str:
        """Replace the producer, dropping its queues; return what the old one died of, if known."""
        if self._successor is not None:
            self._take_over(self._successor)
        else:
            self._replace()
        self.generation += 1
        self._under_way = self._aside_under_way = 0
        self._void_reports.append(self._reports)
        self._reports = []
        died_of, self._fatal_error = self._fatal_error, ""
        return died_of

    def _replace(self) -> None:
        try:
            successor = self._build()
        except ConfigError as error:
            # A file of it cannot be read just now. What the old one has is void all the same; where
            # it cannot go on, it fails into the next rebuild.
            self._handle.producer.purge(blocking=False)
            self._on_error("_INVALID_ARG", str(error))
            return
        old, self._handle = self._handle, successor
        old.let_go()

    def send(self, shipments: Sequence[Shipment]) -> Sequence[Shipment]:
        """Hand shipments to librdkafka in order; return those its full queue did not take.

        An error that `produce` raises at once is reported by the next `poll` like any other.
        """
        if self._successor is not None:
            return shipments
        produce = self._handle.producer.produce
        is_place_asked = self.note_place is not None
        reports = self._reports
        for position, shipment in enumerate(shipments):
            record = shipment.record
            if shipment.reports is None:
                shipment.reports = reports
            callback: Callback = shipment
            if is_place_asked or shipment.reports is not reports:
                callback = self._callback_of(shipment)
            try:
                # By position: 1.06 us a record, by keyword 1.68.
                produce(
                    record.kafka_topic,
                    record.value,
                    record.key,
                    PARTITION_UA,
                    callback,
                    None,
                    record.received.unix_us // 1_000,
                    record.headers,  # type: ignore[arg-type]  # list is invariant
                )
            except BufferError:
                self._under_way += position
                self.records_sent += position
                return shipments[position:]
            except KafkaException as error:
                reason = error.args[0]
                shipment.is_refused_locally = reason.code() == KafkaError.MSG_SIZE_TOO_LARGE
                reports.append((shipment, reason.name()))
        self._under_way += len(shipments)
        self.records_sent += len(shipments)
        return ()

    def _callback_of(self, shipment: Shipment) -> Callback:
        """Give what takes the report of a shipment that cannot do so itself.

        One that an older producer had reports to that one for ever, so that a late report of it is
        no report of this producer.
        """
        take = _note if self.note_place is None else self._on_placed_delivery
        return partial(take, self._reports, shipment)

    def _on_placed_delivery(
        self, reports: list[Report], shipment: Shipment, error: KafkaError | None, told: Message
    ) -> None:
        """Take a report whose place is asked for; no other report pays for it."""
        if error is None and self.note_place is not None:
            self.note_place(shipment, told.partition() or 0, told.offset() or 0)
        _note(reports, shipment, error, told)

    def send_aside(
        self,
        kafka_topic: str,
        key: bytes,
        value: bytes,
        on_report: Callable[[str | None], None],
    ) -> bool:
        """Hand over a JSON record that no receipt hangs on; False where the queue is full.

        `on_report` is told the error's name, or None, from inside `poll`: it may only take note.
        """
        if self._successor is not None:
            return False
        handle, generation = self._handle, self.generation

        def report(error: KafkaError | None, _: Message) -> None:
            if generation == self.generation:
                self._aside_under_way -= 1
            if handle is self._handle:
                on_report(None if error is None else error.name())

        try:
            self._handle.producer.produce(
                kafka_topic,
                value,
                key,
                on_delivery=report,
                headers=[("content-type", b"application/json")],
            )
        except BufferError:
            return False
        except KafkaException as error:
            on_report(error.args[0].name())
        else:
            self._aside_under_way += 1
        return True

    def poll(self) -> list[Report]:
        """Serve librdkafka's events without waiting; return the delivery reports among them."""
        try:
            self._handle.producer.poll(0)
        except KafkaException as error:
            # A fatal error may be raised here; the records it concerns are reported one by one.
            self._on_error(error.args[0].name(), error.args[0].str())
        for void in self._void_reports:
            void.clear()
        if not self._under_way and not self._aside_under_way:
            self._handle.listener.is_in_doubt = False
        if not self._reports:
            self._swap_if_done()
            return []
        # Emptied in place: callbacks of this producer are bound to this very list.
        reports = self._reports.copy()
        self._reports.clear()
        self._under_way -= len(reports)
        if self._successor is not None:
            self._note_death(reports)
        return reports  # A successor has to wait until they are judged: one more call.

    def _current(self) -> Producer:
        """Return the producer for another thread, in which it may be replaced at any moment."""
        while True:
            with contextlib.suppress(IndexError):
                return self._handle.producer

    def ask_topic(self, kafka_topic: str, *, timeout_s: float) -> "TopicAnswer":
        """Ask the cluster for a topic; blocking, so for a thread."""
        try:
            answer = self._current().list_topics(kafka_topic, timeout=timeout_s)
        except KafkaException as failure:
            return TopicAnswer(is_answer=False, error=str(failure.args[0].name()))
        topic = answer.topics[kafka_topic]
        error = None if topic.error is None else str(topic.error.name())
        return TopicAnswer(is_answer=True, error=error, partitions=len(topic.partitions))

    def flush(self, *, timeout_s: float) -> None:
        """Wait until all is reported, or the time is over; blocking, so for a thread."""
        self._current().flush(timeout_s)

    def await_answers(self, *, timeout_s: float) -> int:
        """Send nothing more, and wait for what is on the wire; blocking, so for a thread.

        What a broker still has in its socket when the process ends lands later, behind what the
        next process sends. Return how many records may do so: their answer did not come in time.
        What librdkafka says meanwhile waits for `tell_kept`.
        """
        self._handle.keep_what_is_told()
        producer, ends_s = self._current(), time.monotonic() + timeout_s
        while True:
            # Again and again: a request that failed goes back into the queue.
            producer.purge(in_queue=True, in_flight=False, blocking=False)
            left_s = ends_s - time.monotonic()
            producer.poll(max(0.0, min(_LOOK_S, left_s)))
            if not len(producer) or left_s <= 0:
                return len(producer)

    def tell_kept(self) -> None:
        """Tell, on the event loop's thread, what was said while another awaited answers."""
        self._handle.tell_kept()

    def close(self) -> None:
        """Drop what is still queued: it is unacknowledged, and the MQTT broker has it."""
        self._handle.producer.purge(blocking=False)
        self._handle.producer.poll(0)
        for reports in (self._reports, *self._void_reports):
            reports.clear()  # A shipment and its report refer to each other.


def _note(reports: list[Report], shipment: Shipment, error: KafkaError | None, _: Message) -> None:
    reports.append((shipment, None if error is None else error.name()))


def kafka_properties(config: BridgeConfig, environment: Mapping[str, str]) -> Properties:
    """Build librdkafka's configuration, its secrets read from where the configuration says.

    Raises:
        ConfigError: A secret cannot be read.
    """
    section = config.kafka
    password = section.password
    return producer_properties(
        section,
        client_id=config.mqtt.client_id,
        password=None if password is None else secrets.read(password, environment),
        secrets={
            name: secrets.read(value, environment)
            for name, value in section.properties.items()
            if isinstance(value, Secret)
        },
        records_max=config.mqtt.unsettled_max,
    )


def try_properties(properties: Properties) -> None:
    """Let librdkafka judge its configuration, connecting nowhere.

    Raises:
        ConfigError: It refuses, with its reason.
    """
    nowhere = {**properties, "bootstrap.servers": "", "log_level": 0}
    KafkaProducer(nowhere, on_error=lambda *_: None).close()
