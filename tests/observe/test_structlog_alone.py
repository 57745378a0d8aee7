"""A daemon has nothing in memory that only a terminal's programs need."""

import subprocess
import sys

_LOOK = """
import sys
import bridge.cli.run, bridge.runtime.daemon
unwanted = {"rich", "pygments", "aiohttp", "yarl", "multidict"}
print(sorted(unwanted & {each.partition(".")[0] for each in sys.modules}))
import rich.console
print(rich.console.Console.__name__)
"""


def test_the_daemon_imports_nothing_that_only_a_terminal_needs_and_leaves_it_to_others() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True
    )

    assert ["[]", "Console"] == finished.stdout.split()
