"""Opening files that somebody names: nobody is waited for.

A FIFO without a writer holds whoever opens it for ever, and a reload with it.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def see_that_it_is_regular(path: str | Path) -> None:
    """Look before a library opens a file itself, since it would wait for a FIFO's writer.

    Raises:
        OSError: It cannot be opened, or is something else than a file.
    """
    open_regular(Path(path)).close()


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading its bytes.

    Raises:
        OSError: It cannot be opened, or is something else: a FIFO, a socket, a device.
        ValueError: Its name is no path.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    raise OSError(errno.EINVAL, "it is no regular file", str(path))
