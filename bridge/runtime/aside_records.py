"""Records beside the traffic: a bounded queue that nothing waits for.

What stands here never stands in the outbox, so a topic that is missing or refused holds no PUBACK,
no reading and no readiness: its records wait here, the oldest go when there are too many, and the
log and the counters have said it all the same.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Final, NamedTuple, Protocol

from bridge.observe.log import EventLog

RETRY_S: Final = 2.0
IN_FLIGHT_MAX: Final = 500
"""What librdkafka may hold of one queue, where a partition without a leader confirms nothing. Its
own queue has 1,000 places more than the traffic needs (bridge.kafka.properties), for the two of
them: without a bound what waits here for ever would take the places of the traffic. It is also
what one `serve` hands over at most, at some 2 us each."""


class Producer(Protocol):
    """The part of the producer that is used here."""

    @property
    def generation(self) -> int:
        """Grows with each rebuild."""

    def send_aside(
        self,
        kafka_topic: str,
        key: bytes,
        value: bytes,
        on_report: Callable[[str | None], None],
    ) -> bool:
        """Hand over a record; False where the queue is full."""


class Aside(NamedTuple):
    """One record."""

    key: bytes
    value: bytes


class AsideRecords:
    """Produce records to one Kafka topic, at least once each, in memory only.

    Invariant: no more than `records_max` are owed, of more the oldest go; and no more than
    `IN_FLIGHT_MAX` are with the producer.
    """

    def __init__(
        self,
        producer: Producer,
        kafka_topic: str,
        *,
        records_max: int,
        held_event: str,
        log: EventLog,
    ) -> None:
        """`held_event` is told with the error and how many wait: once, until a record is taken."""
        self._producer = producer
        self._kafka_topic = kafka_topic
        self._records_max = records_max
        self._held_event = held_event
        self._log = log
        self._owed: OrderedDict[int, Aside] = OrderedDict()
        """By number, in the order in which they came; a plain dict looks for its first entry among
        all that were removed, 19 us each in a long queue (measured)."""
        self._unsent: dict[int, None] = {}
        """Those that no producer has."""
        self._in_flight: set[int] = set()
        """Those that the producer has and did not report; some may be owed no longer."""
        self._number = 0
        self._generation = producer.generation
        self._reports: list[tuple[int, str | None]] = []
        self._retry_at = 0.0
        self._is_hold_told = False

    def __len__(self) -> int:
        """Count the records that Kafka has not confirmed."""
        return len(self._owed)

    def add(self, record: Aside) -> int:
        """Take a record; return how many went because there are too many. `serve` sends it."""
        dropped = 0
        while len(self._owed) >= self._records_max:
            oldest, _ = self._owed.popitem(last=False)
            self._unsent.pop(oldest, None)
            dropped += 1
        self._number += 1
        self._owed[self._number] = record
        self._unsent[self._number] = None
        return dropped

    def owed(self) -> Iterable[Aside]:
        """Give the records that Kafka has not confirmed, oldest first."""
        # Reports that `serve` has not taken yet count: what is kept over a stop is sent again.
        confirmed = {number for number, error in self._reports if error is None}
        return [record for number, record in self._owed.items() if number not in confirmed]

    def serve(self, now: float) -> None:
        """Take the reports that came, and send what is to be sent; call it each second or so."""
        self._take_reports(now)
        if self._generation != self._producer.generation:
            self._generation = self._producer.generation
            self._unsent = dict.fromkeys(self._owed)  # What the old one had, it takes along.
            self._in_flight.clear()
        if now < self._retry_at:
            return
        for number in list(islice(self._unsent, IN_FLIGHT_MAX - len(self._in_flight))):
            record = self._owed[number]
            del self._unsent[number]
            if not self._producer.send_aside(
                self._kafka_topic, record.key, record.value, partial(self._note_report, number)
            ):
                self._retry(number, now)
                return
            self._in_flight.add(number)

    def _note_report(self, number: int, error: str | None) -> None:
        """Keep a report for later: inside librdkafka's callback nothing may be done."""
        self._reports.append((number, error))

    def _retry(self, number: int, now: float) -> None:
        self._unsent[number] = None
        self._retry_at = now + RETRY_S

    def _take_reports(self, now: float) -> None:
        reports, self._reports = self._reports, []
        failed: dict[int, None] = {}
        for number, error in reports:
            self._in_flight.discard(number)
            if error is None:
                self._is_hold_told = False
                self._owed.pop(number, None)
                self._unsent.pop(number, None)
                continue
            if number in self._owed:
                failed[number] = None
            if not self._is_hold_told:
                self._is_hold_told = True
                self._log.emit(
                    self._held_event,
                    kafka_topic=self._kafka_topic,
                    error=error,
                    held=len(self._owed),
                )
        for number in failed:
            self._retry(number, now)
        if failed:
            self._unsent = dict.fromkeys(sorted(self._unsent))  # The oldest first, as they came.
