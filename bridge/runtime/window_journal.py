"""The journal of the dedup window: what Kafka confirmed, kept for the next start.

Theory of operation. `load` reads it, before the first connection. What the start then finds in
Kafka is given to `begin`, and from there on `note` keeps the keys of each batch of delivery
reports, `flush` writes them about once a second in a thread, and `checkpoint` adds up to where all
is known. Nothing waits for the disk, and nothing rests on it: a key that was not written is found
again in the tail of its partition, since no checkpoint is written before it.

So a failing or hanging disk costs one thing only, the claim of being complete: the journal is given
up where it stands, which is said once, and the next start reads on from its last checkpoint.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from bridge.observe.log import EventLog
from bridge.runtime import clock
from bridge.runtime.kafka_tail import Ends, Tail, Window
from bridge.runtime.window_files import JournalContent, WindowFiles

BUFFER_BYTES_MAX: Final = 8_388_608
"""Half a million keys, two minutes of 4,000 a second: so long may the disk hang."""
CLOSE_TIMEOUT_S: Final = 1.0


class WindowJournal:
    """Keys on their way to the disk; one write at a time.

    Invariant: a checkpoint is written behind every key that was noted before it was asked for, or
    not at all. With `dedup.keys_max` 0 there is no journal, and every call does nothing.
    """

    def __init__(
        self,
        directory: Path,
        *,
        window: Window,
        client_id: str,
        log: EventLog,
        unix_s: Callable[[], float] = clock.unix_s,
    ) -> None:
        self._directory = directory
        self._files = WindowFiles(directory, window=window, client_id=client_id)
        self._log = log
        self._unix_s = unix_s
        self._thread = ThreadPoolExecutor(1, "window-journal")
        self._noted = bytearray()
        self._due_ends: Ends | None = None
        self._writing: asyncio.Future[None] | None = None
        self._is_begun = False
        self._is_founded = False
        """It is known what Kafka had at the start; without that no checkpoint would be true."""
        self._is_given_up = not window.keys_max

    @property
    def is_kept(self) -> bool:
        """False once it is given up, or where the window is off."""
        return not self._is_given_up

    # ------------------------------------------------------------------ a start

    def load(self) -> JournalContent:
        """Read what the last process left; blocks, tells nobody, never raises."""
        return JournalContent() if self._is_given_up else self._files.load()

    async def read(self) -> JournalContent:
        """Load in the thread, and tell the log."""
        if self._is_given_up:
            return JournalContent()
        started_s = clock.monotonic_s()
        loop = asyncio.get_running_loop()
        content = await loop.run_in_executor(self._thread, self.load)
        for each in content.ignored:
            self._log.emit("window_journal_ignored", path=str(each.path), error=each.error)
        self._log.emit(
            "window_journal_read",
            keys=content.count_keys(),
            has_checkpoint=content.ends is not None,
            is_cut=content.is_cut,
            took_s=round(clock.monotonic_s() - started_s, 3),
        )
        return content

    def begin(self, found: Tail | None, *, is_whole: bool) -> None:
        """Go on from what the start found in Kafka; nothing, where it may not be read there.

        `is_whole` says that it is all that the window should hold: then what was loaded counts for
        nothing any more.
        """
        assert not self._is_begun, "begun twice"
        self._is_begun = True
        self._is_founded = found is not None
        if not self._is_given_up:
            self._start(partial(self._files.begin, found, is_anew=is_whole))

    # ------------------------------------------------------------------ keys and checkpoints

    def note(self, keys: Sequence[bytes]) -> None:
        """Keep compact keys that Kafka has; empty ones are none. Once a batch: 30 ns a key."""
        if self._is_given_up:
            return
        self._noted += b"".join(keys)
        if len(self._noted) > BUFFER_BYTES_MAX:
            self._give_up("the disk did not take the keys in time")

    def checkpoint(self, ends: Ends) -> None:
        """Say that whatever of ours lies in Kafka below these ends was noted before now."""
        if self._is_founded and not self._is_given_up:
            self._due_ends = ends
            self.flush()

    def flush(self) -> None:
        """Write what was noted, unless a write is under way; then that is followed by another."""
        if self._writing is not None or self._is_given_up or not self._is_begun:
            return
        if not self._noted and self._due_ends is None:
            return
        keys, self._noted = bytes(self._noted), bytearray()
        ends, self._due_ends = self._due_ends, None
        self._start(partial(self._files.append, keys, int(self._unix_s() * 1_000), ends))

    def _start(self, write: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(self._thread, write)
        self._writing.add_done_callback(self._on_written)

    def _on_written(self, writing: "asyncio.Future[None]") -> None:
        self._writing = None
        if writing.cancelled():
            return
        error = writing.exception()
        if error is not None:
            why = error.strerror if isinstance(error, OSError) else None
            self._give_up(why or repr(error))
        elif self._due_ends is not None:
            self.flush()

    def _give_up(self, why: str) -> None:
        if self._is_given_up:
            return
        self._is_given_up = True
        self._noted = bytearray()
        self._due_ends = None
        self._log.emit("window_journal_failed", path=str(self._directory), error=why)

    # ------------------------------------------------------------------ a stop

    async def close(self) -> None:
        """Write what is left; a disk that hangs is not waited for."""
        self.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                while self._writing is not None:
                    await asyncio.wait([self._writing])
                    self.flush()
        self._thread.submit(self._files.close)
        self._thread.shutdown(wait=False)
