"""The door to Kafka: shipments out, delivery reports in, by batch, on the event loop's thread."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from bridge.kafka.outbox import Shipment

_LOGGER: Final = logging.getLogger("librdkafka")

Report = tuple[Shipment, str | None]
Properties = Mapping[str, str | int | float | bool]


class KafkaProducer:
    """One idempotent producer, replaced whole after a fatal error.

    Reports are collected by `poll` and returned, never acted upon inside librdkafka's callback,
    where produce, poll and flush are forbidden. Each producer collects into a list of its own: what
    an old one still reports after `rebuild` is read by nobody.
    """

    def __init__(self, properties: Properties, *, on_error: Callable[[str, str], None]) -> None:
        self._properties = dict(properties)
        self._on_error = on_error
        self._reports: list[Report] = []
        self._producer = self._build()

    def _build(self) -> Producer:
        return Producer({**self._properties, "error_cb": self._report_error}, logger=_LOGGER)

    def _report_error(self, error: KafkaError) -> None:
        self._on_error(error.name(), error.str())

    def rebuild(self) -> None:
        """Replace the producer; what the old one had queued is dropped from its queues."""
        old, self._producer = self._producer, self._build()
        self._reports = []
        old.purge(blocking=False)

    def send(self, shipments: Sequence[Shipment]) -> Sequence[Shipment]:
        """Hand shipments to librdkafka in order; return those its full queue did not take.

        An error that `produce` raises at once is reported by the next `poll` like any other.
        """
        produce = self._producer.produce
        on_delivery = self._on_delivery
        reports = self._reports
        for position, shipment in enumerate(shipments):
            record = shipment.record
            try:
                produce(
                    record.kafka_topic,
                    value=record.value,
                    key=record.key,
                    on_delivery=partial(on_delivery, reports, shipment),
                    timestamp=record.received.unix_us // 1_000,
                    headers=record.headers,  # type: ignore[arg-type]  # list is invariant
                )
            except BufferError:
                return shipments[position:]
            except KafkaException as error:
                reports.append((shipment, error.args[0].name()))
        return ()

    @staticmethod
    def _on_delivery(
        reports: list[Report], shipment: Shipment, error: KafkaError | None, _: Message
    ) -> None:
        reports.append((shipment, None if error is None else error.name()))

    def poll(self) -> list[Report]:
        """Serve librdkafka's events without waiting; return the delivery reports among them."""
        try:
            self._producer.poll(0)
        except KafkaException as error:
            # A fatal error may be raised here; the records it concerns are reported one by one.
            self._on_error(error.args[0].name(), error.args[0].str())
        if not self._reports:
            return []
        # Emptied in place: callbacks of this producer are bound to this very list.
        reports = self._reports.copy()
        self._reports.clear()
        return reports

    def ask_topic(self, kafka_topic: str, *, timeout_s: float) -> tuple[bool, str | None]:
        """Ask the cluster for a topic; blocking, so for a thread.

        Return whether the cluster answered, and the name of the error: of the topic if it did, of
        the connection if it did not.
        """
        try:
            answer = self._producer.list_topics(kafka_topic, timeout=timeout_s)
        except KafkaException as failure:
            return False, str(failure.args[0].name())
        error = answer.topics[kafka_topic].error
        return True, None if error is None else str(error.name())

    def close(self) -> None:
        """Drop what is still queued: it is unacknowledged, and the MQTT broker has it."""
        self._producer.purge(blocking=False)
        self._producer.poll(0)
