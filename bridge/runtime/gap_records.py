"""What may be missing, told to Kafka: a small queue that nothing waits for."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec

from bridge.config.sections import BridgeConfig
from bridge.observe.counters import Counters, GapCause
from bridge.observe.log import EventLog
from bridge.runtime.aside_records import Aside, AsideRecords, Producer

RECORDS_MAX: Final = 256
"""Gaps are hours apart; even a broker that loses the session each minute fills it in hours."""


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


_ENCODER: Final = msgspec.json.Encoder()
_DECODER: Final = msgspec.json.Decoder(Gap)


class GapRecords:
    """Produce gap records beside the traffic, at least once each.

    What is `owed` is for the caller to keep over a stop, and to give back with `owe`.
    """

    def __init__(
        self, producer: Producer, config: BridgeConfig, counters: Counters, log: EventLog
    ) -> None:
        self._counters = counters
        self._records = AsideRecords(
            producer,
            config.gaps.kafka_topic,
            records_max=RECORDS_MAX,
            held_event="gap_record_held",
            log=log,
        )

    def __len__(self) -> int:
        """Count the records that Kafka has not confirmed."""
        return len(self._records)

    def add(self, gap: Gap, *, now: float, is_counted: bool = True) -> None:
        """Take a gap; it is counted and sent, or kept for another try."""
        if is_counted:
            self._counters.gaps[GapCause(gap.cause)] += 1
            self._counters.broker_dropped += gap.dropped or 0
        self._owe(gap)
        self.serve(now)

    def owe(self, gaps: Iterable[Gap]) -> None:
        """Take gaps that an earlier process counted, and may not have sent; `serve` sends them."""
        for gap in gaps:
            self._owe(gap)

    def owed(self) -> list[Gap]:
        """Give the gaps whose record Kafka has not confirmed, oldest first."""
        return [_DECODER.decode(each.value) for each in self._records.owed()]

    def _owe(self, gap: Gap) -> None:
        record = Aside(gap.client_id.encode(), _ENCODER.encode(gap))
        self._counters.gap_records_dropped += self._records.add(record)

    def serve(self, now: float) -> None:
        """Take the reports that came, and send what is to be sent; call it each second or so."""
        self._records.serve(now)


def rfc3339(unix_s: float) -> str:
    """Write a wall clock time as records have it: UTC, microseconds, `Z`."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds")[:-6] + "Z"
