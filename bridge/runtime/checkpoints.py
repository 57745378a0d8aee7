"""When it is known that all of ours below some ends of the partitions is confirmed.

Theory of operation. The partitions are asked for their ends; when the answer is there, the number
of the record that was handed out last is noted, the mark. A record with a higher number was handed
out after the answer, so it lies at an end or behind it. One with a lower number may lie below; once
nothing up to the mark is under way, each of them was confirmed, so its key is in the journal, or is
no record of ours any more. Then the ends are a checkpoint: whatever is unsettled now or comes later
is found by reading from there.

    IDLE --- ten seconds, and something was confirmed ---> ASKED --- answered ---> SETTLING
    SETTLING --- nothing up to the mark is under way: a checkpoint ---> IDLE
    ASKED, SETTLING --- the producer was replaced ---> IDLE

What an old producer had under way when it was replaced may lie in Kafka, unconfirmed. It is looked
for from the last checkpoint on: its number was above the mark of that one, or that one would not
have been taken. Ends that were asked for since then would not do, and a checkpoint that was not yet
taken when the producer was replaced is dropped: so every checkpoint rests on the reports of one
producer alone. What is left after the reading, found or not, is unsettled under the new producer,
and holds the next checkpoint back until it is confirmed. A request of the old one that lands even
later, after the ends stood still, is the residue that docs/guarantees.md names.

Two processes are the same case: the first ends are those to which the start has read, and until
they are there nothing is asked.
"""

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from bridge.runtime.kafka_tail import Ends

CHECKPOINT_EVERY_S: Final = 10.0
"""What a start reads of Kafka at most, after a kill -9; and 5 ms of CPU each."""


class Settling(Protocol):
    """Who hands records out and takes their delivery reports."""

    @property
    def last_confirmed_s(self) -> float | None:
        """When Kafka last confirmed anything."""

    def mark(self) -> int:
        """Tell the number of the record that was handed out last."""

    def has_settled(self, mark: int) -> bool:
        """Tell whether nothing up to a mark is under way."""


class Keeper(Protocol):
    """Where confirmed keys and checkpoints are written."""

    def flush(self) -> None:
        """Write the keys that were noted."""

    def checkpoint(self, ends: Ends) -> None:
        """Write the keys that were noted, then a checkpoint."""


class Answer(msgspec.Struct, frozen=True):
    """Ends that become a checkpoint once all up to the mark is settled."""

    ends: Ends
    mark: int


class Checkpoints:
    """Takes a checkpoint each ten seconds; `turn` it each second.

    Invariant: whatever of ours is unconfirmed lies at `last_ends` or behind, if it lies in Kafka.
    This holds with or without a journal.
    """

    def __init__(
        self,
        traffic: Settling,
        journal: Keeper,
        *,
        ask_ends: Callable[[], "asyncio.Future[Ends | None]"],
        generation: Callable[[], int],
    ) -> None:
        self.last_ends: Ends | None = None
        """From where to read before anything is produced a second time; None: not known yet."""
        self._traffic = traffic
        self._journal = journal
        self._ask_ends = ask_ends
        self._generation = generation
        self._is_begun = False
        self.is_held = False
        """True while some partitions are not read yet: a checkpoint would pass them by."""
        self._asked: asyncio.Future[Ends | None] | None = None
        self._asked_s = float("-inf")
        self._asked_generation = 0
        self._answer: Answer | None = None
        self._confirmed_s: float | None = None
        """When Kafka had last confirmed anything as the ends were asked for."""
        self._covered_s: float | None = None
        """The same of the last checkpoint."""

    def begin(self, ends: Ends | None) -> None:
        """Go on from the ends to which the start has read; None: it has not read."""
        self._is_begun = True
        self.last_ends = ends

    def turn(self, now_s: float) -> None:
        """Do what is due: flush the journal, ask, take note of an answer, take a checkpoint."""
        if not self._is_begun:
            return
        self._journal.flush()
        if self.is_held:
            return
        if self._asked_generation != self._generation():
            self._drop()
        elif self._answer is not None:
            self._take_if_settled(self._answer)
        elif self._asked is not None:
            self._note_answer(self._asked)
        if self._asked is None and self._answer is None and self._is_due(now_s):
            self._ask(now_s)

    def _is_due(self, now_s: float) -> bool:
        if now_s - self._asked_s < CHECKPOINT_EVERY_S:
            return False
        return self.last_ends is None or self._traffic.last_confirmed_s != self._covered_s

    def _ask(self, now_s: float) -> None:
        self._asked_s = now_s
        self._asked_generation = self._generation()
        self._confirmed_s = self._traffic.last_confirmed_s
        self._asked = self._ask_ends()

    def _note_answer(self, asked: "asyncio.Future[Ends | None]") -> None:
        if not asked.done():
            return
        self._asked = None
        ends = asked.result()
        if ends is not None:
            self._answer = Answer(ends, self._traffic.mark())
            self._take_if_settled(self._answer)

    def _take_if_settled(self, answer: Answer) -> None:
        if not self._traffic.has_settled(answer.mark):
            return
        self._answer = None
        self._covered_s = self._confirmed_s
        self.last_ends = answer.ends
        self._journal.checkpoint(answer.ends)

    def _drop(self) -> None:
        self._asked = self._answer = None
        self._asked_generation = self._generation()

    async def close(self, *, timeout_s: float) -> None:
        """Take a last checkpoint, if all is settled and Kafka answers in time."""
        if not self._is_begun or self.is_held:
            return
        self._drop()
        self._confirmed_s = self._traffic.last_confirmed_s
        asked = self._ask_ends()
        await asyncio.wait([asked], timeout=timeout_s)
        self._note_answer(asked)
