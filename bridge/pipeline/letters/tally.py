"""What a replay came to, by number."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from bridge.pipeline.letters.rejudging import Judged
from bridge.pipeline.letters.selection import LeftOut


class Tally(msgspec.Struct):
    """Counts letters by what became of them; all its keys come from closed sets and the routes."""

    read: int = 0
    replayed: int = 0
    """Letters that are telemetry now, in part at least."""
    failed: int = 0
    """Letters that are dead letters again, and nothing else."""
    records: Counter[str] = msgspec.field(default_factory=Counter)
    """Telemetry records by Kafka topic."""
    flagged: int = 0
    """Of those, how many carry warnings."""
    letters: Counter[str] = msgspec.field(default_factory=Counter)
    """Dead letters written, by reason."""
    details: dict[str, str] = {}
    """The first detail of each of those reasons."""
    copies: int = 0
    """Dead letters that are copies of what was replayed and is flagged still."""
    left_out: Counter[LeftOut] = msgspec.field(default_factory=Counter)

    @property
    def judged(self) -> int:
        """Count the letters of which something came."""
        return self.replayed + self.failed

    def add(self, judged: Iterable[Judged]) -> None:
        """Count what Kafka has, or would have."""
        for each in judged:
            self.read += 1
            if each.left_out is not None:
                self.left_out[each.left_out] += 1
                continue
            if each.is_replayed:
                self.replayed += 1
            else:
                self.failed += 1
            for record in each.records:
                letter = record.dead_letter
                if letter is None:
                    self.records[record.kafka_topic] += 1
                    self.flagged += record.is_flagged
                elif letter.is_copy:
                    self.copies += 1
                else:
                    self.letters[letter.reason] += 1
                    self.details.setdefault(letter.reason, letter.detail)
