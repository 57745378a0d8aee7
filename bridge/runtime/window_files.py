"""The window journal on disk, read back and written on; every call blocks, one at a time."""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from bridge.fleet.dedup_window import KEY_BYTES
from bridge.kafka.partitions import Place
from bridge.runtime.kafka_tail import Chunk, Ends, Tail, Window
from bridge.runtime.window_segments import (
    Content,
    Follows,
    ForeignError,
    Opening,
    Segment,
    checkpoint_block,
    keys_block,
    list_paths,
    number_of,
    opening_block,
    path_of,
    read_segment,
)

SEGMENT_BYTES_MAX: Final = 1_048_576
"""65,000 keys: what is kept beyond the window, and what is lost with one bad block, stay small."""


class Ignored(msgspec.Struct, frozen=True):
    """What was not used, and why."""

    path: Path
    error: str


class JournalContent(msgspec.Struct, frozen=True, kw_only=True):
    """What a start finds: keys that Kafka has, oldest first, and the ends of the last checkpoint.

    All of ours below these ends is among the keys, as far back as the window reaches. Without ends
    the keys are true, but say nothing of what else Kafka has.
    """

    chunks: list[Chunk] = []
    ends: dict[Place, int] | None = None
    ignored: list[Ignored] = []
    is_cut: bool = False
    """Something at its end, or from some place on, was not readable."""

    def count_keys(self) -> int:
        """Count the keys."""
        return sum(len(each.keys) for each in self.chunks) // KEY_BYTES


class WindowFiles:
    """A chain of segments, each going on where the one before it ends.

    Invariant: all that counts is a prefix of what was written, because a segment counts only if
    the one it follows is readable to the very byte. So no checkpoint is believed whose keys are
    not there. A new segment is numbered above every file in the directory, whoever wrote it. The
    directory is locked while it is written: a checkpoint of one process knows nothing of another's.
    """

    def __init__(
        self,
        directory: Path,
        *,
        window: Window,
        client_id: str,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
    ) -> None:
        self._directory = directory
        self._segment_bytes_max = segment_bytes_max
        self._window = window
        self._client_id = client_id
        self._keys_max = max(window.keys_max, window.keys_min)
        self._chain: list[Segment] = []
        self._stale: list[Path] = []
        """Ours, but not of the chain: deleted once something newer is begun."""
        self._lock: int | None = None
        self._descriptor: int | None = None
        self._written_ends: dict[Place, int] = {}
        """What the checkpoints of the segment being written say together."""

    # ------------------------------------------------------------------ a start reads

    def load(self) -> JournalContent:
        """Read what is there; never raises, since a start without a journal is only slower."""
        ignored: list[Ignored] = []
        contents: list[Content] = []
        chain: list[Segment] = []
        is_cut = False
        try:
            paths = list_paths(self._directory)
        except OSError as error:
            paths = []
            ignored.append(Ignored(self._directory, error.strerror or str(error)))
        numbers = {number_of(each) for each in paths}
        for path in paths:
            try:
                found = read_segment(path, self._client_id)
            except (OSError, ForeignError) as error:
                ignored.append(Ignored(path, str(error)))
                continue
            if found is None or not _goes_on(found[0].opening.follows, chain, numbers):
                self._stale.append(path)
                is_cut = True
                continue
            segment, content = found
            if segment.opening.follows is None:
                self._stale += [each.path for each in chain]
                chain, contents = [], []
            chain.append(segment)
            contents.append(content)
            is_cut = is_cut or segment.is_torn
        if any(_is_shallower(each.opening.window, self._window) for each in chain):
            ignored.append(Ignored(chain[-1].path, "was kept for a smaller [dedup] window"))
            self._stale += [each.path for each in chain]
            chain, contents = [], []
        self._chain = chain
        ends: dict[Place, int] = {}
        for content in contents:
            ends |= content.ends
        return JournalContent(
            chunks=[chunk for content in contents for chunk in content.chunks],
            ends=ends or None,
            ignored=ignored,
            is_cut=is_cut,
        )

    # ------------------------------------------------------------------ and is written on

    def begin(self, found: Tail | None, *, is_anew: bool) -> None:
        """Write what a start found in Kafka, on the chain or, `is_anew`, in place of it.

        Raises:
            OSError: The disk is full or failing, or the directory may not be written.
        """
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(error.errno, "another process writes it") from error
        if is_anew:
            self._stale += [each.path for each in self._chain]
            self._chain = []
        last = self._chain[-1] if self._chain else None
        is_fit = last is not None and not last.is_torn and not self._stale
        if last is not None and is_fit and last.opening.window == self._window:
            self._descriptor = os.open(last.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        else:
            self._open_next()
        if found is not None:
            for chunk in found.chunks:
                self.append(chunk.keys, chunk.unix_ms, None)
            self.append(b"", 0, found.ends)
        _delete(reversed(self._stale))
        self._stale = []

    def append(self, keys: bytes, unix_ms: int, ends: Ends | None) -> None:
        """Write keys, then a checkpoint.

        Raises:
            OSError: As `begin`; nothing may be appended after it.
        """
        if self._chain[-1].bytes >= self._segment_bytes_max:
            self._open_next()
        segment = self._chain[-1]
        if keys:
            self._write(keys_block(keys, unix_ms))
            segment.keys += len(keys) // KEY_BYTES
            segment.newest_ms = max(segment.newest_ms, unix_ms)
        if ends:
            changed = {
                place: offset
                for place, offset in ends.items()
                if self._written_ends.get(place) != offset
            }
            self._write(checkpoint_block(changed))
            self._written_ends |= changed

    def close(self) -> None:
        """Let go of the file and the directory."""
        for each in (self._descriptor, self._lock):
            if each is not None:
                os.close(each)
        self._descriptor = self._lock = None

    def _write(self, block: bytes) -> None:
        assert self._descriptor is not None, "written before `begin` or after `close`"
        left = memoryview(block)
        while left:
            left = left[os.write(self._descriptor, left) :]
        self._chain[-1].bytes += len(block)

    def _open_next(self) -> None:
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
        last = self._chain[-1] if self._chain else None
        opening = Opening(
            client_id=self._client_id,
            window=self._window,
            follows=None if last is None else Follows(last.number, last.bytes),
        )
        there = list_paths(self._directory)
        path = path_of(self._directory, 1 + number_of(there[-1]) if there else 1)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._descriptor = os.open(path, flags, 0o600)
        self._chain.append(Segment(path=path, opening=opening))
        self._written_ends = {}
        self._write(opening_block(opening))
        self._retire()

    def _retire(self) -> None:
        """Delete what no window reaches back to any more, oldest first."""
        newest_ms = max(each.newest_ms for each in self._chain)
        expired_ms = newest_ms - int(self._window.ttl_s * 1_000)
        younger = sum(each.keys for each in self._chain[1:])
        while len(self._chain) > 1:
            is_expired = self._chain[0].newest_ms < expired_ms
            if younger < (self._window.keys_min if is_expired else self._keys_max):
                return
            _delete([self._chain.pop(0).path])
            younger -= self._chain[0].keys


def _goes_on(follows: Follows | None, chain: list[Segment], numbers: set[int]) -> bool:
    """Tell whether a segment may come next; the first may follow one that was retired."""
    if follows is None:
        return True
    if not chain:
        return follows.number not in numbers
    return follows == Follows(chain[-1].number, chain[-1].bytes)


def _is_shallower(kept: Window, asked: Window) -> bool:
    return (
        kept.ttl_s < asked.ttl_s or kept.keys_max < asked.keys_max or kept.keys_min < asked.keys_min
    )


def _delete(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
