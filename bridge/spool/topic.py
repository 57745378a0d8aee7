"""What the outage machine knows of one Kafka topic that has something in the spool."""

from array import array
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec

from bridge.spool.entry import BUCKETS, Entry, State


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What the drain of one topic may hold in memory."""

    window_rows: int = 2_000
    """Under way at most: 20 ms of it at 100,000 rows a second."""
    window_bytes: int = 8_388_608
    in_hand_max: int = 40_000
    """Rows that librdkafka holds too; beyond it nothing more is handed out, and all follow."""
    in_hand_bytes_max: int = 100_663_296
    removals_max: int = 20_000
    """Rows in Kafka whose removal the disk refuses; beyond it nothing more is read."""


PASS_MIN_S: Final = 1.0
"""A pass that skipped rows is begun again no sooner: it reads all of them."""
STUCK_QUIET_S: Final = 0.5
"""What was stuck comes back in bursts: a pass begun between them would skip what they free."""
PROBE_ROWS: Final = 2_000
"""How far a probe looks for a row that nothing stuck stands before."""
PROBE_READ_S: Final = 0.25


class Topic(msgspec.Struct, eq=False):
    """Who must follow, what is in hand, how far the drain has read.

    Invariant: of one key, rows are handed out in their order. The cursor only grows within a pass;
    a key one of whose rows was skipped is skipped until the next pass, which begins at the start.
    """

    name: str
    counts: "array[int]"
    """Per bucket, what is in the spool or on its way and not yet in Kafka."""
    skipped: bytearray
    bounds: Bounds
    rows: int = 0
    """On disk, those in Kafka and not yet removed included."""
    pending: deque[Entry] = msgspec.field(default_factory=deque[Entry])
    pending_count: int = 0
    writing: int = 0
    known: dict[int, Entry] = {}
    """Rows that the drain must not hand out: in hand, or in Kafka and not yet removed."""
    flight: dict[Entry, None] = {}
    """In hand and not stuck, oldest first."""
    stuck: dict[int, int] = {}
    """Per group, what is in hand for longer than `after_s`."""
    closed: set[int] = set()
    """Groups of which nobody knows yet what Kafka has: nothing of them leaves the spool."""
    stuck_count: int = 0
    flight_bytes: int = 0
    stuck_bytes: int = 0
    unwritten_count: int = 0
    """Of what is stuck, that which the disk does not have yet."""
    unwritten_bytes: int = 0
    stuck_changed_s: float = -1e9
    is_silent: bool = False
    is_proven: bool = False
    """Kafka confirmed something since the topic was last silent: more than a probe may go."""
    cursor: int = 0
    is_at_end: bool = True
    is_again_wanted: bool = False
    """Something that was skipped is free: begin a new pass."""
    has_skipped: bool = False
    pass_began_s: float = -1e9
    probe_read_s: float = -1e9
    probed_s: float = -1e9
    may_forward: bool = False
    """Something changed since the last look at what is pending."""

    letters: int = 0
    """Pending replacements: they are written first, and nothing is handed back before them."""

    @property
    def count(self) -> int:
        """Count what is in the spool or on its way."""
        return self.rows + self.on_its_way

    @property
    def is_crowded(self) -> bool:
        """True when so much is stuck that nothing more may be put in hand."""
        bounds = self.bounds
        return (
            self.stuck_count >= bounds.in_hand_max or self.stuck_bytes >= bounds.in_hand_bytes_max
        )

    @property
    def is_idle(self) -> bool:
        """True when nothing of the topic is in the spool or on its way."""
        return not (
            self.rows
            or self.pending_count
            or self.writing
            or self.letters
            or self.flight
            or self.closed
        )

    def silence(self) -> None:
        """Note that nothing is confirmed any more: the next that is has to prove the topic anew."""
        self.is_silent = True
        self.is_proven = False

    # ------------------------------------------------------------------ in hand

    def take_in_hand(self, entry: Entry, now: float, *, is_stuck: bool) -> None:
        """Note that the caller has it too."""
        entry.is_in_hand = True
        entry.since_s = now
        entry.hand_bytes = entry.size_bytes
        if is_stuck:
            self._note_stuck(entry)
        else:
            self.flight[entry] = None
            self.flight_bytes += entry.hand_bytes

    def let_go(self, entry: Entry, now: float) -> None:
        """Note that the caller has it no longer."""
        entry.is_in_hand = False
        if not entry.is_stuck:
            del self.flight[entry]
            self.flight_bytes -= entry.hand_bytes
            return
        if not entry.sequence:
            self._forget_unwritten(entry)
        entry.is_stuck = False
        self.stuck_count -= 1
        self.stuck_bytes -= entry.hand_bytes
        self.stuck_changed_s = now
        left = self.stuck[entry.group] - 1
        self.stuck[entry.group] = left
        if not left:
            del self.stuck[entry.group]
            self.is_again_wanted |= self.has_skipped
            self.may_forward = True

    def age(self, before_s: float) -> bool:
        """Count what is in hand for so long as stuck; tell whether there was any."""
        is_any = False
        while self.flight:
            entry = next(iter(self.flight))
            if entry.since_s > before_s:
                break
            is_any = True
            del self.flight[entry]
            self.flight_bytes -= entry.hand_bytes
            self._note_stuck(entry)
        return is_any

    def _note_stuck(self, entry: Entry) -> None:
        entry.is_stuck = True
        self.stuck[entry.group] = self.stuck.get(entry.group, 0) + 1
        self.stuck_count += 1
        self.stuck_bytes += entry.hand_bytes
        if not entry.sequence:
            self.unwritten_count += 1
            self.unwritten_bytes += entry.hand_bytes

    def note_row_in_hand(self, entry: Entry) -> None:
        """Note that the disk has what the caller has too: the drain must not hand it out."""
        self.known[entry.sequence] = entry
        if entry.is_stuck:
            self._forget_unwritten(entry)

    def _forget_unwritten(self, entry: Entry) -> None:
        self.unwritten_count -= 1
        self.unwritten_bytes -= entry.hand_bytes

    # ------------------------------------------------------------------ the drain

    @property
    def resting(self) -> int:
        """Count the rows that nobody has in hand."""
        return self.rows - len(self.known)

    @property
    def able_to_leave(self) -> int:
        """Count them where nothing is in their way but what goes before them."""
        return 0 if self.is_silent or self.stuck or self.closed else self.resting

    @property
    def on_its_way(self) -> int:
        """Count what is to become a row."""
        return self.pending_count + self.writing + self.letters

    def settle_pass(self) -> None:
        """Forget where the pass stood once no row rests: nothing is left that it could skip."""
        if not self.resting:
            self.is_at_end = True
            if self.is_again_wanted:
                self._forget_skipped()

    def room(self, now: float, after_s: float) -> tuple[int, int]:
        """Tell how many rows may be read now, and how many of them handed out; 0 for none."""
        bounds = self.bounds
        is_held_up = len(self.known) >= bounds.in_hand_max + bounds.removals_max
        if not self.resting or is_held_up or self.is_crowded:
            return 0, 0
        if self.is_at_end and not (self.is_again_wanted and self._begin_pass(now)):
            return 0, 0
        if self.is_silent or not self.is_proven:
            return self._room_to_probe(now, after_s)
        is_returning = self.stuck_count and now - self.stuck_changed_s < STUCK_QUIET_S
        free = bounds.window_rows - len(self.flight)
        is_enough = free >= bounds.window_rows // 4 and self.flight_bytes < bounds.window_bytes
        return (free, free) if is_enough and not is_returning else (0, 0)

    def _room_to_probe(self, now: float, after_s: float) -> tuple[int, int]:
        is_time = not (self.stuck_count or self.flight) or now - self.probed_s >= after_s
        if not is_time or now - self.probe_read_s < PROBE_READ_S:
            return 0, 0
        self.probe_read_s = now
        return PROBE_ROWS, 1

    def _begin_pass(self, now: float) -> bool:
        if now - self.pass_began_s < PASS_MIN_S:
            return False
        self.pass_began_s = now
        self.is_at_end = False
        self.cursor = 0
        self._forget_skipped()
        return True

    def _forget_skipped(self) -> None:
        self.is_again_wanted = False
        self.may_forward = True
        if self.has_skipped:
            self.skipped = bytearray(BUCKETS)
            self.has_skipped = False

    def is_barred(self, bucket: int, group: int) -> bool:
        """Tell whether something of the key must come first; it then bars what follows."""
        if self.skipped[bucket]:
            return True
        if group not in self.stuck and group not in self.closed:
            return False
        self.skipped[bucket] = 1
        self.has_skipped = True
        return True

    def take_forward(self, *, is_refused: bool) -> list[Entry]:
        """Take what is pending and has nothing of its key before it in the spool.

        Never a part of a key: what is left could be written while what was taken is under way, and
        a crash would find the younger on disk and the older with the MQTT broker. So a silent topic
        gives one key to probe with, where nothing else can tell that it came back.
        """
        is_probe = self.is_silent
        if is_probe and (not is_refused or self.stuck_count or self.flight or self.resting):
            return []
        is_behind = not self.is_at_end or self.writing or self.letters
        if not self.may_forward or is_behind or not self.pending_count:
            return []
        self.may_forward = False
        only = self._smallest_pending() if is_probe else None
        taken: list[Entry] = []
        left: deque[Entry] = deque()
        for entry in self.pending:
            if entry.state is not State.PENDING:
                continue
            is_left = is_probe and entry.bucket != only
            if entry.is_in_hand or is_left or self.is_barred(entry.bucket, entry.group):
                left.append(entry)
            else:
                taken.append(entry)
        self.pending = left
        self.pending_count -= len(taken)
        for entry in taken:
            entry.state = State.DIRECT
            self.counts[entry.bucket] -= 1
        return taken

    def _smallest_pending(self) -> int | None:
        """Find the bucket with the fewest entries that could be taken, the oldest of several."""
        counts = Counter(
            each.bucket
            for each in self.pending
            if each.state is State.PENDING
            and not each.is_in_hand
            and each.group not in self.closed
            and not self.skipped[each.bucket]
        )
        return min(counts, key=counts.__getitem__, default=None)

    def withdraw(self) -> None:
        """Forget one that was pending: it has gone another way."""
        self.pending_count -= 1
        if len(self.pending) > 2 * self.pending_count + 1_000:
            self.pending = deque(each for each in self.pending if each.state is State.PENDING)


def new_topic(name: str, bounds: Bounds) -> Topic:
    """Begin with nothing in the spool."""
    return Topic(name, array("I", bytes(4 * BUCKETS)), bytearray(BUCKETS), bounds)


class Stuck(msgspec.Struct, frozen=True):
    """What is unconfirmed for longer than `after_s`."""

    rows: int
    unwritten: int
    """On its way to the disk still, or kept out of it."""
    unwritten_bytes: int


def stuck_in(topics: Collection[Topic]) -> Stuck:
    """Count what is stuck, and what of it is safe: neither is a load for Kafka."""
    unwritten = sum(each.unwritten_count for each in topics)
    return Stuck(
        sum(each.stuck_count for each in topics) - unwritten,
        unwritten,
        sum(each.unwritten_bytes for each in topics),
    )


def in_turn(topics: Iterable[Topic], importance_of: Callable[[str], int] | None) -> Iterable[Topic]:
    """Order topics by whose rows leave first: the more important, else as they are."""
    if importance_of is None:
        return topics
    return sorted(topics, key=lambda each: -importance_of(each.name))
