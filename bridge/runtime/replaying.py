"""A replay: letters read, judged anew and written, transaction by transaction."""

import itertools
from collections.abc import Callable, Sequence

from bridge.config.paths import quoted
from bridge.errors import UnavailableError
from bridge.kafka.partitions import Place
from bridge.kafka.record import Record
from bridge.pipeline.letters.letter import Letter
from bridge.pipeline.letters.marks import Plan, plan_replay
from bridge.pipeline.letters.pace import Pace
from bridge.pipeline.letters.rejudging import Judged, Rejudging
from bridge.pipeline.letters.selection import Order
from bridge.pipeline.letters.tally import Tally
from bridge.runtime import clock
from bridge.runtime.dead_letter_topic import DeadLetterTopic
from bridge.runtime.replay_transaction import RecordsRefusedError, ReplayTransactions


class Replay:
    """Carries out an order from where its group is to the ends it has fixed.

    Each batch is one transaction: what became of its letters, and the offsets behind them. So a
    letter is replayed once, whenever the process ends.
    """

    def __init__(  # noqa: PLR0913 - all named
        self,
        topic: DeadLetterTopic,
        order: Order,
        rejudging: Rejudging,
        *,
        transactions: ReplayTransactions | None,
        pace: Pace,
        limit: int | None,
        pause: Callable[[float], object],
    ) -> None:
        """Without transactions everything is judged and nothing is written: a dry run."""
        self._topic = topic
        self._order = order
        self._rejudging = rejudging
        self._transactions = transactions
        self._pace = pace
        self._limit = limit
        self._pause = pause
        extent = topic.extent()
        self.plan: Plan = plan_replay(
            topic.committed(extent.ends),
            extent.lows,
            extent.ends,
            now_us=clock.instant().unix_us,
        )
        self.tally = Tally()
        self.is_limit_reached = False
        self._positions: dict[Place, int] = self.plan.starts

    @property
    def done(self) -> int:
        """Count the offsets that are done, those of earlier runs of this replay too."""
        return sum(self._positions[place] - span.begin for place, span in self.plan.spans.items())

    @property
    def is_over(self) -> bool:
        """Tell whether nothing is left up to the ends."""
        return self._positions == self.plan.ends

    def run(self, on_progress: Callable[[], object]) -> None:
        """Replay until the ends, or the limit, are reached.

        Raises:
            UnavailableError: Kafka does not answer, or refuses; the next run goes on from here.
        """
        try:
            for letters in self._topic.read(
                self.plan.starts, self.plan.ends, batch=self._pace.batch
            ):
                self._replay(letters)
                on_progress()
                if self.is_limit_reached:
                    return
            self._finish()
            on_progress()
        except KeyboardInterrupt:
            if self._transactions is not None:
                self._transactions.abort()
            raise

    def _replay(self, letters: Sequence[Letter]) -> None:
        wait_s = self._pace.wait_s(clock.monotonic_s())
        if wait_s:
            self._pause(wait_s)
        self._rejudging.begin(clock.instant())
        judged: list[Judged] = []
        room = None if self._limit is None else self._limit - self.tally.judged
        for letter in letters:
            left_out = self._order.leaves_out(letter)
            each = (
                self._rejudging.judge(letter)
                if left_out is None
                else Judged(letter=letter, left_out=left_out)
            )
            judged.append(each)
            if room is not None and each.records:
                room -= 1
                if not room:
                    self.is_limit_reached = True
                    break
        self._pace.note(sum(bool(each.records) for each in judged), clock.monotonic_s())
        self._carry_out(judged)

    def _carry_out(self, judged: Sequence[Judged]) -> None:
        """Write what became of letters; where something is refused, look for it by halves.

        Kafka refuses a whole batch for one record, or for its own size.
        """
        try:
            self._write(judged)
        except RecordsRefusedError:
            self._see_that_nobody_took_over()
            middle = len(judged) // 2
            if middle:
                self._carry_out(judged[:middle])
                self._carry_out(judged[middle:])
            else:
                self._carry_out_alone(judged[0])

    def _carry_out_alone(self, judged: Judged) -> None:
        """Write what became of one letter, with dead letters in the place of what is refused."""
        while True:
            try:
                self._write([judged], is_one_by_one=True)
            except RecordsRefusedError as refused:
                self._see_that_nobody_took_over()
                record = judged.records[refused.position]
                if record.dead_letter is not None and not record.value:
                    raise UnavailableError(
                        f"Kafka topic {quoted(record.kafka_topic)} refuses a dead letter without"
                        f" payload: {refused.error}; raise its max.message.bytes"
                    ) from refused
                judged = self._rejudging.refuse(judged, record, error=refused.error)
            else:
                return

    def _see_that_nobody_took_over(self) -> None:
        """Stop where another replay of the same letters has committed meanwhile.

        After a refusal the producer is a new one of the same transactional id: it would fence the
        other, which may have fenced us before and gone on from what we had committed.
        """
        committed = self._topic.committed(self._positions)
        for place, position in self._positions.items():
            known = committed.get(place)
            if known is not None and known.offset > position:
                raise UnavailableError(
                    "another replay of the same letters took over; let it end, or stop it and give"
                    " the same command again: what was committed stays"
                )

    def _write(self, judged: Sequence[Judged], *, is_one_by_one: bool = False) -> None:
        positions = dict(self._positions)
        for each in judged:
            letter = each.letter
            positions[letter.kafka_topic, letter.partition] = letter.offset + 1
        records = list(itertools.chain.from_iterable(each.records for each in judged))
        if records:
            self._commit(positions, records, is_one_by_one=is_one_by_one)
        self._positions = positions
        self._rejudging.settle(judged)
        self.tally.add(judged)

    def _commit(
        self, positions: dict[Place, int], records: Sequence[Record], *, is_one_by_one: bool = False
    ) -> None:
        if self._transactions is None:
            return
        offsets = {
            place: (offset, self.plan.metadata(place)) for place, offset in positions.items()
        }
        self._transactions.write(
            records, offsets, self._topic.consumer, is_one_by_one=is_one_by_one
        )

    def _finish(self) -> None:
        """Commit the ends, so that the next replay begins there."""
        if self.plan.total:
            self._commit(self.plan.ends, ())
        self._positions = self.plan.ends
