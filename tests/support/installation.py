"""The wheel in a virtual environment of its own, outside the tree, without a network.

Packages that the wheel asks for are linked into it one by one from the interpreter of this run, as
its metadata name them: what it does not ask for is not there, as on the machine of an operator.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import Final

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROGRAM: Final = "mqtt-kafka-bridge"
_TIMEOUT_S: Final = 300.0
_OURS: Final = re.compile(r"^(?:PYTHON|BRIDGE|VIRTUAL_ENV|PIP_)")
"""Of the environment of this run, what would reach into the other."""


class Installation:
    """One virtual environment with the wheel, and some of its extras, in it."""

    def __init__(self, directory: Path, wheel: Path, extras: Iterable[str] = ()) -> None:
        self.directory = directory
        self._run(sys.executable, "-m", "venv", "--without-pip", directory)
        self._pip("install", "--quiet", "--no-index", "--no-deps", wheel)
        (self._packages,) = directory.glob("lib/python*/site-packages")
        (self.metadata,) = self._packages.glob("mqtt_kafka_bridge-*.dist-info")
        for each in _needed(Distribution.at(self.metadata), extras):
            self._link(each)

    def bridge(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the installed command somewhere else than in the repository."""
        return self._run(self.directory / "bin" / PROGRAM, *arguments, is_checked=False)

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run a line of Python in it."""
        return self._run(self.directory / "bin" / "python", "-c", code, is_checked=False)

    def what_pip_misses(self) -> str:
        """Return what `pip check` says of it."""
        return self._pip("check", is_checked=False).stdout.strip()

    def _pip(
        self, *arguments: str | Path, is_checked: bool = True
    ) -> subprocess.CompletedProcess[str]:
        python = self.directory / "bin" / "python"
        command = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
        return self._run(*command, *arguments, is_checked=is_checked)

    def _run(
        self, *command: str | Path, is_checked: bool = True
    ) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not _OURS.match(k)}
        return subprocess.run(
            command,
            cwd=self.directory.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=is_checked,
            timeout=_TIMEOUT_S,
        )

    def _link(self, package: Distribution) -> None:
        assert package.files is not None, f"{package.name} does not say what its files are"
        for file in package.files:
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            # File by file: several packages may share one namespace.
            link = self._packages / file
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(str(package.locate_file(file)))


def _needed(package: Distribution, extras: Iterable[str]) -> Iterator[Distribution]:
    """Yield what a package asks for, and what that asks for, each once."""
    seen: set[tuple[str, frozenset[str]]] = set()
    linked = {canonicalize_name(package.name)}
    waiting = [(package, frozenset(extras))]
    while waiting:
        asking, wanted = waiting.pop()
        for line in asking.requires or ():
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            key = (name, frozenset(requirement.extras))
            if key in seen or not _applies(requirement, wanted):
                continue
            seen.add(key)
            found = package if name == canonicalize_name(package.name) else distribution(name)
            waiting.append((found, key[1]))
            if name not in linked:
                linked.add(name)
                yield found


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    """Tell whether it is asked for here, with these extras of the package that asks."""
    if requirement.marker is None:
        return True
    here = {key: str(value) for key, value in default_environment().items()}
    return any(requirement.marker.evaluate({**here, "extra": each}) for each in ("", *extras))
