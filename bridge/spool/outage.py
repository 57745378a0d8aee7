"""Who goes through the spool while Kafka is away, and how the rows come out of it again.

Theory of operation. The machine does nothing itself: it is told what happened and when, and `due`
says what to do. An entry is one record in the spool or on its way into it:

    PENDING --due: Write--> WRITING --written--> ROW --confirmed--> GONE --Write--> (removed)
       |  ^                    |                  |
       |  +-- write_failed ----+                  +-- replace: its letter takes its place
       +-- confirmed: GONE
       +-- due: forward: DIRECT, the caller's alone again

A topic is alive while it confirms anything; an error is no sign of life. Something of it
unconfirmed for `after_s` is stuck, and with it its group: the key, or the partition where the
caller can tell it. What is owed to a stuck group goes to the spool; if the topic confirmed nothing
for `after_s` it is silent, and all of it goes. An entry may be in hand as well: librdkafka still
has it. Its report then removes the row, and the drain never hands it out a second time.

A key follows (`follows`) while anything of it is in the spool or on its way, while its group is
stuck, and while its topic is silent. That alone keeps the order: what the spool has of a key goes
before what comes. For the same reason what the caller still has of a key that begins to follow goes
along with it (`choose`), so that rows stand in the order in which their records came.

The drain reads a topic's rows in passes. Within a pass the cursor only grows, and a key that has to
be skipped (its group is stuck) is skipped until the pass is over; when something that was stuck is
confirmed, the next pass begins at the start. So memory is a few numbers a topic and a bit a key,
however many rows there are. Until the topic has proven itself by one report, it gets one row each
`after_s`. Rows that an earlier process left are handed out only after `permit_drain`.

How to drive it. For a batch of records, unless `is_quiet`: those that follow become entries (their
record encoded), and for them

    chosen = outage.choose(kafka_topic, direct, now, followed=keys)   # direct: owed, without entry
    outage.divert(entries(chosen.stuck), now, is_stuck=True)          # is_in_hand=True, in order
    outage.divert(entries(chosen.along), now)                         # is_in_hand=True
    outage.divert(followers, now)

and the same `choose` without `followed` a few times a second for every topic that owes something.
For reports: `alive(topics)` for direct ones, `confirmed(entries)` for shipments with an entry, and
`replace(entry, letter)` for what Kafka will never take. Then `due`: produce `forward` from memory
with its receipts, run `disk` on the thread of the store, and tell the result; `written` returns the
entries whose receipts are safe to settle, `read` those to be produced now. Whatever shipments carry
entries stays in the outbox, in its order, through a rebuild of the producer too, and counts for no
bound there once its receipt is settled. `owed since` is when a record was last handed to the
outbox, not when it was received: one that waited here in memory is not stuck for that. A group may
be closed: of its partition nobody knows yet what Kafka has, so all of it comes here and stays.

Until `permit_drain` nobody knows what Kafka has: the caller diverts everything. Later it looks up
`forward` before it produces it, and tells `read` which rows are in Kafka already. To end: divert
all that is direct, wait for the job under way, then `last_write` until it is None.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import islice
from typing import Final

from bridge.spool.entry import Chosen, Drained, Due, Entry, Item, Read, State, Write, bucket_of
from bridge.spool.row import Row, Scanned
from bridge.spool.topic import Bounds, Stuck, Topic, in_turn, new_topic, stuck_in
from bridge.spool.writing import Writing

READ_AGAIN_S: Final = 2.0
READ_MIN: Final = 50
"""Rows looked at in one read, however few of them may leave."""


class Outage:
    """Everything in the spool or on its way, by Kafka topic.

    Invariant: an entry is returned by `written` only after its row is committed, and a row is
    removed only after `confirmed`, `found`, or together with the letter that replaces it.
    """

    def __init__(
        self,
        *,
        after_s: float,
        bytes_max: int,
        group_of: Callable[[str, bytes], int] | None = None,
        bounds: Bounds | None = None,
        importance_of: Callable[[str], int] | None = None,
    ) -> None:
        """Begin with nothing; `bytes_max` of 0 lets nothing in, and still drains what is there.

        `group_of` tells which records of a topic get stuck together: with the partition of a key,
        one record finds out for all keys of it. It may change its mind at any time.
        `importance_of` a topic tells whose rows leave first; without it all take turns.
        """
        self.live_bytes = 0
        self.spooled = 0
        """Rows not yet in Kafka."""
        self._after_s = after_s
        self._bytes_max = bytes_max
        self._group_of = group_of or (lambda _, key: bucket_of(key))
        self._bounds = bounds or Bounds()
        self._importance_of = importance_of
        self._topics: dict[str, Topic] = {}
        self._alive_s: dict[str, float] = {}
        self._writing = Writing(self._topics, bytes_max=bytes_max)
        self._job: Write | Read | None = None
        self._was_write = False
        self._may_drain = False
        self._read_at = 0.0
        self._read_error: str | None = None

    # ------------------------------------------------------------------ what is asked

    @property
    def is_quiet(self) -> bool:
        """True while nothing is in the spool or on its way: nobody follows."""
        return not self._topics

    @property
    def pending(self) -> int:
        """Count what is on its way into the spool."""
        return sum(each.on_its_way for each in self._topics.values())

    @property
    def removals_due(self) -> int:
        """Count the rows that are in Kafka and whose removal waits for the disk."""
        return len(self._writing.removals)

    @property
    def state(self) -> str | None:
        """Name what keeps records out of the spool, if anything does."""
        if self.error is not None:
            return "spool_failed"
        return "spool_full" if self._writing.is_full else None

    @property
    def error(self) -> str | None:
        """Tell why the disk failed last, until it does again what it failed to do."""
        return self._writing.error or self._read_error

    @property
    def rows_by_topic(self) -> dict[str, int]:
        """Count what is in the spool or on its way, by topic; with none a topic is not listed."""
        return {each.name: each.count for each in self._topics.values() if each.count}

    @property
    def rows_able_to_leave(self) -> dict[str, int]:
        """Count the rows that only wait for their turn, by topic."""
        return {each.name: each.able_to_leave for each in self._topics.values()}

    @property
    def oldest_pending(self) -> list[object]:
        """List the items of what is next to be written, one a topic, the oldest among them."""
        under_way = self._job.entries[:1] if isinstance(self._job, Write) else []
        return [
            entry.item
            for topic in self._topics.values()
            for entry in (*under_way, *islice(topic.pending, 1))
            if entry.item is not None
        ]

    @property
    def write_error(self) -> str | None:
        """Tell why the disk took no transaction last, until it takes one."""
        return self._writing.error

    @property
    def stuck(self) -> Stuck:
        """Count what is unconfirmed for longer than `after_s`, on disk and not."""
        return stuck_in(self._topics.values())

    @property
    def flight_bytes(self) -> int:
        """Count the bytes of what is in hand and not stuck."""
        return sum(each.flight_bytes for each in self._topics.values())

    @property
    def silent_topics(self) -> list[str]:
        """List the topics that report nothing."""
        return [each.name for each in self._topics.values() if each.is_silent]

    @property
    def closed_topics(self) -> dict[str, int]:
        """Count the groups of which it is not known what Kafka has, by topic."""
        return {each.name: len(each.closed) for each in self._topics.values() if each.closed}

    @property
    def stuck_topics(self) -> dict[str, int]:
        """Count what is unconfirmed for longer than `after_s`, by topic."""
        return {each.name: each.stuck_count for each in self._topics.values() if each.stuck_count}

    def follows(self, kafka_topic: str, key: bytes) -> bool:
        """Tell whether a new record must go through the spool."""
        topic = self._topics.get(kafka_topic)
        if topic is None:
            return False
        if topic.is_silent or topic.is_crowded or topic.counts[bucket_of(key)]:
            return True
        if not topic.stuck and not topic.closed:
            return False
        group = self._group_of(kafka_topic, key)
        return group in topic.stuck or group in topic.closed

    def is_closed(self, kafka_topic: str, key: bytes) -> bool:
        """Tell whether nobody knows yet what Kafka has of a record's group."""
        topic = self._topics.get(kafka_topic)
        return topic is not None and self._group_of(kafka_topic, key) in topic.closed

    def choose(
        self,
        kafka_topic: str,
        direct: Sequence[tuple[bytes, float, Item]],
        now: float,
        followed: Collection[bytes] = (),
        after_s: float | None = None,
    ) -> Chosen[Item]:
        """Choose what of a topic's direct records (key, owed since, item) is to be diverted.

        A caller in need of room, while others are served, may give a shorter `after_s`.
        """
        before_s = now - (self._after_s if after_s is None else after_s)
        stale: set[int] = set()
        if self._bytes_max:
            stale = {self._group_of(kafka_topic, key) for key, at, _ in direct if at <= before_s}
        if stale and self._alive_s.get(kafka_topic, before_s) <= before_s:
            self._topic(kafka_topic).silence()
            return Chosen([item for _, _, item in direct], [])
        if not stale and not followed:
            return Chosen([], [])
        stuck: list[Item] = []
        along: list[Item] = []
        for key, _, item in direct:
            if stale and self._group_of(kafka_topic, key) in stale:
                stuck.append(item)
            elif key in followed:
                along.append(item)
        return Chosen(stuck, along)

    # ------------------------------------------------------------------ what happened

    def restore(self, rows: Iterable[Scanned], live_bytes: int) -> None:
        """Take over the rows that an earlier process left; they rest until `permit_drain`."""
        self.live_bytes = live_bytes
        for row in rows:
            topic = self._topic(row.kafka_topic)
            topic.counts[bucket_of(row.key)] += 1
            topic.rows += 1
            topic.is_at_end = False
            self.spooled += 1

    def permit_drain(self, *, is_permitted: bool = True) -> None:
        """Hand rows out, or stop it while the ends of the partitions are being read."""
        self._may_drain = is_permitted

    def close(self, kafka_topic: str, group: int) -> None:
        """Let nothing of a group leave: it is not known what Kafka has of it."""
        self._topic(kafka_topic).closed.add(group)

    def open(self, kafka_topic: str, group: int) -> None:
        """Let it leave, now that it is known."""
        topic = self._topic(kafka_topic)
        topic.closed.discard(group)
        topic.is_again_wanted |= topic.has_skipped
        topic.may_forward = True

    def divert(self, entries: Iterable[Entry], now: float, *, is_stuck: bool = False) -> None:
        """Take entries on their way into the spool, in order; never refuses."""
        for entry in entries:
            topic = self._topic(entry.kafka_topic)
            entry.bucket = bucket_of(entry.key)
            entry.group = self._group_of(entry.kafka_topic, entry.key)
            topic.counts[entry.bucket] += 1
            topic.pending.append(entry)
            topic.pending_count += 1
            topic.may_forward = True
            if entry.is_in_hand:
                topic.take_in_hand(entry, now, is_stuck=is_stuck)

    def alive(self, kafka_topics: Iterable[str], now: float) -> None:
        """Note that Kafka confirmed something of these topics."""
        for name in kafka_topics:
            self._alive_s[name] = now
            topic = self._topics.get(name)
            if topic is not None and not (topic.is_proven and not topic.is_silent):
                topic.is_silent = False
                topic.is_proven = True
                topic.may_forward = True

    def confirmed(self, entries: Sequence[Entry], now: float) -> None:
        """Take the delivery reports of entries in hand."""
        self.alive({each.kafka_topic for each in entries}, now)
        self.found(entries, now)

    def found(self, entries: Sequence[Entry], now: float) -> None:
        """Take entries in hand that were found in Kafka: there is no need to produce them."""
        for entry in entries:
            if self._end(entry, now):
                self._writing.removals.append(entry)

    def rest(self, entry: Entry, now: float) -> None:
        """Let a row lie as if nobody had it in hand: a later pass reads it again."""
        assert entry.state is State.ROW, f"entry {entry.sequence} is no row"
        topic = self._topics[entry.kafka_topic]
        topic.let_go(entry, now)
        del topic.known[entry.sequence]
        topic.is_again_wanted = True
        entry.item = None

    def replace(self, entry: Entry, letter: Entry, now: float) -> None:
        """Put the letter of a refused entry in its place: the one's row goes as the other's comes.

        The receipt of an entry that is still owed goes with the letter, as its item.
        """
        letter.bucket = bucket_of(letter.key)
        letter.group = self._group_of(letter.kafka_topic, letter.key)
        letter.replaces = entry
        entry.is_replaced = True
        self._end(entry, now)
        topic = self._topic(letter.kafka_topic)
        topic.counts[letter.bucket] += 1
        topic.letters += 1
        self._writing.letters.append(letter)

    def _end(self, entry: Entry, now: float) -> bool:
        """Let an entry go; tell whether that leaves a row to remove."""
        topic = self._topics[entry.kafka_topic]
        was, entry.state = entry.state, State.GONE
        assert was not in (State.GONE, State.DIRECT), f"entry {entry.sequence} ended twice"
        entry.item = None
        topic.counts[entry.bucket] -= 1
        if entry.is_in_hand:
            topic.let_go(entry, now)
        if was is State.PENDING:
            topic.withdraw()
        elif was is State.ROW:
            self.spooled -= 1
        return was is State.ROW

    # ------------------------------------------------------------------ what to do

    def due(self, now: float, hand_out_max: int | None = None) -> Due:
        """Say what to do now; cheap enough to ask after every batch.

        `hand_out_max` bounds what leaves the spool now, where there is more important traffic.
        """
        before_s = now - self._after_s
        forward: list[Entry] = []
        for topic in list(self._topics.values()):
            if topic.age(before_s) and self._alive_s.get(topic.name, before_s) <= before_s:
                topic.silence()
            topic.settle_pass()
            if self._may_drain and topic.pending_count and hand_out_max != 0:
                forward += topic.take_forward(is_refused=self.state is not None)
            if topic.is_idle:
                del self._topics[topic.name]
        if self._job is not None:
            return Due(None, forward)
        if hand_out_max is not None:
            hand_out_max = max(0, hand_out_max - len(forward))
        self._job = self._next_job(now, hand_out_max)
        return Due(self._job, forward)

    def last_write(self) -> Write | None:
        """Say what is left to write before the process ends, until it is None or one fails."""
        assert self._job is None, "the last job has not told its result"
        self._job = self._writing.gather_last(self.live_bytes)
        return self._job

    def _next_job(self, now: float, hand_out_max: int | None) -> Write | Read | None:
        # Turn about: neither may starve the other.
        job: Write | Read | None = None
        if self._was_write:
            job = self._next_read(now, hand_out_max)
        job = job or self._writing.gather(self.live_bytes, now)
        self._was_write = isinstance(job, Write)
        return job or self._next_read(now, hand_out_max)

    def _next_read(self, now: float, hand_out_max: int | None) -> Read | None:
        if not self._may_drain or now < self._read_at or hand_out_max == 0:
            return None
        for topic in in_turn(self._topics.values(), self._importance_of):
            rows_max, rows_out_max = topic.room(now, self._after_s)
            if not rows_max:
                continue
            if hand_out_max is not None:
                rows_out_max = min(rows_out_max, hand_out_max)
                rows_max = min(rows_max, max(hand_out_max, READ_MIN))
            # The next turn is another topic's.
            self._topics[topic.name] = self._topics.pop(topic.name)
            return Read(topic.name, topic.cursor, rows_max, self._bounds.window_bytes, rows_out_max)
        return None

    # ------------------------------------------------------------------ what came of it

    def written(self, sequences: Sequence[int], live_bytes: int) -> list[Entry]:
        """Take the result of a write; return the entries that are safe now: settle their receipts.

        Those that Kafka confirmed meanwhile are not among them.
        """
        write, self._job = self._job, None
        assert isinstance(write, Write), "no write was under way"
        self.live_bytes = live_bytes
        self._writing.succeed()
        safe: list[Entry] = []
        for entry, sequence in zip(write.entries, sequences, strict=True):
            topic = self._topics[entry.kafka_topic]
            topic.writing -= 1
            topic.rows += 1
            entry.sequence = sequence
            entry.record = b""
            entry.replaces = None
            if entry.state is State.GONE:
                topic.known[sequence] = entry
                if not entry.is_replaced:
                    self._writing.removals.append(entry)
                continue
            entry.state = State.ROW
            self.spooled += 1
            safe.append(entry)
            if entry.is_in_hand:
                topic.note_row_in_hand(entry)
            else:
                topic.is_at_end = False
        for entry in write.removed:
            topic = self._topics[entry.kafka_topic]
            del topic.known[entry.sequence]
            topic.rows -= 1
        for topic in self._topics.values():
            topic.may_forward = True
        return safe

    def write_failed(self, error: str, now: float) -> None:
        """Take the failure of a write: nothing of it is on disk, all of it is tried again."""
        write, self._job = self._job, None
        assert isinstance(write, Write), "no write was under way"
        self._writing.fail(error, now)
        self._writing.put_back(write)
        for entry in write.entries:
            self._topics[entry.kafka_topic].may_forward = True

    def read(
        self,
        rows: Sequence[Row],
        now: float,
        *,
        is_last: bool,
        is_in_kafka: Callable[[Row], bool] | None = None,
    ) -> Drained:
        """Take the rows of a read; return what is to be produced now, in order.

        What is in Kafka already only has to go, so it counts for no bound of the drain, and nothing
        stuck can bar it.
        """
        read, self._job = self._job, None
        assert isinstance(read, Read), "no read was under way"
        self._read_error = None
        topic = self._topics[read.kafka_topic]
        taken: list[Entry] = []
        found: list[Entry] = []
        known = topic.known
        for row in rows:
            sequence = row.sequence
            if sequence in known:
                topic.cursor = sequence
                continue
            is_found = is_in_kafka is not None and is_in_kafka(row)
            if not is_found and len(taken) == read.hand_out_max:
                is_last = False
                break
            topic.cursor = sequence
            bucket = bucket_of(row.key)
            group = self._group_of(topic.name, row.key)
            if not is_found and topic.is_barred(bucket, group):
                continue
            entry = Entry(topic.name, row.key, row.identity, row.record)
            entry.state = State.ROW
            entry.sequence = sequence
            entry.bucket = bucket
            entry.group = group
            known[sequence] = entry
            if is_found:
                found.append(entry)
            else:
                topic.take_in_hand(entry, now, is_stuck=False)
                taken.append(entry)
        self.found(found, now)
        if found:
            topic.probe_read_s = -1e9  # There may be more of them.
        if taken and read.hand_out_max == 1:
            topic.probed_s = now
        if is_last:
            topic.is_at_end = True
            topic.may_forward = True
        return Drained(taken, found)

    def read_failed(self, error: str, now: float) -> None:
        """Take the failure of a read: it is tried again, and nothing is lost meanwhile."""
        self._job = None
        self._read_error = error
        self._read_at = now + READ_AGAIN_S

    def _topic(self, name: str) -> Topic:
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = new_topic(name, self._bounds)
        return topic
