"""The spool on disk: records that are acknowledged and not yet in Kafka.

One SQLite file in WAL mode with `synchronous=FULL`: `write` returns after the fdatasync of its
commit, so a PUBACK may follow it. One process owns the directory, by a lock on a file beside the
database; the database names its format and its client id, so that a spool is never drained into
the topics of another instance. All calls block and none may overlap another: the runtime makes
them one after the other, off the event loop.

The sequence of a row is the number of its Kafka topic above `TOPIC_SHIFT` and a counter below, so
the rows of one topic lie together, in order, and no index has to be kept for reading them.
"""

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from bridge.config.paths import quoted_path
from bridge.errors import BridgeError, ConfigError
from bridge.spool import mark, schema
from bridge.spool.lock import lock
from bridge.spool.passing import disk_error, is_passing
from bridge.spool.row import Row, Scanned, Writable

TOPIC_SHIFT: Final = 44
"""Leaves 1.7e13 rows to a topic and half a million topics to a spool."""
CACHE_KIB: Final = 8_192
"""What SQLite may keep of the file in memory."""
WAL_BYTES_MAX: Final = 16_777_216
"""A longer write-ahead log (one large transaction) is cut back at the next checkpoint."""
WARM_BYTES: Final = 1_048_576
SCAN_ROWS: Final = 10_000
_BYTES: Final = "length(key) + length(identity) + length(record)"


FILE_NAME: Final = "spool.sqlite3"


class SpoolFullError(BridgeError):
    """The live rows would pass `bytes_max`; nothing of the transaction was written."""


class SpoolFailedError(BridgeError):
    """The disk is full or failing, or the file is gone: nothing of the transaction is safe."""


class Store:
    """The rows of each Kafka topic, in the order in which they were acknowledged.

    `live_bytes` counts what is owed, not the size of the file: SQLite reuses the pages of removed
    rows, so the file stays near its highest mark.
    """

    def __init__(self, directory: Path, *, client_id: str, bytes_max: int) -> None:
        """Open or create the spool.

        Raises:
            ConfigError: Locked by another process, of another client id, of a newer format, or the
                directory cannot be used. The spool is left as it is.
            DiskError: The disk is full or failing.
        """
        self.live_rows = 0
        self.live_bytes = 0
        self.set_aside: Path | None = None
        """Where a corrupt database was moved to, if it was; the reason is in `corruption`."""
        self.corruption = ""
        self.was_clean = True
        """The owner before had closed it, or there was none."""
        self.lost = ""
        """Why rows that should be there are not, as far as that can be known."""
        self.path = directory / FILE_NAME
        self._where = quoted_path(self.path)
        self._directory = directory
        self._bytes_max = bytes_max
        self._name = ""
        self._topics: dict[str, int] = {}
        self._next: dict[str, int] = {}
        self._lock = lock(directory)
        try:
            self._database = self._open_or_set_aside(client_id)
            self._look_for_what_is_lost()
            self._identity = self._identity_now()
            _sync_directory(directory)
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, sqlite3.Error | OSError):
                raise self._refusal(error) from error
            raise

    def _refusal(self, error: sqlite3.Error | OSError) -> BridgeError:
        if is_passing(error):
            return disk_error(self.path, error)
        return ConfigError([f"spool {self._where} cannot be opened: {error}"])

    def _look_for_what_is_lost(self) -> None:
        holder = mark.holds(self._directory)
        if holder is not None and self.set_aside is None:
            if holder != self._name:
                self.lost = "the file is another one than before"
            elif not self.live_rows:
                self.lost = "the file is there, but its rows are not"
        if self.live_rows:
            mark.note_holds(self._directory, self._name)
        else:
            mark.note_empty(self._directory)

    def _see_that_it_is_there(self) -> None:
        try:
            is_there = self._identity_now() == self._identity
        except FileNotFoundError:
            is_there = False
        except OSError as error:
            raise SpoolFailedError(
                f"spool {self._where} cannot be looked at: {error.strerror}"
            ) from error
        if not is_there:
            raise SpoolFailedError(
                f"spool {self._where} was removed or replaced while it is in use: restart the"
                " bridge, which begins a new one"
            )

    def _identity_now(self) -> tuple[int, int]:
        status = self.path.stat()
        return status.st_dev, status.st_ino

    def _open_or_set_aside(self, client_id: str) -> sqlite3.Connection:
        try:
            return self._open(client_id)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            self.corruption = str(error)
            self.set_aside = self._move_aside()
        return self._open(client_id)

    def _open(self, client_id: str) -> sqlite3.Connection:
        is_new = not self.path.exists()
        if not is_new and not self.path.is_file():
            raise ConfigError([f"spool {self._where} is no file: remove what is there"])
        # With a log beside it the file may only be the half of it.
        log = self.path.with_name(self.path.name + "-wal")
        has_log = log.exists() and log.stat().st_size > 0
        schema.judge(self.path, client_id, leaves_no_trace=not has_log)
        _warm(self.path)
        database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            database.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            database.execute(f"PRAGMA journal_size_limit={WAL_BYTES_MAX}")
            schema.prepare(database, client_id, topic_shift=TOPIC_SHIFT)
            totals = schema.mark_in_use(database)
            self.was_clean = totals is not None or is_new
            # Without rows there is nothing to lose, and nothing that a look at every page tells.
            is_empty = totals == (0, 0)
            self.live_rows, self.live_bytes = (
                (0, 0) if is_empty else self._check_and_count(database)
            )
            # Read here, where a page that went bad has the file set aside: it may be any page.
            self._name = schema.name_of(database)
            self._topics = dict(database.execute("SELECT name, id FROM topic"))
            self._next = {
                name: _first_free(database, number) for name, number in self._topics.items()
            }
        except BaseException:
            database.close()
            raise
        return database

    @staticmethod
    def _check_and_count(database: sqlite3.Connection) -> tuple[int, int]:
        """Look at every page, and count."""
        (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)
        rows, live_bytes = database.execute(
            f"SELECT count(*), coalesce(sum({_BYTES}), 0) FROM row"  # noqa: S608  a constant
        ).fetchone()
        return int(rows), int(live_bytes)

    def _move_aside(self) -> Path:
        number = 1
        while (target := self.path.with_name(f"spool.corrupt-{number}.sqlite3")).exists():
            number += 1
        for suffix in ("-wal", "-shm", ""):
            source = self.path.with_name(self.path.name + suffix)
            if source.exists():
                source.rename(target.with_name(target.name + suffix))
        return target

    # ------------------------------------------------------------------ rows in, rows out

    def write(
        self, rows: Sequence[Writable], removed: Sequence[int] = (), *, may_exceed: bool = False
    ) -> list[int]:
        """Add rows and remove others in one transaction; return the sequences of the new ones.

        Raises:
            SpoolFullError: `bytes_max` would be passed, and `may_exceed` does not allow it.
            SpoolFailedError: The disk is full or failing.
        """
        added = sum(len(each.key) + len(each.identity) + len(each.record) for each in rows)
        if rows and not may_exceed and self.live_bytes + added > self._bytes_max:
            raise SpoolFullError(
                f"spool has {self.live_bytes} bytes, {added} more would pass spool.bytes_max"
                f" ({self._bytes_max})"
            )
        database = self._database
        topics, following = self._topics.copy(), self._next.copy()
        try:
            database.execute("BEGIN IMMEDIATE")
            sequences = self._insert(rows, topics, following)
            gone_rows, gone_bytes = self._remove(removed)
            # Last before the COMMIT: what is committed cannot be told as failed, since it would be
            # written again.
            self._see_that_it_is_there()
            before, after = self.live_rows, self.live_rows + len(rows) - gone_rows
            if before and not after:
                mark.note_empty(self._directory)
            database.execute("COMMIT")
            if after and not before:
                mark.note_holds(self._directory, self._name)
        except SpoolFailedError:
            _roll_back(database)
            raise
        except sqlite3.Error as error:
            _roll_back(database)
            if self.live_rows:
                mark.note_holds(self._directory, self._name)
            raise SpoolFailedError(f"spool {self._where} cannot be written: {error}") from error
        self._topics, self._next = topics, following
        self.live_rows += len(rows) - gone_rows
        self.live_bytes += added - gone_bytes
        return sequences

    def _insert(
        self, rows: Sequence[Writable], topics: dict[str, int], following: dict[str, int]
    ) -> list[int]:
        sequences: list[int] = []
        for each in rows:
            name = each.kafka_topic
            if name not in topics:
                topics[name] = max(topics.values(), default=0) + 1
                following[name] = _range_of(topics[name])[0] + 1
                self._database.execute("INSERT INTO topic VALUES (?, ?)", (topics[name], name))
            sequences.append(following[name])
            following[name] += 1
        self._database.executemany(
            "INSERT INTO row VALUES (?, ?, ?, ?)",
            (
                (sequence, each.key, each.identity, each.record)
                for sequence, each in zip(sequences, rows, strict=True)
            ),
        )
        return sequences

    def _remove(self, sequences: Sequence[int]) -> tuple[int, int]:
        gone_rows = gone_bytes = 0
        for first, last in _runs(sequences):
            (run_bytes,) = self._database.execute(
                f"SELECT sum({_BYTES}) FROM row WHERE sequence BETWEEN ? AND ?",  # noqa: S608
                (first, last),
            ).fetchone()
            cursor = self._database.execute(
                "DELETE FROM row WHERE sequence BETWEEN ? AND ?", (first, last)
            )
            gone_rows += cursor.rowcount
            gone_bytes += run_bytes or 0
        return gone_rows, gone_bytes

    def read(
        self, kafka_topic: str, *, after: int, rows_max: int, bytes_max: int
    ) -> tuple[list[Row], bool]:
        """Read the oldest rows of a topic beyond a sequence; tell whether these were the last.

        At least one row is read, if there is one, however large it is.

        Raises:
            SpoolFailedError: The disk cannot be read.
        """
        number = self._topics.get(kafka_topic)
        if number is None:
            return [], True
        first, last = _range_of(number)
        rows: list[Row] = []
        read_bytes = 0
        try:
            cursor = self._database.execute(
                "SELECT sequence, key, identity, record FROM row"
                " WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?",
                (max(first, after), last, rows_max),
            )
            for sequence, key, identity, record in cursor:
                rows.append(Row(sequence, key, identity, record))
                read_bytes += len(record)
                if read_bytes >= bytes_max:
                    break
            cursor.close()  # A reader left open would keep the log from being reused.
        except sqlite3.Error as error:
            raise SpoolFailedError(f"spool {self._where} cannot be read: {error}") from error
        return rows, len(rows) < rows_max and read_bytes < bytes_max

    def scan(self) -> Iterator[Scanned]:
        """Give every row without its record, topic by topic, in order.

        Raises:
            SpoolFailedError: The disk cannot be read.
        """
        for name, number in self._topics.items():
            after, last = _range_of(number)
            try:
                while found := self._database.execute(
                    "SELECT sequence, key, identity FROM row"
                    " WHERE sequence > ? AND sequence <= ? ORDER BY sequence LIMIT ?",
                    (after, last, SCAN_ROWS),
                ).fetchall():
                    after = found[-1][0]
                    for sequence, key, identity in found:
                        yield Scanned(sequence, name, key, identity)
            except sqlite3.Error as error:
                raise SpoolFailedError(f"spool {self._where} cannot be read: {error}") from error

    def count_by_topic(self) -> dict[str, int]:
        """Count the rows of each topic that has any."""
        counts: dict[str, int] = defaultdict(int)
        for name, number in self._topics.items():
            (rows,) = self._database.execute(
                "SELECT count(*) FROM row WHERE sequence BETWEEN ? AND ?", _range_of(number)
            ).fetchone()
            if rows:
                counts[name] = rows
        return dict(counts)

    def close(self) -> None:
        """Note that the end was clean, close the database and let the lock go."""
        try:
            schema.mark_clean(self._database, self.live_rows, self.live_bytes)
        except sqlite3.Error:
            pass  # The next start looks at every page, as after a crash.
        finally:
            self._database.close()
            owned, self._lock = self._lock, -1
            os.close(owned)


def _range_of(number: int) -> tuple[int, int]:
    """Give the sequences of a topic: none is the first, all are up to the last."""
    return number << TOPIC_SHIFT, ((number + 1) << TOPIC_SHIFT) - 1


def _first_free(database: sqlite3.Connection, number: int) -> int:
    (last,) = database.execute(
        "SELECT max(sequence) FROM row WHERE sequence BETWEEN ? AND ?", _range_of(number)
    ).fetchone()
    return 1 + (_range_of(number)[0] if last is None else int(last))


def _runs(sequences: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Join neighbours: most of what is confirmed together was written together."""
    ordered = sorted(sequences)
    first = last = ordered[0] if ordered else 0
    for sequence in ordered[1:]:
        if sequence != last + 1:
            yield first, last
            first = sequence
        last = sequence
    if ordered:
        yield first, last


def _roll_back(database: sqlite3.Connection) -> None:
    """End the transaction, unless SQLite did so by itself, as it does when the disk is full."""
    if database.in_transaction:
        database.execute("ROLLBACK")


def _warm(path: Path) -> None:
    """Read the file from end to end, so that the system has it in memory.

    The check and the scan that follow read it page by page in the order of the rows: 1 GB took
    23 s from a cold cache that way, and 3 s after this.
    """
    if not path.exists():
        return
    buffer = bytearray(WARM_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
