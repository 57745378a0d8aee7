"""What the next transaction of the spool holds, and when it may be tried."""

from collections import deque
from collections.abc import Mapping
from typing import Final

from bridge.spool.entry import Entry, State, Write
from bridge.spool.topic import Topic

REMOVE_ROWS: Final = 500
REMOVE_S: Final = 0.05
"""Confirmed rows are removed by so many, or so often: one fdatasync for them all."""
RETRY_MIN_S: Final = 0.5
RETRY_MAX_S: Final = 30.0


class Writing:
    """Entries, letters and removals that wait for the disk.

    Invariant: what a failed transaction held stands where it stood before, so nothing of a key is
    ever written behind what came after it.
    """

    def __init__(self, topics: Mapping[str, Topic], *, bytes_max: int) -> None:
        self.error: str | None = None
        """Why the last transaction failed, until one succeeds."""
        self.is_full = False
        """The bound in bytes keeps entries out."""
        self.letters: list[Entry] = []
        """They take the place of refused entries, so no bound keeps them out."""
        self.removals: deque[Entry] = deque()
        self._topics = topics
        self._bytes_max = bytes_max
        self._is_room_due = False
        self._removed_s = 0.0
        self._retry_at = 0.0
        self._retry_s = RETRY_MIN_S

    def gather(self, live_bytes: int, now: float) -> Write | None:
        """Put the next transaction together, unless the last failure is too fresh."""
        if now < self._retry_at:
            return None
        # A failing disk is first asked for what makes room, every other time.
        self._is_room_due = not self._is_room_due
        if self.error is not None and self.removals and self._is_room_due:
            return self._with_removals([], now)
        if self.letters:
            return self._gather_letters()
        entries = self._fitting(self._bytes_max - live_bytes)
        is_time = len(self.removals) >= REMOVE_ROWS or now - self._removed_s >= REMOVE_S
        if not entries and not (self.removals and is_time):
            return None
        return self._with_removals(entries, now)

    def gather_last(self, live_bytes: int) -> Write | None:
        """Put together what is left before the process ends, whatever failed before."""
        if self.letters:
            return self._gather_letters()
        entries = self._fitting(self._bytes_max - live_bytes)
        return self._with_removals(entries, 0.0) if entries or self.removals else None

    def _with_removals(self, entries: list[Entry], now: float) -> Write:
        removed = list(self.removals)
        self.removals.clear()
        self._removed_s = now
        return Write(entries, removed, may_exceed=False)

    def _gather_letters(self) -> Write:
        letters, self.letters = self.letters, []
        for each in letters:
            each.state = State.WRITING
            topic = self._topics[each.kafka_topic]
            topic.letters -= 1
            topic.writing += 1
        replaced = [each.replaces for each in letters if each.replaces is not None]
        return Write(letters, [each for each in replaced if each.sequence], may_exceed=True)

    def _fitting(self, free: int) -> list[Entry]:
        """Take what is pending, in order, as far as the bound in bytes lets it in."""
        entries: list[Entry] = []
        self.is_full = False
        for topic in self._topics.values():
            while topic.pending:
                entry = topic.pending[0]
                if entry.state is State.PENDING:
                    if entry.size_bytes > free:
                        self.is_full = True
                        break
                    free -= entry.size_bytes
                    entry.state = State.WRITING
                    topic.pending_count -= 1
                    topic.writing += 1
                    entries.append(entry)
                topic.pending.popleft()
        return entries

    def succeed(self) -> None:
        """Note that the disk took a transaction."""
        self.error = None
        self._retry_s = RETRY_MIN_S

    def fail(self, error: str, now: float) -> None:
        """Note a failure of the disk: the next try waits, longer each time."""
        self.error = error
        self._retry_at = now + self._retry_s
        self._retry_s = min(2 * self._retry_s, RETRY_MAX_S)

    def put_back(self, write: Write) -> None:
        """Take a failed transaction apart; what ended meanwhile needs no other."""
        for entry in reversed(write.entries):
            topic = self._topics[entry.kafka_topic]
            topic.writing -= 1
            if entry.state is State.GONE:
                continue
            entry.state = State.PENDING
            if write.may_exceed:
                self.letters.insert(0, entry)
                topic.letters += 1
            else:
                topic.pending.appendleft(entry)
                topic.pending_count += 1
        if not write.may_exceed:
            self.removals.extendleft(reversed(write.removed))
