"""Children die with pytest, and a condition that never comes true says what was seen."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.eventually import NeverHappenedError, eventually, eventually_async
from tests.support.processes import ChildProcess, ProcessEndedError, free_port

_PARENT = """
import sys, threading
from pathlib import Path
from tests.support.processes import ChildProcess
child = ChildProcess("sleeper", Path(sys.argv[1]))
starter = threading.Thread(target=child.spawn, args=(["sleep", "60"],))
starter.start()
starter.join()
print(child.pid, child.is_alive, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux kills orphans for us")
def test_a_child_dies_with_a_killed_parent_but_not_with_the_thread_that_asked(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(tmp_path / "log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    ) as parent:
        assert parent.stdout is not None
        pid, is_alive = parent.stdout.readline().split()
        assert "True" == is_alive
        # Until it is `sleep`, it is `setpriv`, which may not have asked for its death yet.
        eventually(psutil.Process(int(pid)).name, "sleep".__eq__, what="the child is itself")
        parent.send_signal(signal.SIGKILL)

    eventually(
        lambda: psutil.pid_exists(int(pid)) and psutil.Process(int(pid)).status(),
        lambda status: status in {False, psutil.STATUS_ZOMBIE},
        what="the orphan is gone",
        deadline_s=5.0,
    )


def test_a_child_that_ends_early_shows_its_last_words(tmp_path: Path) -> None:
    child = ChildProcess("talker", tmp_path / "log")
    child.spawn(["sh", "-c", "echo no such configuration; exit 78"])

    with pytest.raises(ProcessEndedError, match="talker ended with 78:\nno such configuration"):
        child.await_accept(free_port())


def test_workers_of_one_run_share_no_port() -> None:
    of_workers = [
        {
            free_port({"PYTEST_XDIST_WORKER": f"gw{worker}", "PYTEST_XDIST_WORKER_COUNT": "3"})
            for _ in range(200)
        }
        for worker in range(3)
    ]

    assert sum(len(ports) for ports in of_workers) == len(set.union(*of_workers))
    assert all(20_000 <= port < 32_000 for ports in of_workers for port in ports)


def test_what_never_happens_names_the_last_observed_value() -> None:
    seen = iter(range(1_000))

    with pytest.raises(NeverHappenedError, match=r"a miracle: not within 0\.02 s; last seen: \d"):
        eventually(lambda: next(seen), lambda n: n < 0, what="a miracle", deadline_s=0.02)


async def test_waiting_on_the_event_loop_returns_what_held() -> None:
    seen = iter(range(1_000))

    assert 3 == await eventually_async(lambda: next(seen), lambda n: n == 3, poll_s=0.0)
