"""`install --systemd`: the units and a sample configuration, and what to do next."""

import argparse
import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from bridge.cli.shipped import read_shipped
from bridge.config.paths import escaped, quoted
from bridge.errors import ExitCode, UnavailableError, UsageError

PROGRAM: Final = "mqtt-kafka-bridge"
UNITS: Final = (f"{PROGRAM}.service", f"{PROGRAM}@.service")
UNIT_DIRECTORY: Final = Path("/etc/systemd/system")
CONFIGURATION: Final = Path("/etc/mqtt-kafka-bridge/bridge.toml")
CREDENTIALS: Final = Path("/etc/credstore")
SHIPPED_PREFIX: Final = "/opt/mqtt-kafka-bridge"
_HIDDEN: Final = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108
"""What the sandbox of the unit hides: ProtectHome, PrivateTmp."""
_IS_PLAIN: Final = re.compile(r"/[A-Za-z0-9/._+@-]*").fullmatch
"""What systemd takes in ExecStart= as it stands."""
DESCRIPTION: Final = """\
Write the systemd units (one for a single bridge, a template for several) and, unless there is one,
a sample configuration. An older unit is replaced, and kept beside the new one with .old; your own
changes belong in drop-ins. Starts and enables nothing: it prints what to type.
"""
NEXT: Final = """\

Next:
  edit {configuration}
  {program} check --config {configuration}
  systemctl daemon-reload
  systemctl enable --now {name}
  systemctl status {name}       # what it waits for, or how fast messages flow
  journalctl -u {name} -f
Secrets: root's files in {credentials}, such as {name}.mqtt-password; in the configuration
  password = {{ credential = "mqtt-password" }}
Upgrade: install the new version, run this again, then daemon-reload and
  systemctl restart {name}      # loses nothing: what is not safe yet comes again
Several bridges: systemctl enable --now {name}@NAME reads {directory}/NAME.toml
"""


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A file, and where it goes on the machine that is to run it."""

    path: Path
    content: str
    is_operators: bool = False
    """The operator writes in it: where there is one it stays."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Say what `install` takes."""
    parser = subparsers.add_parser(
        "install",
        help="write the systemd units and a sample configuration",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--systemd", action="store_true", required=True, help="for systemd; there is nothing else"
    )
    parser.add_argument(
        "--prefix",
        metavar="DIR",
        type=Path,
        help="where the bridge is installed, as the machine sees it that runs it (DIR/bin has the"
        " program); default: where this very program is",
    )
    parser.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        default=Path("/"),
        help="write below this directory instead of /, to make an image or a package",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would be written; writes nothing"
    )
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Write what is missing or older, and tell each file.

    Raises:
        UsageError: The unit could not start the program from where it is.
        UnavailableError: A file or directory cannot be written.
    """
    prefix = _prefix(arguments.prefix, arguments.root)
    for path, mode in ((CONFIGURATION.parent, 0o755), (CREDENTIALS, 0o700)):
        _make_directory(_below(arguments.root, path), mode, is_dry_run=arguments.dry_run)
    for placed in _placed(prefix):
        done = _place(placed, arguments.root, is_dry_run=arguments.dry_run)
        sys.stdout.write(f"{done}\n")
    sys.stdout.write(
        NEXT.format(
            name=PROGRAM,
            program=prefix / "bin" / PROGRAM,
            configuration=CONFIGURATION,
            directory=CONFIGURATION.parent,
            credentials=CREDENTIALS,
        )
    )
    return ExitCode.OK


def _prefix(given: Path | None, root: Path) -> Path:
    """Return where the program is, or why a unit cannot start it there."""
    prefix = Path(sys.prefix) if given is None else given
    if not _IS_PLAIN(str(prefix)):
        raise UsageError(
            f"prefix {quoted(str(prefix))} cannot stand in a unit: write an absolute path of"
            " letters, digits and /._+@-"
        )
    # In a virtual environment the interpreter is a link, and what it leads to has to be seen too.
    interpreter = _below(root, prefix / "bin" / "python")
    for path in (prefix, interpreter.resolve() if root == Path("/") else prefix):
        for hidden in _HIDDEN:
            if path.is_relative_to(hidden):
                raise UsageError(
                    f"{quoted(str(path))} cannot be seen by the service, whose sandbox hides"
                    f" {hidden}: install the bridge with an interpreter outside, such as"
                    f" python3 -m venv {SHIPPED_PREFIX}, or name it with --prefix"
                )
    return prefix


def _placed(prefix: Path) -> Iterator[Placed]:
    for unit in UNITS:
        text = read_shipped(f"systemd/{unit}")
        text = text.replace(f"ExecStart={SHIPPED_PREFIX}/", f"ExecStart={prefix}/")
        yield Placed(path=UNIT_DIRECTORY / unit, content=text)
    yield Placed(path=CONFIGURATION, content=read_shipped("bridge.toml"), is_operators=True)


def _place(placed: Placed, root: Path, *, is_dry_run: bool) -> str:
    """Write one file; say what was done, or would be."""
    path = _below(root, placed.path)
    with _telling(path):
        before = path.read_text(encoding="utf-8") if path.exists() else None
        if before == placed.content:
            return f"unchanged: {path}"
        if before is not None and placed.is_operators:
            return f"kept, since it is yours: {path}"
        old = path.with_name(f"{path.name}.old")
        if not is_dry_run:
            _make_directory(path.parent, 0o755, is_dry_run=False)
            if before is not None:
                _write(old, before)
            _write(path, placed.content)
    verb = "would write" if is_dry_run else "wrote"
    return f"{verb}: {path}" + ("" if before is None else f" (the one before: {old.name})")


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


def _make_directory(path: Path, mode: int, *, is_dry_run: bool) -> None:
    with _telling(path):
        if not is_dry_run and not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
            path.chmod(mode)  # Whatever the umask is.


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        where = escaped(str(getattr(error, "filename", None) or path))
        raise UnavailableError(
            f'"{where}" could not be written: {reason}; run it as root, or with --root DIR to write'
            " elsewhere"
        ) from error


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")
