"""What may be missing, told to Kafka: a small queue that nothing waits for.

A gap record never stands in the outbox, so a topic that is missing or refused holds no PUBACK, no
reading and no readiness: its records wait here, the oldest go when there are too many, and the log
and the counter have said it all the same.
"""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final, Protocol

import msgspec

from bridge.config.sections import BridgeConfig
from bridge.observe.counters import Counters, GapCause
from bridge.observe.log import EventLog

RECORDS_MAX: Final = 256
"""Gaps are hours apart; even a broker that loses the session each minute fills it in hours."""
RETRY_S: Final = 2.0


class Gap(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A time in which messages may have been lost before they reached the bridge."""

    type: str
    client_id: str
    filter: str
    from_: str = msgspec.field(name="from")
    to: str
    cause: str
    is_open: bool = False
    """The gap has not ended: `to` is when this was written, and another record follows."""
    dropped: int | None = None
    """Where the broker counts them: messages dropped, of all its clients."""


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


class _Owed(msgspec.Struct, eq=False):
    """One record on its way; the producer that it was handed to tells what became of it."""

    value: bytes
    generation: int | None = None
    """Of the producer that has it; None while none has."""


class GapRecords:
    """Produce gap records beside the traffic, at least once each, in memory only."""

    def __init__(
        self, producer: Producer, config: BridgeConfig, counters: Counters, log: EventLog
    ) -> None:
        self._producer = producer
        self._kafka_topic = config.gaps.kafka_topic
        self._key = config.mqtt.client_id.encode()
        self._counters = counters
        self._log = log
        self._owed: deque[_Owed] = deque()
        self._reports: list[tuple[_Owed, str | None]] = []
        self._retry_at = 0.0
        self._is_hold_told = False

    def __len__(self) -> int:
        """Count the records that Kafka has not confirmed."""
        return len(self._owed)

    def add(self, gap: Gap, *, now: float, is_counted: bool = True) -> None:
        """Take a gap; it is counted and sent, or kept for another try."""
        if is_counted:
            self._counters.gaps[GapCause(gap.cause)] += 1
            self._counters.broker_dropped += gap.dropped or 0
        if len(self._owed) >= RECORDS_MAX:
            self._owed.popleft()
            self._counters.gap_records_dropped += 1
        self._owed.append(_Owed(msgspec.json.encode(gap)))
        self.serve(now)

    def serve(self, now: float) -> None:
        """Take the reports that came, and send what is to be sent; call it each second or so."""
        self._take_reports(now)
        if now < self._retry_at:
            return
        for owed in self._owed:
            if owed.generation == self._producer.generation:
                continue
            owed.generation = self._producer.generation
            if not self._producer.send_aside(
                self._kafka_topic,
                self._key,
                owed.value,
                partial(self._note_report, owed),
            ):
                owed.generation = None
                self._retry_at = now + RETRY_S
                return

    def _note_report(self, owed: _Owed, error: str | None) -> None:
        """Keep a report for later: inside librdkafka's callback nothing may be done."""
        self._reports.append((owed, error))

    def _take_reports(self, now: float) -> None:
        reports, self._reports = self._reports, []
        for owed, error in reports:
            if error is None:
                self._is_hold_told = False
                if owed in self._owed:
                    self._owed.remove(owed)
                continue
            owed.generation = None
            self._retry_at = now + RETRY_S
            if not self._is_hold_told:
                self._is_hold_told = True
                self._log.emit(
                    "gap_record_held",
                    kafka_topic=self._kafka_topic,
                    error=error,
                    held=len(self._owed),
                )


def rfc3339(unix_s: float) -> str:
    """Write a wall clock time as records have it: UTC, microseconds, `Z`."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
