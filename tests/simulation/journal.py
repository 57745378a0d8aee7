"""The journal of the dedup window: keys and checkpoints that survive, and those that did not."""

import random
from collections.abc import Sequence

import msgspec

from bridge.runtime.kafka_tail import Chunk, Ends
from tests.simulation.clock import SimClock

Written = tuple[Sequence[bytes], int, Ends | None]


class JournalContent(msgspec.Struct, frozen=True):
    """What a start finds."""

    chunks: list[Chunk]
    ends: Ends | None


class JournalFiles:
    """What is on disk of it, over all processes."""

    def __init__(self, clock: SimClock, chance: random.Random) -> None:
        self.clock = clock
        self.chance = chance
        self.written: list[Written] = []

    def append(self, keys: Sequence[bytes], ends: Ends | None) -> None:
        self.written.append((keys, self.clock.instant().unix_us // 1_000, ends))

    def load(self) -> JournalContent:
        chunks = [Chunk(unix_ms, b"".join(keys)) for keys, unix_ms, _ in self.written if keys]
        checkpoints = [ends for _, _, ends in self.written if ends is not None]
        return JournalContent(chunks, checkpoints[-1] if checkpoints else None)


class SimJournal:
    """What Traffic and Checkpoints take for the journal of one process."""

    def __init__(self, files: JournalFiles) -> None:
        self._files = files
        self._noted: list[bytes] = []
        self._due_ends: Ends | None = None
        self._under_way: tuple[Sequence[bytes], Ends | None] | None = None
        self._is_begun = False
        self._is_over = False

    def load(self) -> JournalContent:
        return self._files.load()

    def begin(self, chunks: Sequence[Chunk], ends: Ends) -> None:
        """Go on from what the start found in Kafka."""
        self._is_begun = True
        keys = [key for chunk in chunks for key in chunk.split()]
        self._write(keys, ends)

    def note(self, keys: Sequence[bytes]) -> None:
        self._noted += [each for each in keys if each]

    def checkpoint(self, ends: Ends) -> None:
        self._due_ends = ends
        self.flush()

    def flush(self) -> None:
        if self._under_way is not None or not self._is_begun or not (self._noted or self._due_ends):
            return
        keys, self._noted = self._noted, []
        ends, self._due_ends = self._due_ends, None
        self._write(keys, ends)

    def _write(self, keys: Sequence[bytes], ends: Ends | None) -> None:
        files = self._files
        self._under_way = (keys, ends)

        def done() -> None:
            if self._is_over:
                return
            files.append(keys, ends)
            self._under_way = None
            if self._due_ends is not None:
                self.flush()

        files.clock.call_later(files.chance.random() * files.chance.choice((0.01, 2.0)), done)

    def close(self) -> None:
        """End in peace: what was noted is written first."""
        if self._is_begun and self._under_way is not None:
            self._files.append(*self._under_way)
        if self._is_begun and (self._noted or self._due_ends):
            self._files.append(self._noted, self._due_ends)
        self._is_over = True

    def crash(self) -> None:
        """Lose what is not written; what the next process finds is whole up to there."""
        self._is_over = True
