"""One process a spool: an exclusive lock on a file beside the database."""

import fcntl
import os
from pathlib import Path
from typing import Final

from bridge.errors import ConfigError

_UNUSABLE: Final = (
    'spool.directory "{directory}" cannot be used: {reason}: choose a directory that the bridge'
    " may write, or set spool.bytes_max = 0"
)
_LOCKED: Final = (
    'spool "{directory}" is locked by process {owner}: stop it, or give this instance its own'
    " spool.directory"
)


def lock(directory: Path) -> int:
    """Take the directory for this process; the lock goes with the returned descriptor.

    Raises:
        ConfigError: Another process has it, or the directory cannot be used.
    """
    path = directory / "spool.lock"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError([_UNUSABLE.format(directory=directory, reason=error.strerror)]) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise ConfigError(
            [_LOCKED.format(directory=directory, owner=owner or "unknown")]
        ) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor
