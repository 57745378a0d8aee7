"""The rows on disk: what is written stays, what is not ours stays untouched."""

import os
import random
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.spool.schema import FORMAT
from bridge.spool.store import SpoolFailedError, SpoolFullError
from tests.spool.given import close_all, entries, entry, everything, open_store


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    close_all()


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in directory.iterdir()
        if not path.name.endswith((".lock", "-shm")) and path.stat().st_size
    }


# ---------------------------------------------------------------- rows


def test_rows_come_back_in_order_topic_by_topic(tmp_path: Path) -> None:
    store = open_store(tmp_path)

    sequences = store.write([*entries(b"1", b"2"), entry(b"3", kafka_topic="u"), entry(b"4")])

    assert [b"1", b"2", b"4"] == everything(store)
    assert [b"3"] == everything(store, "u")
    assert [] == everything(store, "never seen")
    assert sequences == sorted(set(sequences), key=sequences.index), "no two are alike"
    rows, _ = store.read("t", after=0, rows_max=9, bytes_max=999)
    assert (sequences[0], b"k", b"id:1", b"1") == (
        rows[0].sequence,
        rows[0].key,
        rows[0].identity,
        rows[0].record,
    )


def test_rows_survive_a_close_and_an_end_without_one(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.write(entries(b"1", b"2"))
    store.close()
    script = (
        "import os; from pathlib import Path\n"
        "from tests.spool.given import entries, open_store\n"
        f"open_store(Path({str(tmp_path)!r})).write(entries(b'3'))\n"
        "os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script], check=False)

    store = open_store(tmp_path)

    assert [b"1", b"2", b"3"] == everything(store)
    assert (3, 3 * len(b"k" + b"id:1" + b"1")) == (store.live_rows, store.live_bytes)
    assert ["t"] * 3 == [each.kafka_topic for each in store.scan()]
    assert [b"id:1", b"id:2", b"id:3"] == [each.identity for each in store.scan()]
    assert {"t": 3} == store.count_by_topic()


def test_one_transaction_adds_and_removes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    sequences = store.write(entries(b"1", b"2", b"3", b"4", b"5"))

    store.write(entries(b"6"), [sequences[4], sequences[0], sequences[1]])

    assert [b"3", b"4", b"6"] == everything(store)
    assert (3, 3 * len(b"kid:11")) == (store.live_rows, store.live_bytes)


def test_a_sequence_is_never_given_twice_while_the_store_is_open(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    (first,) = store.write(entries(b"1"))
    store.write([], [first])

    (second,) = store.write(entries(b"2"))

    assert second > first


def test_a_read_ends_at_its_bounds_but_takes_one_row_however_large(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    sequences = store.write(entries(b"x" * 100, b"y", b"z"))

    large, is_last_large = store.read("t", after=0, rows_max=9, bytes_max=50)
    first, is_last_first = store.read("t", after=sequences[0], rows_max=1, bytes_max=50)
    rest, is_last_rest = store.read("t", after=sequences[1], rows_max=2, bytes_max=50)

    assert [(1, False), (1, False), (1, True)] == [
        (len(large), is_last_large),
        (len(first), is_last_first),
        (len(rest), is_last_rest),
    ]


# ---------------------------------------------------------------- bounds and failures


def test_beyond_bytes_max_nothing_is_written_and_removing_makes_room(tmp_path: Path) -> None:
    store = open_store(tmp_path, bytes_max=2 * len(b"kid:11"))
    sequences = store.write(entries(b"1", b"2"))

    with pytest.raises(
        SpoolFullError, match=r"12 bytes, 6 more would pass spool\.bytes_max \(12\)"
    ):
        store.write(entries(b"3"))

    assert [b"1", b"2"] == everything(store)
    store.write(entries(b"L"), sequences[:1], may_exceed=True)
    store.write([], sequences[1:])
    store.write(entries(b"3"))
    assert [b"L", b"3"] == everything(store)


@pytest.fixture
def limit_file_size() -> Iterator[Callable[[int], None]]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_said_and_changes_nothing(
    tmp_path: Path, limit_file_size: Callable[[int], None]
) -> None:
    store = open_store(tmp_path)
    sequences = store.write(entries(b"1"))

    limit_file_size(200_000)
    with pytest.raises(SpoolFailedError, match="cannot be written: "):
        store.write([*entries(b"x" * 300_000), entry(b"u", kafka_topic="u")], sequences)

    assert ([b"1"], []) == (everything(store), everything(store, "u"))
    assert (1, 6) == (store.live_rows, store.live_bytes)
    limit_file_size(resource.RLIM_INFINITY)
    store.write([*entries(b"2"), entry(b"u", kafka_topic="u")], sequences)
    assert ([b"2"], [b"u"]) == (everything(store), everything(store, "u"))


def test_the_file_reuses_what_was_removed_and_the_log_stays_short(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    sizes = []
    for _ in range(4):
        sequences: list[int] = []
        for _ in range(10):
            sequences += store.write([entry(b"x" * 500) for _ in range(500)])
        for at in range(0, len(sequences), 500):
            store.write([], sequences[at : at + 500])
        sizes.append(store.path.stat().st_size)

    assert sizes[-1] < 1.2 * sizes[0]
    assert store.path.with_name("spool.sqlite3-wal").stat().st_size < 8_000_000


# ---------------------------------------------------------------- whose spool it is


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    open_store(tmp_path)

    with pytest.raises(
        ConfigError, match=f'spool "{tmp_path}" is locked by process {os.getpid()}:'
    ):
        open_store(tmp_path)


def test_the_lock_goes_with_the_store_and_with_a_refusal(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    with pytest.raises(ConfigError, match="belongs to"):
        open_store(tmp_path, client_id="other")

    open_store(tmp_path).close()


def test_a_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError, match=r'spool\.directory ".*file/x" cannot be used: Not a dir'):
        open_store(tmp_path / "file" / "x")


def test_whatever_stands_in_a_path_or_a_client_id_is_told_on_one_line(tmp_path: Path) -> None:
    hostile = tmp_path / "a\nFAKE: all is well\x1b[31m"
    hostile.mkdir()
    (hostile / "file").write_text("")
    (hostile / "spool.sqlite3").mkdir()
    open_store(hostile / "foreign", client_id="o\x1b[31mther").close()
    told: list[str] = []

    for directory in (hostile / "file" / "x", hostile, hostile / "foreign"):
        with pytest.raises(ConfigError) as caught:
            open_store(directory)
        told += caught.value.problems
    kept = open_store(hostile / "kept")
    with pytest.raises(ConfigError) as locked:
        open_store(hostile / "kept")
    kept.close()
    told += locked.value.problems

    assert 4 == len(told)
    assert all("\\nFAKE" in each and each.isprintable() for each in told), told


def leave_crashed(directory: Path) -> None:
    """Leave a spool whose newest rows are in the log only, as a kill does."""
    script = (
        "import os; from pathlib import Path\n"
        "from tests.spool.given import entries, open_store\n"
        f"open_store(Path({str(directory)!r})).write(entries(b'1'))\n"
        "os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script], check=False)


def test_the_spool_of_another_client_id_is_refused_and_untouched(tmp_path: Path) -> None:
    leave_crashed(tmp_path)
    before = bytes_of(tmp_path)

    with pytest.raises(
        ConfigError, match=r'belongs to mqtt\.client_id "c", not to "other": choose'
    ):
        open_store(tmp_path, client_id="other")

    assert before == bytes_of(tmp_path)
    assert [b"1"] == everything(open_store(tmp_path))


def test_a_newer_format_is_refused_and_untouched(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    path = tmp_path / "spool.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("UPDATE meta SET value = ? WHERE name = 'format'", (FORMAT + 1,))
    database.close()
    before = bytes_of(tmp_path)

    with pytest.raises(
        ConfigError, match=f'spool "{path}" has format 3, this version reads up to 2'
    ):
        open_store(tmp_path)

    assert before == bytes_of(tmp_path)


def test_an_older_format_is_brought_to_this_one(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "spool.sqlite3") as database:
        database.executescript(
            "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
            "CREATE TABLE row (sequence INTEGER PRIMARY KEY AUTOINCREMENT,"
            " kafka_topic TEXT NOT NULL, key BLOB NOT NULL, record BLOB NOT NULL);"
            "INSERT INTO meta VALUES ('format', '0'), ('client_id', 'c');"
            "INSERT INTO row (kafka_topic, key, record) VALUES"
            " ('t', x'61', x'31'), ('u', x'61', x'32'), ('t', x'62', x'33');"
        )
    database.close()

    store = open_store(tmp_path)
    store.write(entries(b"4"))
    store.close()
    store = open_store(tmp_path)

    assert ([b"1", b"3", b"4"], [b"2"]) == (everything(store), everything(store, "u"))
    assert [b"a", b"b", b"k", b"a"] == [each.key for each in store.scan()]


# ---------------------------------------------------------------- corruption


def test_what_is_no_database_is_set_aside_and_said(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite3"
    path.write_bytes(b"something else entirely" * 1_000)

    store = open_store(tmp_path)

    assert tmp_path / "spool.corrupt-1.sqlite3" == store.set_aside
    assert "file is not a database" == store.corruption
    assert store.set_aside.read_bytes().startswith(b"something else")
    store.write(entries(b"1"))
    assert [b"1"] == everything(store)


def test_a_damaged_page_is_found_after_an_unclean_end_and_set_aside(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.write([entry(b"x" * 900) for _ in range(200)])
    store.close()
    path = tmp_path / "spool.sqlite3"
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM meta WHERE name LIKE 'clean%'")
    database.close()
    whole = bytearray(path.read_bytes())
    for page in range(5, 40):
        whole[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(whole)

    store = open_store(tmp_path)

    assert store.set_aside is not None
    assert store.set_aside.read_bytes() == bytes(whole)
    assert 0 == store.live_rows


def test_a_second_corrupt_file_does_not_replace_the_first(tmp_path: Path) -> None:
    path = tmp_path / "spool.sqlite3"
    for content in (b"first" * 1_000, b"second" * 1_000):
        path.write_bytes(content)
        open_store(tmp_path).close()

    assert b"first" * 1_000 == (tmp_path / "spool.corrupt-1.sqlite3").read_bytes()
    assert b"second" * 1_000 == (tmp_path / "spool.corrupt-2.sqlite3").read_bytes()


# ---------------------------------------------------------------- durability


def test_write_returns_only_after_the_fdatasync_of_its_commit(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    script = (
        "import os; from pathlib import Path\n"
        "from tests.spool.given import entries, open_store\n"
        f"store = open_store(Path({str(tmp_path / 'spool')!r}))\n"
        "for number in range(5):\n"
        "    store.write(entries(b'x' * 5_000))\n"
        "    os.write(2, b'PUBACK')\n"
    )
    calls = "trace=fdatasync,fsync,write,pwrite64"
    command = ["strace", "-f", "-y", "-e", calls, "-o", str(trace), sys.executable, "-c", script]
    try:
        done = subprocess.run(command, check=False, capture_output=True)
    except FileNotFoundError:
        pytest.skip("strace is not installed")
    if done.returncode:
        pytest.skip(f"strace may not trace here: {done.stderr!r}")

    unsynced = pubacks = writes = 0
    for line in trace.read_text().splitlines():
        if "pwrite64(" in line and "spool.sqlite3-wal" in line:
            unsynced += 1
            writes += 1
        elif "sync(" in line and "spool.sqlite3-wal" in line:
            unsynced = 0
        elif "PUBACK" in line and "write(2" in line:
            pubacks += 1
            assert 0 == unsynced, line

    assert 5 == pubacks
    assert writes > 10


_WRITER = """
import sys; from pathlib import Path
from tests.spool.given import entries, open_store
store = open_store(Path(sys.argv[1]))
number = int(sys.argv[2])
while True:
    sequences = store.write(entries(*[b"%d" % (number + i) for i in range(7)]))
    number += 7
    print(number, flush=True)
"""


def test_what_was_written_survives_kill_minus_9_and_no_transaction_is_half_there(
    tmp_path: Path,
) -> None:
    chance = random.Random(4)  # noqa: S311  repeatable
    acknowledged = 0
    for _ in range(8):
        # The number of the next row is what the disk has, as a restart finds it.
        command = [sys.executable, "-c", _WRITER, str(tmp_path), str(acknowledged)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(chance.randint(1, 60)):
                acknowledged = int(writer.stdout.readline())
            writer.kill()
            rest = writer.stdout.read().split()
            acknowledged = int(rest[-1]) if rest else acknowledged

        store = open_store(tmp_path)
        found = [int(each) for each in everything(store)]
        store.close()

        assert list(range(len(found))) == found
        assert acknowledged <= len(found) <= acknowledged + 7
        assert 0 == len(found) % 7
        acknowledged = len(found)
