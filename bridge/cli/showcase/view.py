"""What the demo shows at one moment, as values: the screen and the plain lines both read it."""

from collections import deque

import msgspec

from bridge.cli.showcase.accounting import Accounting, Letter, RecentRecord, quantile
from bridge.cli.showcase.bridge_process import Check, Condition

RATE_SPAN_S = 3.0
"""Rates are means over this span: calm to look at, and still quick to change."""
HISTORY_MAX = 24
RECORDS_EVERY_S = 1.0
"""The records stand still so long, or nobody could read them."""
COUNTERS_SHOWN = (
    ("bridge_messages_received_total", "received"),
    ("bridge_messages_settled_total", "settled"),
    ("bridge_messages_in_flight", "in flight"),
    ("bridge_conservation_residue", "residue"),
)


class LetterLine(msgspec.Struct, frozen=True, kw_only=True):
    """The dead letters of one reason."""

    reason: str
    count: int
    device_id: str
    detail: str


class View(msgspec.Struct, frozen=True, kw_only=True):
    """One moment of the demo."""

    place: str
    note: str
    elapsed_s: float
    sent_total: int
    telemetry_total: int
    dead_letters_total: int
    owed: int
    sent_per_s: float
    telemetry_per_s: float
    dead_letters_per_s: float
    latency_p50_s: float | None
    latency_p99_s: float | None
    latency_history_s: tuple[float, ...]
    recent: tuple[RecentRecord, ...]
    letters: tuple[LetterLine, ...]
    is_ready: bool
    checks: tuple[Check, ...]
    counters: tuple[tuple[str, float], ...]
    wrong: str
    """What is wrong in the books, else empty."""


class Observer:
    """Turns the books into views; remembers just enough of the past for rates and the sparkline."""

    def __init__(self, books: Accounting, *, place: str, started_at: float) -> None:
        self._books = books
        self._place = place
        self._started_at = started_at
        self._samples: deque[tuple[float, int, int, int]] = deque()
        self._history_s: deque[float] = deque(maxlen=HISTORY_MAX)
        self._recent: tuple[RecentRecord, ...] = ()
        self._second_at = started_at

    def look(self, condition: Condition, *, now: float, note: str) -> View:
        """Take the view of this moment."""
        books = self._books
        sample = (now, books.sent_total, books.telemetry, books.dead_letters_total)
        self._samples.append(sample)
        while now - self._samples[0][0] > RATE_SPAN_S:
            self._samples.popleft()
        first = self._samples[0]
        span_s = max(now - first[0], 0.001)
        latencies_s = list(books.latencies_s)
        p50_s = quantile(latencies_s, 0.50)
        if now - self._second_at >= RECORDS_EVERY_S:
            self._second_at = now
            self._recent = tuple(books.recent)
            if p50_s is not None:
                self._history_s.append(p50_s)
        return View(
            place=self._place,
            note=note,
            elapsed_s=now - self._started_at,
            sent_total=books.sent_total,
            telemetry_total=books.telemetry,
            dead_letters_total=books.dead_letters_total,
            owed=books.owed,
            sent_per_s=(sample[1] - first[1]) / span_s,
            telemetry_per_s=(sample[2] - first[2]) / span_s,
            dead_letters_per_s=(sample[3] - first[3]) / span_s,
            latency_p50_s=p50_s,
            latency_p99_s=quantile(latencies_s, 0.99),
            latency_history_s=tuple(self._history_s),
            recent=self._recent or tuple(books.recent),
            letters=tuple(_line(*item) for item in sorted(books.dead_letters.items())),
            is_ready=condition.is_ready,
            checks=condition.checks,
            counters=tuple(
                (label, condition.counters[name])
                for name, label in COUNTERS_SHOWN
                if name in condition.counters
            ),
            wrong=_wrong(books),
        )


def _line(reason: str, letter: Letter) -> LetterLine:
    return LetterLine(
        reason=reason, count=letter.count, device_id=letter.device_id, detail=letter.detail
    )


def _wrong(books: Accounting) -> str:
    parts = [
        f"{count:,} {what}"
        for count, what in (
            (books.unexpected, "unexpected"),
            (books.duplicates, "duplicates"),
            (books.out_of_order, "out of order"),
        )
        if count
    ]
    if books.unexpected_texts:
        parts.append(books.unexpected_texts[-1])
    return ", ".join(parts)
