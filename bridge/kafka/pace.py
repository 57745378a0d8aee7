"""How long librdkafka waits for more records before it sends: not at all, and in a backlog 5 ms.

Theory of operation. librdkafka makes a Produce request for each partition, so without a linger a
backlog goes out in thousands of requests a second with a few records each. A linger fills them,
which saves CPU here and twice as much at the brokers; but it makes each record older by as much,
so it is for backlogs, where a record has waited for longer already.

    CALM --- a second at `FAST_PER_S`, in a wide window ---> BACKLOG
    BACKLOG --- `SLOW_FOR_S` below `SLOW_PER_S`, or in a narrow window ---> CALM

The MQTT broker sends no more than its window until PUBACKs come, so the rate is at most that window
divided by the time a PUBACK takes. A linger makes this time longer, and a window that the records
of a few lingers would fill may not be wide enough for it. How wide the window is nobody tells: what
is known is how many PUBLISHes were unacknowledged at once. Where that says little, with QoS 0 and
with batches of many records in one PUBLISH, nothing lingers, which only costs CPU.
"""

from typing import Final

CALM_LINGER_MS: Final = 0
BACKLOG_LINGER_MS: Final = 5

FAST_PER_S: Final = 20_000.0
SLOW_PER_S: Final = 5_000.0
"""Far enough from the other that no rate leads to and fro."""
SLOW_FOR_S: Final = 30.0
_WIDE_LINGERS: Final = 4
"""The window must hold the records of so many lingers before one is used,"""
_NARROW_LINGERS: Final = 2
"""and of so many for it to stay."""
_S_PER_MS: Final = 1e-3


class Pace:
    """Tell from the records handed to librdkafka how long it should wait; ask each second."""

    def __init__(self) -> None:
        self._is_backlog = False
        self._records = 0
        self._at_s: float | None = None
        self._slow_since_s: float | None = None
        self.records_per_s = 0.0
        """What the last `note` saw."""

    def note(self, records: int, *, window: int, now_s: float) -> None:
        """See how fast records went since the last call.

        `records` are all that were handed over so far, `window` the most PUBLISHes that were
        unacknowledged at once on this connection, `now_s` is the monotonic clock.
        """
        since_s, self._at_s = self._at_s, now_s
        before, self._records = self._records, records
        if since_s is None or now_s <= since_s:
            return
        self.records_per_s = rate = (records - before) / (now_s - since_s)
        a_linger = rate * BACKLOG_LINGER_MS * _S_PER_MS
        if not self._is_backlog:
            self._is_backlog = self.is_fast and window >= _WIDE_LINGERS * a_linger
            self._slow_since_s = None
        elif rate >= SLOW_PER_S and window >= _NARROW_LINGERS * a_linger:
            self._slow_since_s = None
        else:
            if self._slow_since_s is None:
                self._slow_since_s = since_s
            self._is_backlog = now_s - self._slow_since_s < SLOW_FOR_S

    @property
    def is_fast(self) -> bool:
        """Tell whether it was the pace of a backlog at the last `note`, or the backlog is gone."""
        return self.records_per_s >= FAST_PER_S

    @property
    def linger_ms(self) -> int:
        """The linger that suits, milliseconds."""
        return BACKLOG_LINGER_MS if self._is_backlog else CALM_LINGER_MS
