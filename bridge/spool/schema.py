"""The tables of the spool, and what an older or foreign file is.

A format is never changed, only followed by the next one: `prepare` reads every older format, and
`judge` refuses a newer one before a byte of it is touched.
"""

import os
import sqlite3
from pathlib import Path
from typing import Final
from urllib.parse import quote

from bridge.config.paths import quoted, quoted_path
from bridge.errors import ConfigError

FORMAT: Final = 2
"""Format 1 has the same tables; its rows have no checksum."""
_NEWER: Final = (
    f"spool {{path}} has format {{found}}, this version reads up to {FORMAT}: start the version"
    " that wrote it, or choose another spool.directory"
)
_FOREIGN: Final = (
    "spool {path} belongs to mqtt.client_id {owner}, not to {client_id}: choose another"
    " spool.directory, or drain it with its owner"
)
_TABLES: Final = (
    "CREATE TABLE topic (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE row (sequence INTEGER PRIMARY KEY,"  # noqa: ISC004  one statement
    " key BLOB NOT NULL, identity BLOB NOT NULL, record BLOB NOT NULL)",
)
_META: Final = "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"


def judge(path: Path, client_id: str, *, leaves_no_trace: bool = False) -> None:
    """Refuse what is not ours to write, by reading alone: it must stay as it is.

    SQLite makes files beside one that it reads; `leaves_no_trace` forbids that, and with it the
    sight of what is not yet moved into the file itself. It is for a spool that nobody has open.

    Raises:
        ConfigError: The file has a newer format, or belongs to another client id.
        sqlite3.DatabaseError: The file is corrupt.
    """
    if not path.exists() or not path.stat().st_size:
        return
    # Closing a connection that may write would move the log of a crashed owner into the file.
    how = "immutable=1" if leaves_no_trace else "mode=ro"
    database = sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True)
    try:
        meta = _meta(database) if _has_table(database, "meta") else None
    finally:
        database.close()
    if meta is None:
        return
    found = int(meta["format"])
    if found > FORMAT:
        raise ConfigError([_NEWER.format(path=quoted_path(path), found=found)])
    if meta["client_id"] != client_id:
        raise ConfigError(
            [
                _FOREIGN.format(
                    path=quoted_path(path),
                    owner=quoted(meta["client_id"]),
                    client_id=quoted(client_id),
                )
            ]
        )


def prepare(database: sqlite3.Connection, client_id: str, *, topic_shift: int) -> None:
    """Create what is missing, and bring an older format to this one, in one transaction."""
    if _has_table(database, "meta") and int(_meta(database)["format"]) == FORMAT:
        return
    database.execute("BEGIN IMMEDIATE")
    try:
        if _has_table(database, "meta"):
            if int(_meta(database)["format"]) == 0:
                _follow_format_0(database, topic_shift)
        else:
            for statement in (_META, *_TABLES):
                database.execute(statement)
            database.execute("INSERT INTO meta VALUES ('client_id', ?)", (client_id,))
        database.execute("REPLACE INTO meta VALUES ('name', ?)", (os.urandom(8).hex(),))
        database.execute("REPLACE INTO meta VALUES ('format', ?)", (str(FORMAT),))
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _follow_format_0(database: sqlite3.Connection, topic_shift: int) -> None:
    """Format 0 named the topic in every row, numbered all rows together and had no identity."""
    database.execute("ALTER TABLE row RENAME TO row_0")
    for statement in _TABLES:
        database.execute(statement)
    database.execute("INSERT INTO topic (name) SELECT DISTINCT kafka_topic FROM row_0")
    database.execute(
        "INSERT INTO row SELECT (topic.id << ?) + sequence, key, x'', record"
        " FROM row_0 JOIN topic ON name = kafka_topic ORDER BY 1",
        (topic_shift,),
    )
    database.execute("DROP TABLE row_0")


def mark_in_use(database: sqlite3.Connection) -> tuple[int, int] | None:
    """Note that the spool is open; return the rows and bytes that a clean end had left."""
    meta = _meta(database)
    database.execute("DELETE FROM meta WHERE name IN ('clean_rows', 'clean_bytes')")
    if "clean_rows" not in meta or "clean_bytes" not in meta:
        return None
    return int(meta["clean_rows"]), int(meta["clean_bytes"])


def name_of(database: sqlite3.Connection) -> str:
    """Tell the name of this very database; a spool of before names were given has none."""
    return _meta(database).get("name", "")


def mark_clean(database: sqlite3.Connection, rows: int, live_bytes: int) -> None:
    """Note that nothing was under way at the end, and what there is."""
    database.execute(
        "REPLACE INTO meta VALUES ('clean_rows', ?), ('clean_bytes', ?)",
        (str(rows), str(live_bytes)),
    )


def _meta(database: sqlite3.Connection) -> dict[str, str]:
    try:
        found = dict(database.execute("SELECT name, value FROM meta"))
        int(found["format"])
        found["client_id"]
    except (KeyError, ValueError) as error:
        raise sqlite3.DatabaseError(f"meta is incomplete: {error}") from error
    return found


def _has_table(database: sqlite3.Connection, name: str) -> bool:
    found = database.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)
    )
    return found.fetchone() is not None
