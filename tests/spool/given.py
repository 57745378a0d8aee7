"""What the tests of the spool begin with."""

import contextlib
import sqlite3
from pathlib import Path

from bridge.spool.entry import Entry
from bridge.spool.store import Store

GIGABYTE = 1 << 30
_OPENED: list[Store] = []


def open_store(directory: Path, *, client_id: str = "c", bytes_max: int = GIGABYTE) -> Store:
    store = Store(directory, client_id=client_id, bytes_max=bytes_max)
    _OPENED.append(store)
    return store


def close_all() -> None:
    """Close what a test has opened and left open."""
    while _OPENED:
        with contextlib.suppress(sqlite3.Error, OSError):
            _OPENED.pop().close()


def entry(record: bytes = b"r", *, kafka_topic: str = "t", key: bytes = b"k") -> Entry:
    return Entry(kafka_topic, key, b"id:" + record, record)


def entries(*records: bytes, kafka_topic: str = "t", key: bytes = b"k") -> list[Entry]:
    return [entry(each, kafka_topic=kafka_topic, key=key) for each in records]


def everything(store: Store, kafka_topic: str = "t") -> list[bytes]:
    rows, is_last = store.read(kafka_topic, after=0, rows_max=1 << 30, bytes_max=1 << 40)
    assert is_last
    return [each.record for each in rows]
