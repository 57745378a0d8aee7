"""Child processes that can be killed, frozen and restarted, and that never outlive pytest."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from tests.support.eventually import eventually

# PR_SET_PDEATHSIG fires when the *thread* that forked ends, so one thread, which lives as long
# as pytest does, starts every child.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")

# Below the range from which Linux takes the ports of outgoing connections (32768 and up): no
# client can take the port of a broker that is down and will come back on it.
_PORTS = range(20_000, 32_000)


def free_port(environ: Mapping[str, str] = os.environ) -> int:
    """Find a loopback port that nobody listens on, and that no outgoing connection will get.

    Workers that share a run (pytest-xdist) have ports of their own: what one of them has chosen
    and not bound yet, or will bind again, no other finds free.
    """
    workers = int(environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for _ in range(200):
        port = secrets.choice(_PORTS[worker::workers])
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port between {_PORTS.start} and {_PORTS.stop}")


def accepts(port: int) -> bool:
    """Tell whether something accepts TCP connections on this loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True


class ProcessEndedError(RuntimeError):
    """The child ended before it was ready; the message has the tail of its log."""


class ChildProcess:
    """One child in a session of its own, its output in a file, dead when pytest is.

    Restarting is `start()` again: ports and directories belong to the object, not the process.
    """

    def __init__(self, name: str, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._child: subprocess.Popen[bytes] | None = None

    def spawn(
        self,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start the command; what it prints is appended to `log_path`."""
        assert not self.is_alive, f"{self.name} is already running"
        setpriv = shutil.which("setpriv")  # Linux; elsewhere `stop` at teardown has to do.
        prefix = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        words = [*prefix, *map(str, command)]
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self._child = _SPAWNER.submit(
                subprocess.Popen,
                words,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ).result()

    @property
    def pid(self) -> int:
        """Return the process id of the running child."""
        assert self._child is not None, f"{self.name} was never started"
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Tell whether the child runs (or is frozen)."""
        return self._child is not None and self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """Return the exit code once the child has ended; negative for a signal."""
        return None if self._child is None else self._child.poll()

    @property
    def rss_bytes(self) -> int:
        """Return the resident memory of the child."""
        return int(psutil.Process(self.pid).memory_info().rss)

    @property
    def descriptors_open(self) -> int:
        """Return how many file descriptors the child holds."""
        return int(psutil.Process(self.pid).num_fds())

    @property
    def cpu_s(self) -> float:
        """Return the processor time that the child has used, in user and kernel."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the child alone."""
        os.kill(self.pid, number)

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for the child to end and return its exit code."""
        assert self._child is not None, f"{self.name} was never started"
        return self._child.wait(timeout_s)

    def stop(self, timeout_s: float = 30.0) -> int:
        """Ask with SIGTERM, insist with SIGKILL after the time-out; return the exit code."""
        if self._child is None:
            return 0
        if self.is_alive:
            self.thaw()
            self.send_signal(signal.SIGTERM)
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nobody is told."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(10.0)

    def freeze(self) -> None:
        """SIGSTOP: the sockets stay open and nobody answers."""
        self.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: go on after `freeze`."""
        self.send_signal(signal.SIGCONT)

    def output(self) -> str:
        """Return everything that all runs of this child have printed."""
        if not self.log_path.exists():
            return ""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def await_accept(self, port: int, deadline_s: float = 30.0) -> None:
        """Wait until the child accepts TCP connections.

        Raises:
            ProcessEndedError: it ended instead.
        """
        eventually(
            lambda: self.is_alive and accepts(port),
            lambda accepting: accepting or not self.is_alive,
            what=f"{self.name} accepts connections on port {port}",
            deadline_s=deadline_s,
        )
        self.assert_alive()

    def assert_alive(self) -> None:
        """Raise with the tail of the log if the child is gone."""
        if not self.is_alive:
            tail = self.output()[-2000:]
            raise ProcessEndedError(f"{self.name} ended with {self.exit_code}:\n{tail}")
