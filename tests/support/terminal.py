"""A program in a terminal of its own: what it draws is read, and its size is chosen."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from tests.support.eventually import eventually

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_WAIT_S = 20.0


class Terminal:
    """Runs a program in a pseudo-terminal; all that it writes is kept."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        columns: int = 80,
        lines: int = 24,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._near, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"}
        }
        self.process = subprocess.Popen(
            command,
            stdin=far,
            stdout=far,
            stderr=far,
            env={**inherited, "TERM": "xterm-256color", **(environment or {})},
            start_new_session=True,
        )
        os.close(far)
        os.set_blocking(self._near, False)
        self._written = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._near)

    @property
    def written(self) -> str:
        """All that was written so far, with the commands to the terminal."""
        while True:
            try:
                chunk = os.read(self._near, 65_536)
            except OSError:  # Nothing there now, or nobody left who writes.
                return self._written.decode(errors="replace")
            if not chunk:
                return self._written.decode(errors="replace")
            self._written += chunk

    @property
    def frame(self) -> str:
        """What the last whole frame shows, without colours."""
        frames = self.written.split("\x1b[H")
        whole = frames[-2] if len(frames) > 1 else frames[-1]
        return _CONTROL.sub("", whole)

    def wait_for(self, text: str) -> str:
        """Wait until a frame has this text; return the frame."""
        return eventually(
            lambda: self.frame,
            lambda frame: text in frame,
            what=f"the terminal shows {text!r}",
            deadline_s=_WAIT_S,
        )

    def interrupt(self) -> int:
        """Press Ctrl-C, and wait for the exit code."""
        self.process.send_signal(signal.SIGINT)
        eventually(
            lambda: (self.written, self.process.poll())[1],
            lambda code: code is not None,
            what="the program in the terminal ends",
            deadline_s=_WAIT_S,
        )
        code = self.process.returncode
        assert isinstance(code, int), "it ended"
        return code
