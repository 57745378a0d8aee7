"""What the Kafka side did to records, told to the log and the counters."""

from collections.abc import Sequence

from bridge.kafka.delivery import remedy_for
from bridge.kafka.lane import Settlement
from bridge.kafka.record import DeadLetter, Record
from bridge.observe.counters import Counters
from bridge.observe.examples import Examples
from bridge.observe.log import EventLog
from bridge.spool.entry import Entry


class KafkaNarrator:
    """Turn what a batch of reports came to, and what librdkafka did by itself, into events."""

    def __init__(self, counters: Counters, log: EventLog, examples: Examples | None = None) -> None:
        self._counters = counters
        self._log = log
        self._examples = examples
        self._held_since: dict[str, float] = {}

    def tell(self, settlement: Settlement, now: float) -> None:
        """Tell of topics that are held, limited or recovered, and of what is produced again."""
        log = self._log
        for kafka_topic, error in settlement.held:
            self._held_since.setdefault(kafka_topic, now)
            log.emit(
                "kafka_topic_held",
                kafka_topic=kafka_topic,
                error=error,
                remedy=remedy_for(error),
            )
        for kafka_topic in settlement.recovered:
            since = self._held_since.pop(kafka_topic, now)
            log.emit("kafka_topic_recovered", kafka_topic=kafka_topic, held_s=round(now - since, 1))
        for kafka_topic, error, run_bytes_max in settlement.limited:
            log.emit(
                "kafka_batch_refused",
                kafka_topic=kafka_topic,
                error=error,
                run_bytes_max=run_bytes_max,
            )
        if settlement.again:
            self._counters.records_produced_again += settlement.again
            log.emit("kafka_record_produced_again", count=settlement.again)

    def tell_reordered(self, reordered: int) -> None:
        """Tell how many records came behind newer ones of their device, since the last time."""
        more = reordered - self._counters.records_reordered
        if more:
            self._counters.records_reordered = reordered
            self._log.emit("kafka_record_reordered", count=more)

    def tell_refused(self, record: Record, letter: Record, error: str) -> None:
        """Tell that Kafka will never take a record, and which letter takes its place."""
        told = self._exemplify(letter)
        self._log.emit(
            "kafka_record_refused",
            kafka_topic=record.kafka_topic,
            error=error,
            device_id=told.device_id,
            dlq_id=told.dlq_id,
            value_bytes=len(record.value),
        )

    def tell_unreadable(self, entry: Entry, letter: Record, error: str) -> None:
        """Tell of a row of the spool that cannot be read, and which letter takes its place."""
        told = self._exemplify(letter)
        self._log.emit(
            "spool_row_unreadable",
            kafka_topic=entry.kafka_topic,
            sequence=entry.sequence,
            error=error,
            dlq_id=told.dlq_id,
            row_bytes=len(entry.record),
        )

    def _exemplify(self, letter: Record) -> DeadLetter:
        """Keep a letter among the examples, and give what it says of itself."""
        assert letter.dead_letter is not None, "what takes the place of a record is no letter"
        if self._examples is not None:
            self._examples.note(letter)
        return letter.dead_letter

    def tell_dead_letters(self, records: Sequence[Record]) -> None:
        """Tell of each dead letter under the id that it carries."""
        for record in records:
            letter = record.dead_letter
            if letter is not None:
                if self._examples is not None:
                    self._examples.note(record)
                self._log.emit(
                    "message_dead_lettered",
                    dlq_id=letter.dlq_id,
                    reason=letter.reason,
                    layer=letter.layer,
                    detail=letter.detail,
                    device_id=letter.device_id,
                    mqtt_topic=letter.mqtt_topic,
                    kafka_topic=record.kafka_topic,
                    copy=letter.is_copy,
                )

    def tell_epoch_bumped(self, reason: str, records_max: int) -> None:
        """Tell that librdkafka numbered anew what Kafka may have already."""
        self._counters.records_maybe_doubled += records_max
        self._log.emit("kafka_records_may_be_doubled", reason=reason, records_max=records_max)

    def tell_rebuilt(self, cause: str, error: str, unsettled: int) -> None:
        """Tell that the producer was replaced."""
        self._counters.producer_rebuilds += 1
        self._log.emit(
            "kafka_producer_rebuilt",
            cause=cause,
            error=error,
            remedy=remedy_for(error),
            unsettled=unsettled,
            rebuilds=self._counters.producer_rebuilds,
        )
