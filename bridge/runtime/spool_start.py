"""Opening the spool, and what an earlier process left in it."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from bridge.errors import DiskError
from bridge.fleet.duplicates import Duplicates
from bridge.kafka.rows import key_of
from bridge.observe.counters import Counters
from bridge.observe.log import EventLog
from bridge.runtime.clock import Clock
from bridge.runtime.spool_disk import SpoolDisk
from bridge.runtime.spooling import Spooling
from bridge.spool.row import Scanned
from bridge.spool.store import FILE_NAME, SpoolFailedError, Store

_RECALL_KEYS = 10_000


class Opened(msgspec.Struct, frozen=True):
    """What was found in the spool."""

    rows_by_topic: dict[str, int]
    live_bytes: int
    set_aside: Path | None
    corruption: str
    was_clean: bool
    lost: str


def is_spool_wanted(directory: Path, bytes_max: int) -> bool:
    """Tell whether there is a spool to open: one that is on, or one that is to be drained."""
    if bytes_max > 0:
        return True
    try:
        return (directory / FILE_NAME).exists()
    except OSError:  # Its name is too long, for instance: nothing was ever written there.
        return False


async def open_spool(  # noqa: PLR0913  whom its rows concern
    disk: SpoolDisk,
    spooling: Spooling,
    duplicates: Duplicates,
    *,
    bytes_max: int,
    counters: Counters,
    log: EventLog,
    clock: Clock,
) -> Opened:
    """Open it, let the machine know its rows and the dedup window their keys, and tell of it.

    Raises:
        ConfigError: It is locked, foreign, newer, or cannot be used; it is left as it is.
        DiskError: The disk is full or failing.
    """
    started_s = clock.monotonic_s()

    def take(store: Store) -> Opened:
        spooling.restore(_recalling(store.scan(), duplicates, started_s), store.live_bytes)
        return Opened(
            store.count_by_topic(),
            store.live_bytes,
            store.set_aside,
            store.corruption,
            store.was_clean,
            store.lost,
        )

    try:
        opened = await disk.open(take)
    except SpoolFailedError as error:
        raise DiskError(str(error)) from error
    counters.spooled_at_start = spooling.spooled
    if opened.set_aside is not None:
        log.emit("spool_set_aside", path=str(opened.set_aside), error=opened.corruption)
    if opened.lost:
        log.emit("spool_lost", directory=str(disk.directory), error=opened.lost)
    log.emit(
        "spool_opened",
        directory=str(disk.directory),
        rows=sum(opened.rows_by_topic.values()),
        bytes=opened.live_bytes,
        bytes_max=bytes_max,
        after_clean_stop=opened.was_clean,
        took_s=round(clock.monotonic_s() - started_s, 3),
    )
    return opened


def _recalling(rows: Iterator[Scanned], duplicates: Duplicates, now: float) -> Iterator[Scanned]:
    """Pass rows on; what is in them is known: a duplicate of it is acknowledged at once."""
    keys: list[bytes] = []
    for row in rows:
        key = key_of(row.identity)
        if key:
            keys.append(key)
        if len(keys) == _RECALL_KEYS:
            duplicates.recall(keys, now)
            keys = []
        yield row
    duplicates.recall(keys, now)
