"""promtool, which comes with Prometheus: judges rules, rule tests and expositions."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

MISSING: Final = (
    "promtool is not installed; it comes with Prometheus (Debian: apt-get install prometheus)"
)
_TIMEOUT_S: Final = 120


@cache
def find_promtool() -> Path | None:
    """Find it on PATH."""
    found = shutil.which("promtool")
    return Path(found) if found else None


class Answer(msgspec.Struct, frozen=True):
    """What promtool said."""

    is_ok: bool
    text: str


class Promtool:
    """The commands that tests need."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def version(self) -> str:
        """Return the version that it reports of itself."""
        found = re.search(r"version (\S+)", self._run("--version").text)
        return found.group(1).rstrip(",") if found else "of unknown version"

    def check_rules(self, file: Path) -> Answer:
        """Let it read a file of rules."""
        return self._run("check", "rules", str(file))

    def test_rules(self, file: Path) -> Answer:
        """Let it run a file of rule tests."""
        return self._run("test", "rules", str(file))

    def check_config(self, file: Path) -> Answer:
        """Let it read a configuration of Prometheus, and the rules that it names."""
        return self._run("check", "config", str(file))

    def check_metrics(self, exposition: str) -> Answer:
        """Let it lint what `/metrics` answers."""
        return self._run("check", "metrics", given=exposition)

    def _run(self, *arguments: str, given: str = "") -> Answer:
        finished = subprocess.run(
            [self._program, *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
        return Answer(finished.returncode == 0, finished.stdout + finished.stderr)
