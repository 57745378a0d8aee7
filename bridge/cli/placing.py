"""Files written for an operator: whole or not at all, the one before kept beside, each told."""

import contextlib
import errno
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from bridge.config.paths import escaped
from bridge.config.regular_files import open_regular
from bridge.errors import UnavailableError

_IN_THE_WAY: Final = {errno.EISDIR, errno.EINVAL, errno.ENOTDIR}
"""Something else is where a file is to be: more rights would not help."""


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A file, and where it goes on the machine that is to run it."""

    path: Path
    content: str
    is_operators: bool = False
    """The operator writes in it: where there is one it stays."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Below which directory files go, and what to type if they cannot."""

    root: Path
    remedy: str
    is_dry_run: bool = False

    def put(self, placed: Placed) -> str:
        """Write one file; say what was done, or would be.

        Raises:
            UnavailableError: It cannot be written.
        """
        path = self.below(placed.path)
        shown = escaped(str(path))
        with self._telling(path):
            if path.is_symlink():
                target = escaped(str(path.readlink()))
                return f"left alone, since it is a link to {target}: {shown}"
            before = _content_of(path)
            if before == placed.content:
                return f"unchanged: {shown}"
            if before is not None and placed.is_operators:
                return f"kept, since it is yours: {shown}"
            old = _kept(path, before)
            if not self.is_dry_run:
                self.make_directory(placed.path.parent, 0o755)
                if before is not None:
                    _write(old, before)
                _write(path, placed.content)
        verb = "would write" if self.is_dry_run else "wrote"
        return f"{verb}: {shown}" + ("" if before is None else f" (the one before: {old.name})")

    def make_directory(self, directory: Path, mode: int) -> None:
        """Make a directory that is missing, with this mode whatever the umask is.

        Raises:
            UnavailableError: It cannot be made.
        """
        path = self.below(directory)
        with self._telling(path):
            if not self.is_dry_run and not path.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.mkdir()
                path.chmod(mode)

    def below(self, path: Path) -> Path:
        """Return where an absolute path lies for now."""
        return self.root / path.relative_to("/")

    @contextlib.contextmanager
    def _telling(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            where = escaped(str(getattr(error, "filename", None) or path))
            is_in_the_way = getattr(error, "errno", None) in _IN_THE_WAY
            remedy = f'move "{where}" away' if is_in_the_way else self.remedy
            raise UnavailableError(f'"{where}" could not be written: {reason}; {remedy}') from error


def _content_of(path: Path) -> str | None:
    if not path.exists():
        return None
    with open_regular(path) as file:
        return file.read().decode()


def _kept(path: Path, before: str | None) -> Path:
    """Choose the name under which what was there is kept: an earlier one is kept as well."""
    for number in itertools.count(1):
        old = path.with_name(f"{path.name}.old" + (f".{number}" if number > 1 else ""))
        if not os.path.lexists(old) or _holds(old, before):
            return old
    raise AssertionError("counting ended")


def _holds(path: Path, content: str | None) -> bool:
    """Tell whether this is what is to be kept; what is no file, or cannot be read, is not."""
    try:
        with open_regular(path) as file:
            return content is not None and file.read() == content.encode()
    except OSError:
        return False


def _write(path: Path, content: str) -> None:
    """Write a file that everybody may read, whole or not at all."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError:
        temporary.unlink()
        raise
