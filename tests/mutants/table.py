"""Deliberate bugs: where each is put, and which sentence must be the one that tells of it."""

import msgspec

SEEDS = 200
TRAFFIC = "bridge/runtime/traffic.py"
SPOOLING = "bridge/runtime/spooling.py"
SESSION = "bridge/mqtt/session.py"
LEDGER = "bridge/mqtt/ack_ledger.py"


class Change(msgspec.Struct, frozen=True):
    """A text of a file, there exactly once, and what stands in its place in the mutant."""

    path: str
    old: str
    new: str


class Mutant(msgspec.Struct, frozen=True):
    """One bug, and how it must come out."""

    name: str
    changes: tuple[Change, ...]
    sentence: str
    """A regular expression: what the oracle, or the named test, says of it."""
    node_id: str | None = None
    """The test that finds it; None where the simulation does, within `SEEDS` seeds."""


_KEEP_LEDGER = Change(
    SESSION,
    "        self.has_acknowledged = False\n        self.ledger = AckLedger()\n",
    "        self.has_acknowledged = False\n",
)

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "PUBACK before the report",
        (Change(LEDGER, "while owed and owed[0].settled:", "while owed:"),),
        r"PUBACK of message \d+, which is neither in Kafka nor on disk",
    ),
    Mutant(
        "lost epoch check: one ledger for all connections",
        (_KEEP_LEDGER,),
        r"PUBACK out of order|PUBACK of message \d+, which is neither",
    ),
    Mutant(
        "PUBACK of a redelivery taken from the old ledger",
        (
            _KEEP_LEDGER,
            Change(
                LEDGER,
                "        receipt = Receipt(packet_id)\n        self._owed.append(receipt)\n",
                "        known = [each for each in self._owed if each.packet_id == packet_id]\n"
                "        receipt = known[0] if known else Receipt(packet_id)\n"
                "        if not known:\n            self._owed.append(receipt)\n",
            ),
            Change(LEDGER, "assert not self.settled,", "assert True,"),
        ),
        r"PUBACK out of order|PUBACK of message \d+, which is neither",
    ),
    Mutant(
        "PUBACKs in the order of the reports",
        (
            Change(
                LEDGER,
                "        while owed and owed[0].settled:\n"
                "            ready.append(owed.popleft().packet_id)\n",
                "        ready += [each.packet_id for each in owed if each.settled]\n"
                "        self._owed = deque(each for each in owed if not each.settled)\n",
            ),
        ),
        r"PUBACK out of order",
    ),
    Mutant(
        "seen-mark before delivery",
        (
            Change(
                "bridge/fleet/duplicates.py",
                "            return Knowledge.UNDER_WAY\n",
                "            return Knowledge.SAME\n",
            ),
        ),
        r"PUBACK of message \d+, which is neither in Kafka nor on disk",
    ),
    Mutant(
        "spool row deleted before its report",
        (
            Change(
                SPOOLING,
                "        self._carrier().carry(self._outbox.add_spooled(records, kept, now))\n",
                "        self._count_found(kept)\n"
                "        self.machine.found(kept, now)\n"
                "        direct = self._outbox.add(records, [None] * len(kept), now)\n"
                "        self._carrier().carry(direct)\n",
            ),
        ),
        r"messages \[.*\] are nowhere|PUBACK of message \d+, which is neither",
    ),
    Mutant(
        "window rebuilt without the spool",
        (Change("bridge/runtime/spool_start.py", "key = key_of(row.identity)", 'key = b""'),),
        r"messages \[.*\] are in Kafka twice",
    ),
    Mutant(
        "window rebuilt without the tail",
        (
            Change(
                TRAFFIC, "self._duplicates.recall(chunk.split(), now.monotonic_s - age_s)", "pass"
            ),
        ),
        r"messages \[.*\] are in Kafka twice",
    ),
    Mutant(
        "rows produced without the look at the tail",
        (
            Change(
                SPOOLING,
                "return bool(key) and self._found is not None and"
                " self._found.ask(key) is Knowledge.SAME",
                "return False",
            ),
        ),
        r"messages \[.*\] are in Kafka twice",
    ),
    Mutant(
        "a spooled device overtaken by live traffic",
        (
            Change(
                "bridge/spool/outage.py",
                "if topic.is_silent or topic.is_crowded or topic.counts[bucket_of(key)]:",
                "if topic.is_silent or topic.is_crowded:",
            ),
        ),
        r"order: .* came",
    ),
    Mutant(
        "new producer without the look at the tail",
        (Change(TRAFFIC, "self._outbox.unseal(found)", "self._outbox.unseal(())"),),
        r"messages \[.*\] are in Kafka twice",
    ),
    Mutant(
        "a checkpoint that waits for no report",
        (
            Change(
                "bridge/runtime/checkpoints.py",
                "        if not self._traffic.has_settled(answer.mark):\n            return\n",
                "",
            ),
        ),
        r"messages \[.*\] are in Kafka twice",
    ),
    Mutant(
        "a copy known as the letter of its message",
        (
            Change(
                "bridge/pipeline/flow.py",
                "Identity(header, compact_copy(header, flag.reason.encode()))",
                "Identity(header, compact(header, Kind.DEAD_LETTER))",
            ),
        ),
        r"messages \[.*\] are nowhere|PUBACK of message \d+, which is neither",
    ),
    Mutant(
        "rows of a partition that nobody could read leave all the same",
        (
            Change(
                "bridge/runtime/spooling.py",
                "            self.machine.close(kafka_topic, partition)\n",
                "            pass\n",
            ),
        ),
        r"messages \[.*\] are in Kafka twice",
    ),
    Mutant(
        "BufferError dropped",
        (
            Change(
                TRAFFIC,
                "                self._outbox.put_back(refused)\n",
                "                pass\n",
            ),
        ),
        r"not settled|order: |are nowhere",
    ),
    Mutant(
        "a duplicate under way is forgotten with its connection",
        (
            Change(
                "bridge/runtime/sorter.py",
                "            self._duplicates.join(outcome.key, receipt)\n",
                "            pass\n",
            ),
        ),
        r"conservation leaves \d+ over",
    ),
    Mutant(
        "PUBACK before commit",
        (
            Change(
                SPOOLING,
                "        self._disk.start(job, self._on_done)\n",
                "        if isinstance(job, Write):\n"
                "            items = [each.item for each in job.entries if each.item]\n"
                "            safe = [Safe(each.record, each.receipt) for each in items]\n"
                "            self._carrier().on_spooled(safe, self._job_since_s)\n"
                "        self._disk.start(job, self._on_done)\n",
            ),
        ),
        r"PUBACK of message \d+, which is neither in Kafka nor on disk",
    ),
    Mutant(
        "synchronous=NORMAL",
        (Change("bridge/spool/store.py", "PRAGMA synchronous=FULL", "PRAGMA synchronous=NORMAL"),),
        r"assert \(2, 'wal'\) == \(1, 'wal'\)",
        "tests/mutants/test_durability.py::test_each_commit_of_the_spool_waits_for_the_disk",
    ),
)
