"""An interactive shell on a terminal of its own, typed into as a person does."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

PROMPT: Final = "ready> "
_DEADLINE_S: Final = 60.0
_READ_BYTES: Final = 65_536


class InteractiveShell:
    """One shell, from its first prompt to the end of the block."""

    def __init__(
        self, command: Sequence[str], *, directory: Path, environment: dict[str, str]
    ) -> None:
        self._seen = ""
        self._terminal, other = pty.openpty()
        self._process = subprocess.Popen(
            command,
            stdin=other,
            stdout=other,
            stderr=other,
            cwd=directory,
            env={**environment, "PS1": PROMPT, "TERM": "dumb", "HOME": str(directory)},
            start_new_session=True,
        )
        os.close(other)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)

    def type(self, keys: str) -> None:
        """Press these keys; a Tab is a Tab."""
        os.write(self._terminal, keys.encode())

    def read_until(self, text: str) -> str:
        """Return what the terminal shows up to this text, and forget it."""
        ends_at = time.monotonic() + _DEADLINE_S
        while text not in self._seen:
            ready, _, _ = select.select([self._terminal], [], [], ends_at - time.monotonic())
            assert ready, f"{text!r} was not shown, but: {self._seen!r}"
            self._seen += os.read(self._terminal, _READ_BYTES).decode(errors="replace")
        shown, _, self._seen = self._seen.partition(text)
        return shown
