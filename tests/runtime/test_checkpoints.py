"""When ends become a checkpoint: never while something that may lie below them is under way."""

import asyncio

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.runtime.checkpoints import CHECKPOINT_EVERY_S, Checkpoints
from bridge.runtime.kafka_tail import Ends

PLACE = ("telemetry", 0)
START: Ends = {PLACE: 100}


def at(offset: int) -> Ends:
    return {PLACE: offset}


class Parts:
    """Traffic, journal, producer and Kafka, all at the hand of the test."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.last_confirmed_s: float | None = None
        self.last_handed_out = 0
        self.under_way: set[int] = set()
        self.generation = 0
        self.flushes = 0
        self.written: list[Ends] = []
        self.asked: list[asyncio.Future[Ends | None]] = []
        self._loop = loop or asyncio.get_running_loop()
        self.checkpoints = Checkpoints(
            self, self, ask_ends=self.ask_ends, generation=lambda: self.generation
        )

    def mark(self) -> int:
        return self.last_handed_out

    def has_settled(self, mark: int) -> bool:
        return all(each > mark for each in self.under_way)

    def flush(self) -> None:
        self.flushes += 1

    def checkpoint(self, ends: Ends) -> None:
        self.written.append(ends)

    def ask_ends(self) -> asyncio.Future[Ends | None]:
        self.asked.append(self._loop.create_future())
        return self.asked[-1]

    def hand_out(self) -> int:
        self.last_handed_out += 1
        self.under_way.add(self.last_handed_out)
        return self.last_handed_out

    def confirm(self, number: int, now_s: float) -> None:
        self.under_way.remove(number)
        self.last_confirmed_s = now_s


async def parts_that_asked(now_s: float = 20.0) -> Parts:
    """Begin, confirm a record, and let the ends be asked for."""
    parts = Parts()
    parts.checkpoints.begin(START)
    parts.confirm(parts.hand_out(), now_s=1.0)
    parts.checkpoints.turn(now_s)
    assert 1 == len(parts.asked)
    return parts


async def test_nothing_is_asked_before_the_start_has_read_what_kafka_has() -> None:
    parts = Parts()
    parts.confirm(parts.hand_out(), now_s=1.0)

    parts.checkpoints.turn(100.0)

    assert [] == parts.asked
    assert parts.checkpoints.last_ends is None


async def test_until_there_is_a_checkpoint_the_ends_of_the_start_are_the_last() -> None:
    parts = Parts()

    parts.checkpoints.begin(START)

    assert START == parts.checkpoints.last_ends


async def test_where_all_is_confirmed_the_answer_is_a_checkpoint_at_once() -> None:
    parts = await parts_that_asked()

    parts.asked[0].set_result(at(101))
    parts.checkpoints.turn(21.0)

    assert [at(101)] == parts.written
    assert at(101) == parts.checkpoints.last_ends


async def test_a_record_handed_out_before_the_answer_holds_the_checkpoint_back() -> None:
    parts = await parts_that_asked()
    before = parts.hand_out()
    parts.asked[0].set_result(at(102))

    parts.checkpoints.turn(21.0)
    parts.hand_out()
    parts.checkpoints.turn(22.0)
    assert [] == parts.written
    assert START == parts.checkpoints.last_ends
    parts.confirm(before, now_s=22.5)
    parts.checkpoints.turn(23.0)

    assert [at(102)] == parts.written


async def test_a_replaced_producer_voids_the_answer_that_waits() -> None:
    parts = await parts_that_asked()
    stuck = parts.hand_out()
    parts.asked[0].set_result(at(102))
    parts.checkpoints.turn(21.0)

    parts.generation += 1
    parts.confirm(stuck, now_s=21.5)
    parts.checkpoints.turn(22.0)

    assert [] == parts.written
    assert START == parts.checkpoints.last_ends


async def test_a_replaced_producer_voids_the_question_and_another_is_asked_in_time() -> None:
    parts = await parts_that_asked(20.0)
    parts.generation += 1

    parts.checkpoints.turn(21.0)
    parts.asked[0].set_result(at(102))
    parts.checkpoints.turn(22.0)
    assert 1 == len(parts.asked)
    parts.checkpoints.turn(20.0 + CHECKPOINT_EVERY_S)
    parts.asked[1].set_result(at(103))
    parts.checkpoints.turn(31.0)

    assert [at(103)] == parts.written


async def test_while_nothing_is_confirmed_nothing_is_asked_again() -> None:
    parts = await parts_that_asked()
    parts.asked[0].set_result(at(101))
    parts.checkpoints.turn(21.0)

    parts.checkpoints.turn(1_000.0)
    assert 1 == len(parts.asked)
    parts.confirm(parts.hand_out(), now_s=1_000.5)
    parts.checkpoints.turn(1_001.0)

    assert 2 == len(parts.asked)


async def test_what_is_confirmed_after_the_question_is_a_reason_for_the_next() -> None:
    parts = await parts_that_asked(20.0)
    parts.confirm(parts.hand_out(), now_s=20.5)
    parts.asked[0].set_result(at(101))
    parts.checkpoints.turn(21.0)

    parts.checkpoints.turn(20.0 + CHECKPOINT_EVERY_S)

    assert 2 == len(parts.asked)


async def test_without_ends_from_the_start_they_are_asked_for_at_once() -> None:
    parts = Parts()
    parts.checkpoints.begin(None)

    parts.checkpoints.turn(0.0)
    parts.asked[0].set_result(at(5))
    parts.checkpoints.turn(1.0)

    assert at(5) == parts.checkpoints.last_ends


async def test_a_kafka_that_does_not_say_is_asked_again_in_its_time() -> None:
    parts = await parts_that_asked(20.0)
    parts.asked[0].set_result(None)

    parts.checkpoints.turn(21.0)
    assert 1 == len(parts.asked)
    parts.checkpoints.turn(20.0 + CHECKPOINT_EVERY_S)

    assert [] == parts.written
    assert 2 == len(parts.asked)


async def test_keys_are_flushed_at_every_turn() -> None:
    parts = await parts_that_asked()

    for now_s in range(21, 25):
        parts.checkpoints.turn(float(now_s))

    assert 5 == parts.flushes


async def test_a_clean_stop_takes_a_last_checkpoint() -> None:
    parts = await parts_that_asked()

    closing = asyncio.ensure_future(parts.checkpoints.close(timeout_s=30.0))
    await asyncio.sleep(0)
    parts.asked[-1].set_result(at(107))
    await closing

    assert [at(107)] == parts.written


async def test_a_stop_with_something_unconfirmed_takes_none() -> None:
    parts = await parts_that_asked()
    parts.hand_out()

    closing = asyncio.ensure_future(parts.checkpoints.close(timeout_s=30.0))
    await asyncio.sleep(0)
    parts.asked[-1].set_result(at(107))
    await closing

    assert [] == parts.written


async def test_a_stop_does_not_wait_for_a_kafka_that_is_away() -> None:
    parts = await parts_that_asked()

    await parts.checkpoints.close(timeout_s=0.0)

    assert [] == parts.written


class Histories(RuleBasedStateMachine):
    """A partition, a producer that may be replaced, and questions that are answered late.

    A record lands when Kafka appends it, and may be confirmed later, or found after the producer
    was replaced; what is not found is produced again.
    """

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.parts = Parts(self.loop)
        self.log: list[int] = [0] * 100
        """The number of the record at each offset; 0: somebody else's."""
        self.now_s = 0.0
        self.parts.checkpoints.begin(START)

    def teardown(self) -> None:
        self.loop.close()

    @rule()
    def hand_out(self) -> None:
        self.parts.hand_out()

    @rule(data=st.data())
    @precondition(lambda self: self.parts.under_way)
    def land(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.parts.under_way)))
        if number not in self.log:
            self.log.append(number)

    @rule(data=st.data())
    def report(self, data: st.DataObject) -> None:
        landed = sorted(self.parts.under_way.intersection(self.log))
        if landed:
            self.parts.confirm(data.draw(st.sampled_from(landed)), self.now_s)

    @rule(seconds=st.sampled_from([1.0, 5.0, 11.0]))
    def turn(self, seconds: float) -> None:
        self.now_s += seconds
        self.parts.checkpoints.turn(self.now_s)

    @rule()
    def answer(self) -> None:
        for asked in self.parts.asked:
            if not asked.done():
                asked.set_result(at(len(self.log)))

    @rule()
    def replace_producer(self) -> None:
        self.parts.generation += 1
        last_ends = self.parts.checkpoints.last_ends
        assert last_ends is not None
        for number in self.parts.under_way.intersection(self.log[last_ends[PLACE] :]):
            self.parts.confirm(number, self.now_s)

    @invariant()
    def whatever_is_unconfirmed_lies_behind_the_last_ends(self) -> None:
        last_ends = self.parts.checkpoints.last_ends
        assert last_ends is not None
        assert not self.parts.under_way.intersection(self.log[: last_ends[PLACE]])


TestHistories = Histories.TestCase
TestHistories.settings = settings(deadline=None, stateful_step_count=60)
