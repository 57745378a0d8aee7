"""What only a look at the machine shows: files that are there, readable, and private enough."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from bridge.config import descriptor_sets, secrets
from bridge.config.paths import KeyPath, quoted_path
from bridge.config.problems import Problem
from bridge.config.regular_files import open_regular
from bridge.config.rules import secrets_of
from bridge.config.sections import BridgeConfig, Secret
from bridge.errors import ConfigError

PEM_BYTES_MAX = 16_777_216
"""A system's whole trust store is some 200 KiB."""
_PEM_BEGIN = b"-----BEGIN "
_OTHERS = stat.S_IRGRP | stat.S_IWGRP | stat.S_IROTH | stat.S_IWOTH
PROPERTY_FILES = (
    "ssl.ca.location",
    "ssl.certificate.location",
    "ssl.key.location",
    "ssl.keystore.location",
    "ssl.crl.location",
)
_IS_TOKEN = re.compile(r"(?! )[^\x00-\x1f\x7f]+(?<! )").fullmatch
_PRIVATE_PROPERTY_FILES = frozenset({"ssl.key.location", "ssl.keystore.location"})


def check(config: BridgeConfig, environment: Mapping[str, str]) -> Iterator[Problem]:
    """Yield what is wrong with the files and secrets that the configuration names."""
    for path, secret in secrets_of(config):
        if len(secrets.named_sources(secret)) == 1:
            yield from _check_secret(path, secret, environment)
    tls = config.mqtt.tls
    for name in ("ca_file", "cert_file", "key_file"):
        file = getattr(tls, name, None)
        if file is not None:
            path = ("mqtt", "tls", name)
            yield from _check_pem(path, Path(file), is_private=name == "key_file")
    for name in PROPERTY_FILES:
        value = config.kafka.properties.get(name)
        if isinstance(value, str) and value:
            path = ("kafka", "properties", name)
            if name == "ssl.ca.location" and (value == "probe" or _is_directory(Path(value))):
                continue  # librdkafka looks for itself.
            yield from _check_file(path, Path(value), is_private=name in _PRIVATE_PROPERTY_FILES)
    yield from descriptor_sets.check(config)
    spool = config.spool
    if spool.directory is not None and spool.bytes_max and Path(spool.directory).is_absolute():
        problem = _directory_problem(Path(spool.directory))
        if problem is not None:
            yield Problem(
                ("spool", "directory"),
                f"directory {quoted_path(spool.directory)} {problem}: choose one that the bridge"
                " may write, or set spool.bytes_max = 0",
            )


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # Its name is too long, for instance: whoever opens it says so.
        return False


def _directory_problem(directory: Path) -> str | None:
    """Say what keeps it from being written, or from being made; nothing is written here."""
    there = directory
    try:
        while not there.exists() and there != there.parent:
            if there.is_symlink():
                return f"cannot be made, since {quoted_path(there)} is a link that leads nowhere"
            there = there.parent
    except OSError as error:
        return f"cannot be looked at: {error.strerror}"
    except ValueError:
        return "has a name that is no path"
    prefix = "" if there == directory else f"cannot be made, since {quoted_path(there)} "
    if not there.is_dir():
        return f"{prefix}is no directory"
    if not os.access(there, os.W_OK | os.X_OK):
        return f"{prefix}is not writable"
    return None


def _check_secret(
    path: KeyPath, secret: Secret, environment: Mapping[str, str]
) -> Iterator[Problem]:
    try:
        text = secrets.read(secret, environment)
    except ConfigError as error:
        yield Problem(path, error.problems[0])
        return
    if path == ("ops", "token") and _IS_TOKEN(text) is None:
        yield Problem(
            path,
            "has a line break, another control character or a space at an end, which no client"
            " can send; write one line",
        )
    if secret.file is not None:
        yield from _check_private(path, Path(secret.file))


def _check_pem(path: KeyPath, file: Path, *, is_private: bool) -> Iterator[Problem]:
    problem = _reading_problem(file, begins_with=_PEM_BEGIN)
    if problem is not None:
        yield Problem(path, problem)
    elif is_private:
        yield from _check_private(path, file)


def _check_file(path: KeyPath, file: Path, *, is_private: bool) -> Iterator[Problem]:
    problem = _reading_problem(file, begins_with=b"")
    if problem is not None:
        yield Problem(path, problem)
    elif is_private:
        yield from _check_private(path, file)


def _reading_problem(file: Path, *, begins_with: bytes) -> str | None:
    try:
        with open_regular(file) as opened:
            content = opened.read(PEM_BYTES_MAX)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is no path"
        return f"file {quoted_path(file)} could not be read: {reason}; {secrets.REMEDY}"
    if begins_with not in content:
        return f"file {quoted_path(file)} has no PEM block; convert it with openssl"
    return None


def _check_private(path: KeyPath, file: Path) -> Iterator[Problem]:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & _OTHERS:
        yield Problem(
            path,
            f"file {quoted_path(file)} has mode {mode:04o}, so others than its owner may read or"
            " write it; chmod 600",
            is_warning=True,
        )
