"""Times in which messages may have been lost before they reached the bridge: found and told.

Three things are watched. The session: one that should be there and is not had no queue for what
was published meanwhile. The broker's own count of messages that it dropped. And reading itself:
canaries that do not come back. All of it is knowledge, not transport: nothing here can hold a
message.
"""

import errno
from collections.abc import Callable, Iterable
from typing import Final

from bridge.mqtt.broker_drops import DropCount
from bridge.mqtt.events import (
    BrokerDropsReported,
    CanaryMissed,
    CanaryReturned,
    Connected,
    Event,
    SubscribedAll,
    SubscriptionRefused,
)
from bridge.observe.counters import GapCause
from bridge.observe.log import EventLog
from bridge.runtime import clock
from bridge.runtime.gap_records import Gap, GapRecords, rfc3339
from bridge.runtime.session_memory import SAVE_EVERY_S, LostSession, SessionMemory

ALL_CLIENTS: Final = "#"
"""The filter of a gap that may concern any message at this broker."""
SYS_INTERVAL_MAX_S: Final = 60.0
"""Brokers look at their counters at least this often (Mosquitto each 10 s): a drop that is reported
now may have happened so long ago."""

_REFUSED: Final = f"[Errno {errno.ECONNREFUSED}]"


class GapFinder:
    """Compare what the broker says with what is remembered; all times are of the wall clock."""

    def __init__(
        self,
        memory: SessionMemory,
        records: GapRecords,
        log: EventLog,
        *,
        session_expiry_s: int,
        suspended_s: Callable[[], float] = clock.suspended_s,
    ) -> None:
        self._memory = memory
        self._records = records
        self._log = log
        self._session_expiry_s = session_expiry_s
        self._drops = DropCount(memory.now.drops_count)
        self._is_drop_count_current = False
        """A count came on this connection, so the next one tells of the time since."""
        self._is_connected = False
        self._was_broker_down = False
        """Since the last connection the broker's port was closed."""
        self._readable_since: dict[str, float] = {}
        """When each filter was last proven, or first granted."""
        self._suspended_s = suspended_s
        self._seen_suspended_s = suspended_s()
        """How long the host had been suspended at the last look."""
        self._heard_s: float | None = None
        self._heard_suspended_s = self._seen_suspended_s
        """How long, at the most careful, when the broker was last heard of."""
        self._saved_s = clock.monotonic_s()
        records.owe(memory.now.owed_gaps)
        self._owed_saved = len(records)

    @property
    def owed(self) -> int:
        """Count the gap records that Kafka has not confirmed."""
        return len(self._records)

    def note(self, event: Event, granted: Iterable[str]) -> None:
        """Draw the conclusions from a fact of the session; `granted` are the filters by now."""
        match event:
            case Connected():
                self._note_connected(event)
            case SubscribedAll() | SubscriptionRefused():
                self._note_granted(set(granted), is_whole=isinstance(event, SubscribedAll))
            case BrokerDropsReported():
                self._note_drops(event.count)
            case CanaryMissed() if event.is_first:
                self._note_unreadable(event)
            case CanaryReturned():
                self._note_readable(event)
            case _:
                pass

    def note_connect_failed(self, reason: str) -> None:
        """Look whether nobody listens at the broker's port: it is down, so it is restarted."""
        self._was_broker_down = self._was_broker_down or _REFUSED in reason

    def note_ended(self, last_heard_s: float | None) -> None:
        """Note that the connection is gone, and when the broker was last heard of."""
        if self._is_connected:
            self._touch(last_heard_s)
            self._is_connected = False
            self._save()

    def tick(self, last_heard_s: float | None) -> None:
        """Remember how long the connection stands, and serve the records; each second or so."""
        now = clock.monotonic_s()
        self._records.serve(now)
        if self._is_connected:
            self._touch(last_heard_s)
        is_due = self._is_connected and now - self._saved_s >= SAVE_EVERY_S
        if is_due or len(self._records) != self._owed_saved:
            self._save()

    async def close(self, last_heard_s: float | None) -> None:
        """Write down that the connection ends now, on purpose."""
        if self._is_connected:
            self._touch(last_heard_s)
        self._records.serve(clock.monotonic_s())
        self._note_owed()
        await self._memory.close()

    # ------------------------------------------------------------------ memory

    def _touch(self, last_heard_s: float | None) -> None:
        seen_s, self._seen_suspended_s = self._seen_suspended_s, self._suspended_s()
        if last_heard_s is None:
            return
        if last_heard_s != self._heard_s:
            # By the monotonic clock nobody can tell whether it was before or after a suspend that
            # came between two looks: before, so that no gap leaves out the hours of the suspend.
            self._heard_s, self._heard_suspended_s = last_heard_s, seen_s
        slept_s = self._seen_suspended_s - self._heard_suspended_s
        heard_at = clock.unix_s() - (clock.monotonic_s() - last_heard_s) - slept_s
        self._memory.now.last_connected_at = heard_at
        if self._is_drop_count_current:
            self._memory.now.drops_known_at = heard_at

    def _save(self) -> None:
        self._saved_s = clock.monotonic_s()
        self._note_owed()
        self._memory.save()

    def _note_owed(self) -> None:
        self._memory.now.owed_gaps = self._records.owed()
        self._owed_saved = len(self._records)

    # ------------------------------------------------------------------ the session

    def _note_connected(self, event: Connected) -> None:
        memory, now = self._memory.now, clock.unix_s()
        if event.is_session_lost:
            since = now if memory.last_connected_at is None else memory.last_connected_at
            self._note_lost(min(since, now), now)
        self._is_connected = True
        self._seen_suspended_s = self._suspended_s()
        self._is_drop_count_current = False
        self._was_broker_down = False
        granted = {int(f.given) for f in event.findings if f.name == "session_expiry_interval"}
        memory.session_expiry_s = min({self._session_expiry_s, *granted})
        memory.last_connected_at = now
        self._save()

    def _note_lost(self, since: float, now: float) -> None:
        memory = self._memory.now
        was_away_s = now - since
        if was_away_s >= memory.session_expiry_s > 0:
            cause = GapCause.SESSION_EXPIRED
        elif self._was_broker_down:
            cause = GapCause.BROKER_RESTARTED
        else:
            cause = GapCause.SESSION_LOST
        self._log.emit(
            "session_lost",
            client_id=memory.client_id,
            was_away_s=round(was_away_s, 1),
            cause=str(cause),
        )
        if memory.lost is None:
            memory.lost = LostSession(since=since, cause=str(cause), topic_filters=[])
        memory.lost.topic_filters += memory.topic_filters
        memory.topic_filters = []

    def _note_granted(self, granted: set[str], *, is_whole: bool) -> None:
        now = clock.unix_s()
        for topic_filter in granted:
            self._readable_since.setdefault(topic_filter, now)
        memory = self._memory.now
        if memory.lost is not None:
            lost = set(memory.lost.topic_filters)
            for topic_filter in sorted(lost & granted):
                cause = GapCause(memory.lost.cause)
                self._record("session_lost", topic_filter, memory.lost.since, cause)
            memory.lost.topic_filters = sorted(lost - granted)
            if is_whole or not memory.lost.topic_filters:
                memory.lost = None  # What is left of it is wanted no more.
        if granted != set(memory.topic_filters):
            memory.topic_filters = sorted(granted)
        self._save()

    # ------------------------------------------------------------------ the broker's own count

    def _note_drops(self, count: int) -> None:
        news = self._drops.note(count)
        memory, now = self._memory.now, clock.unix_s()
        known_at = now if memory.drops_known_at is None else memory.drops_known_at
        memory.drops_count, memory.drops_known_at = count, now
        self._is_drop_count_current = True
        if news.is_reset:
            self._log.emit("broker_drop_count_reset", count=count)
        if news.dropped:
            since = min(known_at, now) - SYS_INTERVAL_MAX_S
            self._log.emit(
                "broker_dropped_messages",
                dropped=news.dropped,
                since=rfc3339(since),
                total=count,
            )
            self._record(
                "broker_dropped",
                ALL_CLIENTS,
                since,
                GapCause.BROKER_DROPPED,
                dropped=news.dropped,
            )
        self._save()

    # ------------------------------------------------------------------ reading

    def _note_unreadable(self, event: CanaryMissed) -> None:
        since = self._readable_since.setdefault(event.topic_filter, clock.unix_s())
        self._log.emit(
            "reading_forbidden_suspected",
            filter=event.topic_filter,
            waited_s=round(event.waited_s, 1),
            remedy="allow the bridge to read the topics of this filter in the MQTT broker's rules",
        )
        self._record(
            "reading_forbidden",
            event.topic_filter,
            since,
            GapCause.READING_FORBIDDEN,
            is_open=True,
        )

    def _note_readable(self, event: CanaryReturned) -> None:
        now = clock.unix_s()
        since = self._readable_since.get(event.topic_filter, now)
        self._readable_since[event.topic_filter] = now
        if event.is_recovered:
            self._log.emit(
                "reading_recovered",
                filter=event.topic_filter,
                forbidden_s=round(max(0.0, now - since), 1),
            )
            self._record(
                "reading_forbidden",
                event.topic_filter,
                since,
                GapCause.READING_FORBIDDEN,
                is_counted=False,
            )

    def _record(  # noqa: PLR0913  the fields of the record
        self,
        kind: str,
        topic_filter: str,
        since: float,
        cause: GapCause,
        *,
        is_open: bool = False,
        is_counted: bool = True,
        dropped: int | None = None,
    ) -> None:
        gap = Gap(
            type=kind,
            client_id=self._memory.now.client_id,
            filter=topic_filter,
            from_=rfc3339(since),
            to=rfc3339(clock.unix_s()),
            cause=str(cause),
            is_open=is_open,
            dropped=dropped,
        )
        self._records.add(gap, now=clock.monotonic_s(), is_counted=is_counted)
