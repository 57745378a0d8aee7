"""The disk of the spool: one thread, one job at a time, never the event loop."""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeAlias, TypeVar

import msgspec

from bridge.runtime.fault_points import reach
from bridge.spool.entry import Read, Write
from bridge.spool.row import Row
from bridge.spool.store import SpoolFailedError, SpoolFullError, Store

CLOSE_TIMEOUT_S: Final = 3.0
"""A disk that hangs is not waited for: the rows are on it, the next start looks at every page."""

T = TypeVar("T")


class Written(msgspec.Struct, frozen=True):
    """A transaction is on disk."""

    sequences: list[int]
    live_bytes: int


class Fetched(msgspec.Struct, frozen=True):
    """Rows were read."""

    rows: list[Row]
    is_last: bool


class Failed(msgspec.Struct, frozen=True):
    """The disk did not do it."""

    error: str


DiskResult: TypeAlias = Written | Fetched | Failed


class Disk(Protocol):
    """Who does the jobs of the outage machine."""

    def start(self, job: Write | Read, on_done: Callable[[DiskResult], None]) -> None:
        """Do a job; its result is told later, never from inside this call."""


class SpoolDisk:
    """The store and its thread, between `open` and `close`."""

    def __init__(
        self,
        directory: Path,
        *,
        client_id: str,
        bytes_max: int,
        on_bug: Callable[[Exception], None],
    ) -> None:
        self._directory = directory
        self._client_id = client_id
        self._bytes_max = bytes_max
        self._on_bug = on_bug
        self._thread = ThreadPoolExecutor(1, "spool")
        self._store: Store | None = None

    @property
    def directory(self) -> Path:
        """Where the spool lies."""
        return self._directory

    async def open(self, take: Callable[[Store], T]) -> T:
        """Open the spool and let `take` look at it, on the thread.

        Raises:
            ConfigError: As `Store` says; the spool is left as it is.
            DiskError: The disk is full or failing.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._open, take)

    def _open(self, take: Callable[[Store], T]) -> T:
        self._store = Store(self._directory, client_id=self._client_id, bytes_max=self._bytes_max)
        return take(self._store)

    def start(self, job: Write | Read, on_done: Callable[[DiskResult], None]) -> None:
        """Do a job on the thread; its result is told on the event loop."""
        done = asyncio.get_running_loop().run_in_executor(self._thread, self._run, job)
        done.add_done_callback(lambda future: self._tell(future, on_done))

    def _tell(
        self, future: "asyncio.Future[DiskResult]", on_done: Callable[[DiskResult], None]
    ) -> None:
        if future.cancelled():
            return
        try:
            on_done(future.result())
        except Exception as error:  # noqa: BLE001  asyncio would only log it, and go on in doubt
            self._on_bug(error)

    def _run(self, job: Write | Read) -> DiskResult:
        store = self._store
        assert store is not None, "the spool is not open"
        try:
            if isinstance(job, Read):
                rows, is_last = store.read(
                    job.kafka_topic,
                    after=job.after,
                    rows_max=job.rows_max,
                    bytes_max=job.bytes_max,
                )
                return Fetched(rows, is_last)
            reach("spool_commit")
            sequences = store.write(job.entries, job.removed_sequences, may_exceed=job.may_exceed)
            reach("spool_committed")
        except (SpoolFullError, SpoolFailedError) as error:
            return Failed(str(error))
        return Written(sequences, store.live_bytes)

    async def close(self) -> None:
        """Close the store; a disk that hangs is left behind."""
        if self._store is not None:
            loop = asyncio.get_running_loop()
            closing = loop.run_in_executor(self._thread, self._store.close)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT_S):
                    await closing
        self._thread.shutdown(wait=False, cancel_futures=True)
