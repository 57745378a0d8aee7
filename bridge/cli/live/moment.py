"""What `top` shows at one moment, as values: the screen and the JSON lines both read it.

Theory of operation. A bridge counts since its start; what is shown are rates, so an observer keeps
a few looks back. Counters that fell are those of another process: what was kept goes. While nobody
answers, nothing but since when is shown, because the last numbers would pass for today's.
"""

import math
from collections import deque
from typing import Literal, TypeAlias

import msgspec

from bridge.cli.live.answers import Answer, Answered, Buckets, Device, Refused, Status
from bridge.observe.text import printable

SPAN_S = 10.0
"""Rates and latencies are of about so long: enough messages for a p99, and still of now."""
LOOKS_MAX = 64
TEXT_MAX = 160
ENTRIES_MAX = 64
"""A bridge has 18 reasons and 5 parts; more is not shown."""

State: TypeAlias = Literal["answers", "refuses", "away"]


class Latency(msgspec.Struct, frozen=True):
    """From PUBLISH read to delivery report or spool commit; None where nothing was settled."""

    p50_s: float | None = None
    p99_s: float | None = None


class Part(msgspec.Struct, frozen=True):
    """One part of readiness."""

    name: str
    is_ok: bool
    state: str
    detail: str


class Letters(msgspec.Struct, frozen=True):
    """The dead letters of one reason; the rate is None at the first look."""

    reason: str
    count: int
    per_s: float | None


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a bridge; without an answer there is no status."""

    at: str
    url: str
    state: State
    since: str
    """Since when it is in this state, as far as this `top` saw."""
    for_s: float
    reason: str = ""
    status: Status | None = None
    latency: Latency = Latency()
    parts: tuple[Part, ...] = ()
    dead_letters: tuple[Letters, ...] = ()
    sort: str
    devices: tuple[Device, ...] = ()


class _Look(msgspec.Struct, frozen=True):
    at_s: float
    uptime_s: float
    latency: Buckets
    dead_letters: dict[str, int]


class Observer:
    """Turns answers into moments."""

    def __init__(self, url: str, *, sort: str) -> None:
        self._url = printable(url, TEXT_MAX)
        self._sort = sort
        self._looks: deque[_Look] = deque(maxlen=LOOKS_MAX)
        self._state: State | None = None
        self._since = ""
        self._since_s = 0.0

    def look(self, answer: Answer, *, now_s: float, now: str) -> Moment:
        """Take the answer of this moment; `now` is the same as it is written."""
        state: State = "away"
        if isinstance(answer, Answered):
            state = "answers"
        elif isinstance(answer, Refused):
            state = "refuses"
        if state != self._state:
            self._state, self._since, self._since_s = state, now, now_s
        moment = Moment(
            at=now,
            url=self._url,
            state=state,
            since=self._since,
            for_s=round(now_s - self._since_s, 3),
            sort=self._sort,
        )
        if not isinstance(answer, Answered):
            self._looks.clear()
            return msgspec.structs.replace(moment, reason=printable(answer.text, TEXT_MAX * 2))
        return self._tell(moment, answer, now_s)

    def _tell(self, moment: Moment, answer: Answered, now_s: float) -> Moment:
        status = _harmless(answer.status)
        look = _Look(now_s, status.uptime_s, answer.latency, status.dead_letters)
        if self._looks and _is_other_process(self._looks[-1], look):
            self._looks.clear()
        self._looks.append(look)
        while len(self._looks) > 2 and now_s - self._looks[1].at_s >= SPAN_S:  # noqa: PLR2004
            self._looks.popleft()
        first = self._looks[0]
        return msgspec.structs.replace(
            moment,
            status=status,
            latency=_latency(first, look),
            parts=tuple(
                Part(name, check.ok, check.state, check.detail)
                for name, check in status.checks.items()
            ),
            dead_letters=_letters(first, look),
            devices=tuple(
                msgspec.structs.replace(each, device_id=printable(each.device_id, TEXT_MAX))
                for each in answer.devices
            ),
        )


def _harmless(status: Status) -> Status:
    """Escape every text in it, whoever wrote it."""
    return msgspec.structs.replace(
        status,
        version=printable(status.version, TEXT_MAX),
        checks={
            printable(name, TEXT_MAX): msgspec.structs.replace(
                check,
                state=printable(check.state, TEXT_MAX),
                detail=printable(check.detail, TEXT_MAX * 2),
            )
            for name, check in list(status.checks.items())[:ENTRIES_MAX]
        },
        spool=msgspec.structs.replace(
            status.spool,
            state=printable(status.spool.state, TEXT_MAX),
            error=printable(status.spool.error, TEXT_MAX),
        ),
        outage_budget=msgspec.structs.replace(
            status.outage_budget, state=printable(status.outage_budget.state, TEXT_MAX)
        ),
        dead_letters=_names(status.dead_letters),
        fleet=msgspec.structs.replace(
            status.fleet,
            silence=printable(status.fleet.silence, TEXT_MAX),
            devices=_names(status.fleet.devices),
        ),
    )


def _names(counts: dict[str, int]) -> dict[str, int]:
    return {printable(name, TEXT_MAX): count for name, count in list(counts.items())[:ENTRIES_MAX]}


def _is_other_process(before: _Look, look: _Look) -> bool:
    """Tell whether the bridge began anew in between: what it counts since its start fell."""
    return look.uptime_s < before.uptime_s or _count(look.latency) < _count(before.latency)


def _count(buckets: Buckets) -> float:
    return buckets[-1][1] if buckets else 0.0


def _letters(first: _Look, look: _Look) -> tuple[Letters, ...]:
    """Count by reason, the most frequent first; a reason that never was is left out."""
    span_s = look.at_s - first.at_s
    letters = [
        Letters(
            reason,
            count,
            None
            if span_s <= 0
            else round(max(0, count - first.dead_letters.get(reason, 0)) / span_s, 3),
        )
        for reason, count in look.dead_letters.items()
        if count
    ]
    return tuple(sorted(letters, key=lambda each: (-(each.per_s or 0.0), -each.count, each.reason)))


def _latency(first: _Look, look: _Look) -> Latency:
    """Take the latencies between two looks; of one look alone, those since the start."""
    buckets = look.latency
    if first is not look and len(first.latency) == len(buckets):
        pairs = zip(buckets, first.latency, strict=True)
        buckets = tuple((bound, count - before) for (bound, count), (_, before) in pairs)
    return Latency(quantile(buckets, 0.50), quantile(buckets, 0.99))


def quantile(buckets: Buckets, share: float) -> float | None:
    """Estimate a quantile as Prometheus does: evenly spread within its bucket."""
    total = _count(buckets)
    if total <= 0:
        return None
    wanted, below, count_below = share * total, 0.0, 0.0
    for bound, count in buckets:
        if count >= wanted:
            if math.isinf(bound):
                return below
            width = (wanted - count_below) / max(count - count_below, 1e-9)
            return round(below + (bound - below) * width, 6)
        below, count_below = bound, count
    return below
