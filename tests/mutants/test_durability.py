"""A commit is on the disk when `write` returns, not some time later."""

import subprocess
import sys
from pathlib import Path

import bridge

ASK_THE_CONNECTION = """
import sys
from pathlib import Path

opened = []
sys.addaudithook(
    lambda name, given: opened.append(given[0]) if name == "sqlite3.connect/handle" else None
)
from bridge.spool.store import Store

store = Store(Path(sys.argv[1]), client_id="c", bytes_max=1 << 30)
asked = ("synchronous", "journal_mode")
print(*(opened[-1].execute(f"PRAGMA {name}").fetchone()[0] for name in asked))
store.close()
"""


def test_each_commit_of_the_spool_waits_for_the_disk(tmp_path: Path) -> None:
    asked = subprocess.run(
        [sys.executable, "-P", "-c", ASK_THE_CONNECTION, str(tmp_path)],
        env={"PYTHONPATH": str(Path(bridge.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )

    synchronous, journal_mode = asked.stdout.split()

    # SQLite's numbers: 2 is FULL, which syncs the write-ahead log at each commit.
    assert (2, "wal") == (int(synchronous), journal_mode)
