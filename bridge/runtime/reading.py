"""When to stop reading the MQTT socket, and when to read on."""

from typing import Protocol

from bridge.fleet.duplicates import Duplicates
from bridge.kafka.outbox import Outbox
from bridge.mqtt.session import Session
from bridge.observe.log import EventLog
from bridge.runtime.early import Early


class Reader(Protocol):
    """Where PUBLISHes come from, and PUBACKs go to."""

    def pause_reading(self) -> None:
        """Read nothing more."""

    def resume_reading(self) -> None:
        """Read on."""

    def flush(self) -> None:
        """Write what the session has put into its buffer."""


class Reading:
    """Pause at the bounds, resume well below them.

    Invariant: what the process holds and only the MQTT broker has besides stays near the bounds,
    whatever the broker makes of Receive Maximum; the broker queues the rest.
    """

    def __init__(
        self,
        outbox: Outbox,
        early: Early,
        session: Session,
        duplicates: Duplicates,
        log: EventLog,
    ) -> None:
        self.reader: Reader | None = None
        self._outbox = outbox
        self._unsettled = outbox.unsettled
        self._waiting = early.held
        self._session = session
        self._duplicates = duplicates
        self._log = log
        self._paused_since: tuple[str, float] | None = None
        self._is_stopping = False
        self.is_handover = False
        """While one producer follows another records wait, and not because a queue is full."""

    @property
    def is_paused(self) -> bool:
        """True while a bound is reached."""
        return self._paused_since is not None

    @property
    def used_ratio(self) -> float:
        """Tell how much of the bounds is used, the largest of them; 1.0 stops reading."""
        return max(self._unsettled.used_ratio, self._waiting.used_ratio)

    def _bound_reached(self) -> str | None:
        """Name the bound that asks for a pause; the ledger has the same one as the records."""
        if self._outbox.is_blocked and not self.is_handover:
            return "kafka_queue_full"
        held = (self._unsettled, self._waiting)
        if any(each.is_full_of_bytes for each in held):
            return "unsettled_bytes_max"
        if any(each.is_full for each in held) or self._receipts >= self._unsettled.records_max:
            return "unsettled_max"
        return None

    @property
    def _receipts(self) -> int:
        """Count what is owed on this connection, or waits for a record on its way."""
        return max(len(self._session.ledger), self._duplicates.joined)

    def pause_at_bounds(self, now: float) -> None:
        """Stop reading if a bound is reached."""
        if self._paused_since is not None or self.reader is None:
            return
        cause = self._bound_reached()
        if cause is None:
            return
        self._paused_since = (cause, now)
        self.reader.pause_reading()
        self._log.emit(
            "reading_paused",
            cause=cause,
            unsettled=self._unsettled.records + self._waiting.records,
            unsettled_bytes=self._unsettled.bytes + self._waiting.bytes,
        )

    def resume_below_bounds(self, now: float) -> None:
        """Read on if there is room again."""
        if self._paused_since is None or self.reader is None or self._is_stopping:
            return
        has_room = (
            not self._outbox.is_blocked
            and self._unsettled.has_room
            and self._waiting.has_room
            and self._receipts <= self._unsettled.records_max * 4 // 5
        )
        if not has_room:
            return
        cause, since = self._paused_since
        self._paused_since = None
        self.reader.resume_reading()
        self._log.emit("reading_resumed", cause=cause, paused_s=round(now - since, 3))

    def on_connected(self) -> None:
        """Keep a new connection paused while the bounds are still reached."""
        if self._paused_since is not None and self.reader is not None:
            self.reader.pause_reading()

    def stop(self) -> None:
        """Read nothing more, for good: the first step of a stop."""
        self._is_stopping = True
        if self.reader is not None:
            self.reader.pause_reading()
