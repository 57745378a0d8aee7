"""A word beside the database: whether it should hold rows. So a spool that is lost is noticed.

The word is written after the transaction that brings the first rows, and before the one that takes
the last: a crash between the two leaves rows without the word, never the word without rows.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

FILE_NAME: Final = "spool.holds"


def holds(directory: Path) -> str | None:
    """Read which spool holds rows, by its own name; None: none does."""
    try:
        return (directory / FILE_NAME).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def note_holds(directory: Path, spool: str) -> None:
    """Note that this spool holds rows; what cannot be noted will not be missed."""
    with contextlib.suppress(OSError):
        descriptor = os.open(
            directory / FILE_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(descriptor, spool.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def note_empty(directory: Path) -> None:
    """Note that no spool holds rows."""
    with contextlib.suppress(OSError):
        (directory / FILE_NAME).unlink(missing_ok=True)
