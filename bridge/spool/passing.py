"""Which failures of a disk may pass by themselves or by making room: another start may do."""

import errno
import sqlite3
from pathlib import Path
from typing import Final

from bridge.config.paths import quoted_path
from bridge.errors import DiskError

_ERRNOS: Final = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO))
_SQLITE_CODES: Final = frozenset((sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR))
_PRIMARY: Final = 0xFF
"""SQLite's extended codes have the primary one in their lowest byte."""


def is_passing(error: sqlite3.Error | OSError) -> bool:
    """Tell whether the disk is full or failing, rather than forbidden or not there."""
    if isinstance(error, OSError):
        return error.errno in _ERRNOS
    # Errors that Python's own part of the driver raises have no code.
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY in _SQLITE_CODES


def disk_error(path: Path, error: sqlite3.Error | OSError) -> DiskError:
    """Say what the disk did to the spool at this path, and what to do."""
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return DiskError(
        f"spool {quoted_path(path)} could not be opened: {reason}: make room on its file system,"
        " or look at its disk; what is in the spool stays there"
    )
