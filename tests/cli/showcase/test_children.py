import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bridge.cli.showcase.children import Child
from tests.support.eventually import eventually_async

SLEEPER = "import signal, sys; print('up', flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SLEEPER}"
PARENT = """\
import asyncio, pathlib, sys
from bridge.cli.showcase.children import Child

async def main():
    child = await Child.start(sys.executable, "-c", sys.argv[1], log=pathlib.Path(sys.argv[2]))
    print(child.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def until_it_speaks(child: Child) -> None:
    await eventually_async(lambda: child.last_lines(lines_max=1), ["up"].__eq__, what="first word")


async def test_a_child_has_a_session_of_its_own(tmp_path: Path) -> None:
    child = await Child.start(sys.executable, "-c", SLEEPER, log=tmp_path / "log")
    await until_it_speaks(child)

    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    assert await child.stop(patience_s=10) == -signal.SIGTERM


async def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    child = await Child.start(sys.executable, "-c", STUBBORN, log=tmp_path / "log")
    await until_it_speaks(child)

    assert await child.stop(patience_s=0.1) == -signal.SIGKILL


async def test_to_stop_a_child_that_has_ended_tells_its_exit_code(tmp_path: Path) -> None:
    child = await Child.start(sys.executable, "-c", "raise SystemExit(3)", log=tmp_path / "log")
    await eventually_async(lambda: child.exit_code, lambda code: code is not None, what="end")

    assert await child.stop(patience_s=10) == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has PR_SET_PDEATHSIG")
def test_no_child_outlives_a_parent_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, SLEEPER, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))

        parent.kill()
        parent.wait()

        _, alive = psutil.wait_procs([child], timeout=10)
    assert alive == []
