"""One process a spool: an exclusive lock on a file beside the database."""

import fcntl
import os
import stat
from pathlib import Path
from typing import Final

from bridge.config.paths import escaped, quoted_path
from bridge.errors import ConfigError
from bridge.spool.passing import disk_error, is_passing

_FILE_NAME: Final = "spool.lock"
_OPEN: Final = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
"""A FIFO in the place of the file holds nobody."""
_LOCKS_OF_LINUX: Final = Path("/proc/locks")
_UNUSABLE: Final = (
    "spool.directory {directory} cannot be used: {reason}: choose a directory that the bridge"
    " may write, or set spool.bytes_max = 0"
)
_NOT_A_FILE: Final = (
    "{path} is no regular file, so it cannot be locked: remove it, the bridge makes it anew"
)
_LOCKED: Final = (
    "spool {directory} is locked by process {owner}: stop it, or give this instance its own"
    " spool.directory"
)


def lock(directory: Path) -> int:
    """Take the directory for this process; the lock goes with the returned descriptor.

    Raises:
        ConfigError: Another process has it, or the directory cannot be used.
        DiskError: The disk is full or failing.
    """
    path = directory / _FILE_NAME
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, _OPEN | os.O_CREAT, 0o600)
    except OSError as error:
        if is_passing(error):
            raise disk_error(path, error) from error
        raise ConfigError(
            [_UNUSABLE.format(directory=quoted_path(directory), reason=error.strerror)]
        ) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ConfigError([_NOT_A_FILE.format(path=quoted_path(path))])
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
        os.close(descriptor)
        raise ConfigError(
            [_LOCKED.format(directory=quoted_path(directory), owner=escaped(owner) or "unknown")]
        ) from error
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    except OSError as error:
        os.close(descriptor)
        raise disk_error(path, error) from error
    return descriptor


def owner_of(directory: Path) -> int | None:
    """Return the process that has the directory; takes no lock, so no start can meet it.

    The number in the file outlives its process, so the table of locks is asked as well.
    """
    path = directory / _FILE_NAME
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None
        inode = status.st_ino
        owner = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    try:
        table = _LOCKS_OF_LINUX.read_text(encoding="ascii", errors="replace")
    except OSError:
        return owner if _is_alive(owner) else None
    # "7: FLOCK  ADVISORY  WRITE 4711 fe:00:9978103 0 EOF"; the device is not that of stat on btrfs.
    locks = [line.split() for line in table.splitlines()]
    is_held = any(
        each[1] == "FLOCK" and each[4] == str(owner) and each[5].endswith(f":{inode}")
        for each in locks
    )
    return owner if is_held else None


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # It lives, and is somebody else's.
    return True
