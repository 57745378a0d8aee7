"""Requests to follow a device: a file in the state directory, which the bridge takes away.

Who may write there may do anything to this bridge already, so nobody gains a right by it, and no
port and no method that changes something is needed. That the file goes is the answer.
"""

import asyncio
import contextlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bridge.observe.log import EventLog
from bridge.runtime.following import FOLLOW_MAX_S, FOLLOW_S, Following

FILE_NAME: Final = "follow.json"
DEVICE_CHARACTERS_MAX: Final = 1_024
_REQUEST_BYTES_MAX: Final = 16_384
_EVERY_S: Final = 1.0
_READABLE: Final = 0o644
"""Root may ask a bridge that runs as another user; there is nothing in it to hide."""


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked for."""

    device_id: Annotated[str, Meta(min_length=1, max_length=DEVICE_CHARACTERS_MAX)] | None
    """None: follow nobody any more."""
    for_s: Annotated[float, Meta(gt=0, le=FOLLOW_MAX_S)] = FOLLOW_S


_DECODER: Final = msgspec.json.Decoder(Request)


class FollowRequestError(Exception):
    """There is a file, but it is no request; says why."""


def ask(directory: Path, request: Request) -> Path:
    """Leave a request; return the file that is gone once the bridge has taken it.

    Raises:
        OSError: It cannot be written.
    """
    # A new file under a name of its own, renamed: neither half a request nor a link is followed.
    descriptor, written = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=directory)
    path = directory / FILE_NAME
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
            file.write(msgspec.json.encode(request))
            os.fchmod(file.fileno(), _READABLE)
        Path(written).replace(path)
    except OSError:
        Path(written).unlink(missing_ok=True)
        raise
    return path


def take(directory: Path) -> Request | None:
    """Take the request that is there away and return it.

    Raises:
        FollowRequestError: It is none, or stays.
    """
    path = directory / FILE_NAME
    try:
        # Not blocking: a pipe of that name would hold the thread.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise FollowRequestError(error.strerror or "it cannot be opened") from None
    try:
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        written = os.read(descriptor, _REQUEST_BYTES_MAX) if is_file else b""
        path.unlink()
        return _DECODER.decode(written)
    except (OSError, ValueError, RecursionError) as error:  # msgspec's are among the second.
        raise FollowRequestError(str(error)) from None
    finally:
        os.close(descriptor)


class FollowRequests:
    """Looks for requests once a second, in a thread: the disk may be slow."""

    def __init__(self, directory: Path, following: Following, log: EventLog) -> None:
        self._directory = directory
        self._following = following
        self._log = log

    async def run(self) -> None:
        """Look until cancelled; then nobody is followed any more.

        What was asked for before the start is heeded at once, before any message can come.
        """
        self.heed(self._take())
        try:
            while True:
                await asyncio.sleep(_EVERY_S)
                self._following.tick()
                self.heed(await asyncio.to_thread(self._take))
        finally:
            self._following.end("stopped")

    def heed(self, found: Request | FollowRequestError | None) -> None:
        """Do what was asked for."""
        if isinstance(found, FollowRequestError):
            path = str(self._directory / FILE_NAME)
            self._log.emit("follow_refused", path=path, error=str(found))
        elif found is not None and found.device_id is None:
            self._following.end("stopped")
        elif found is not None and found.device_id is not None:
            self._following.begin(found.device_id, for_s=found.for_s)

    def _take(self) -> Request | FollowRequestError | None:
        try:
            return take(self._directory)
        except FollowRequestError as error:
            return error
