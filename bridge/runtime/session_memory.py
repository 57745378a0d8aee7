"""What is remembered of the MQTT session from one start to the next.

Without it a session that the broker lost while the bridge was away would look like a first start.
Nothing rests on it but the knowledge of gaps: where it cannot be kept, that is said once, and the
bridge goes on.
"""

import asyncio
import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import msgspec

from bridge.config.regular_files import open_regular
from bridge.observe.log import EventLog
from bridge.runtime.gap_records import Gap

FILE_NAME: Final = "session.json"
SAVE_EVERY_S: Final = 10.0
"""While connected; after a kill -9 a gap is said to begin at most this much too early."""
_FORMAT: Final = 1
_FILE_BYTES_MAX: Final = 1_048_576
"""A thousand routes are 100 KiB."""
_CLOSE_TIMEOUT_S: Final = 1.0


class LostSession(msgspec.Struct, kw_only=True):
    """A session that is gone; the gap ends for each filter when it is subscribed again."""

    since: float
    cause: str
    topic_filters: list[str]


class Remembered(msgspec.Struct, kw_only=True):
    """The content of the file; times are Unix seconds of the wall clock, UTC."""

    format: int = _FORMAT
    client_id: str
    address: str
    """Of the MQTT broker: a session belongs to both."""
    session_expiry_s: int = 0
    """As the broker granted it."""
    topic_filters: list[str] = []
    """Subscribed in that session."""
    routes: list[dict[str, Any]] = []
    """Of the configuration, and of those before: messages may be queued for their filters."""
    last_connected_at: float | None = None
    """When the broker was last heard of on an established connection; None: never."""
    drops_count: int | None = None
    drops_known_at: float | None = None
    """When the count of dropped messages was last known to be current."""
    lost: LostSession | None = None
    """Kept too, since a session that was made anew may die before it is subscribed."""
    owed_gaps: list[Gap] = []
    """Those whose record Kafka has not confirmed; they outlive a change of client id or broker."""
    canary_key: str = ""
    """Hexadecimal; canaries of an earlier process are known by it."""


class SessionMemory:
    """One small file: written beside the loop, whole or not at all, one write at a time."""

    def __init__(self, directory: Path, *, client_id: str, address: str, log: EventLog) -> None:
        self._path = directory / FILE_NAME
        self._log = log
        self._thread = ThreadPoolExecutor(1, "session-memory")
        self._writing: asyncio.Future[str | None] | None = None
        self._is_save_due = False
        self._is_lack_told = False
        self._is_closed = False
        remembered, why = _read(self._path)
        if why:
            self._tell_lack(why)
        if remembered is None or (remembered.client_id, remembered.address) != (client_id, address):
            before, remembered = remembered, Remembered(client_id=client_id, address=address)
            if before is not None:
                remembered.canary_key, remembered.owed_gaps = before.canary_key, before.owed_gaps
        self.now = remembered
        """What will be written with the next `save`."""

    def save(self) -> None:
        """Write soon; while a write is under way one more follows it. After `close` nothing is."""
        if self._is_closed:
            return
        if self._writing is not None:
            self._is_save_due = True
            return
        self._is_save_due = False
        content = msgspec.json.format(msgspec.json.encode(self.now), indent=2) + b"\n"
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(self._thread, _write, self._path, content)
        self._writing.add_done_callback(self._on_written)

    def _on_written(self, written: "asyncio.Future[str | None]") -> None:
        self._writing = None
        if written.cancelled():
            return
        why = written.result()
        if why is not None:
            self._tell_lack(why)
        if self._is_save_due:
            self.save()

    def _tell_lack(self, why: str) -> None:
        if not self._is_lack_told:
            self._is_lack_told = True
            self._log.emit("session_memory_failed", path=str(self._path), error=why)

    async def close(self) -> None:
        """Write for the last time; a disk that hangs is not waited for."""
        self.save()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                while self._writing is not None:
                    await asyncio.wait([self._writing])
        self._is_closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)


def client_id_in(directory: Path) -> str | None:
    """Return the client id of the bridge that has a state directory; None where nobody knows."""
    remembered, _ = _read(directory / FILE_NAME)
    return None if remembered is None else remembered.client_id


def _read(path: Path) -> tuple[Remembered | None, str]:
    """Return what the file says, or None with the reason; that there is none is no reason."""
    try:
        with open_regular(path) as opened:
            remembered = msgspec.json.decode(opened.read(_FILE_BYTES_MAX), type=Remembered)
            bytes.fromhex(remembered.canary_key)
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, error.strerror or str(error)
    except (ValueError, RecursionError) as error:  # msgspec's errors are among the former.
        return None, f"the file is not readable: {error}"
    if remembered.format != _FORMAT:
        return None, f"the file has format {remembered.format}, this version knows {_FORMAT}"
    return remembered, ""


def _write(path: Path, content: bytes) -> str | None:
    """Replace the file, in the thread; return why it could not be done."""
    beside = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as opened:  # noqa: PTH123  a descriptor, for its mode
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        beside.replace(path)
    except OSError as error:
        return error.strerror or str(error)
    return None
