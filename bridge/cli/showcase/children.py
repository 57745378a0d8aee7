"""Child processes that end with the demo: in order when it ends well, by the kernel when not."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from bridge.observe.text import printable

TETHER = Path(__file__).with_name("tether.py")


class Child:
    """One program in a session of its own, so that Ctrl-C in the terminal reaches only the demo."""

    def __init__(self, process: asyncio.subprocess.Process, *, log: Path) -> None:
        self._process = process
        self.log = log

    @classmethod
    async def start(
        cls, *program: str, log: Path, environment: Mapping[str, str] | None = None
    ) -> "Child":
        """Start `program`, whose first word is an absolute path; both its outputs go to `log`."""
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", str(TETHER), str(os.getpid()), *program),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        return cls(process, log=log)

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.returncode

    @property
    def pid(self) -> int:
        """Its process id, which is also that of its session."""
        return self._process.pid

    async def stop(self, *, patience_s: float) -> int:
        """Ask it to end, kill it after `patience_s`, and tell its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self._process.wait(), patience_s)
        await self.kill()
        return await self._process.wait()

    async def kill(self) -> None:
        """End it now; does nothing when it has ended."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        await self._process.wait()

    def last_lines(self, *, lines_max: int) -> list[str]:
        """Read the end of what it wrote, safe for a terminal."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        return [printable(line) for line in text.splitlines()[-lines_max:]]


def free_port() -> int:
    """Find a port of the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
