"""How far a replay has come, and up to where it goes: what it commits, and what it finds again.

Theory of operation. A replay has fixed ends. They stand, as metadata, beside every offset that its
group commits, for all partitions from its first transaction on. A committed offset below its end is
a replay that was stopped: it goes on to the ends that it had. So letters that it has written itself
before, because they failed again, are beyond its ends and are not taken a second time. Where every
offset is at its end the replay is over, and the next one takes what came since.
"""

from collections.abc import Mapping

import msgspec

from bridge.kafka.partitions import Place


class Mark(msgspec.Struct, frozen=True):
    """What stands beside a committed offset."""

    until: int
    """The first offset of the partition that the replay does not take."""
    began_us: int
    """When the replay began; Unix microseconds."""
    before: int = 0
    """Where the replay began in the partition."""


class Committed(msgspec.Struct, frozen=True):
    """What a group has committed for one partition."""

    offset: int
    metadata: str


class Span(msgspec.Struct, frozen=True):
    """The part of a partition that is to be read."""

    begin: int
    start: int
    """Where reading goes on: `begin`, unless the replay was stopped."""
    end: int


class Plan(msgspec.Struct, frozen=True):
    """What one replay is to read."""

    spans: dict[Place, Span]
    began_us: int
    is_resumed: bool

    @property
    def starts(self) -> dict[Place, int]:
        """Give where each partition is read from."""
        return {place: span.start for place, span in self.spans.items()}

    @property
    def ends(self) -> dict[Place, int]:
        """Give where each partition is read to."""
        return {place: span.end for place, span in self.spans.items()}

    @property
    def total(self) -> int:
        """Count the offsets of the whole replay."""
        return sum(span.end - span.begin for span in self.spans.values())

    @property
    def done(self) -> int:
        """Count the offsets that were read before it was stopped."""
        return sum(span.start - span.begin for span in self.spans.values())

    def metadata(self, place: Place) -> str:
        """Write the mark of a partition."""
        span = self.spans[place]
        return msgspec.json.encode(Mark(span.end, self.began_us, span.begin)).decode()


def plan_replay(
    committed: Mapping[Place, Committed],
    lows: Mapping[Place, int],
    ends: Mapping[Place, int],
    *,
    now_us: int,
) -> Plan:
    """Go on with a replay that was stopped, or begin one after the last."""
    marks = {
        place: mark
        for place, each in committed.items()
        if place in ends and (mark := _read_mark(each.metadata)) is not None
    }
    # An end beyond that of the partition is of a topic that was made anew.
    stopped = [
        mark
        for place, mark in marks.items()
        if committed[place].offset < min(mark.until, ends[place])
    ]
    if stopped:
        spans = {
            place: _span(mark.before, committed[place].offset, lows[place], mark.until, ends[place])
            for place, mark in marks.items()
        }
        return Plan(spans, min(each.began_us for each in stopped), is_resumed=True)
    spans = {}
    for place, end in ends.items():
        begin = lows[place]
        if place in committed and committed[place].offset <= end:
            begin = max(begin, committed[place].offset)
        spans[place] = Span(begin, begin, end)
    return Plan(spans, now_us, is_resumed=False)


def _span(begin: int, offset: int, low: int, until: int, end: int) -> Span:
    last = min(until, end)
    start = min(max(offset, low), last)
    return Span(min(begin, start), start, last)


def _read_mark(metadata: str) -> Mark | None:
    try:
        return msgspec.json.decode(metadata, type=Mark)
    except (msgspec.MsgspecError, RecursionError):
        return None
