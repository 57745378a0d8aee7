"""A daemon has nothing in memory that only a terminal needs."""

import subprocess
import sys

import pytest

_LOOK = """
import sys
import bridge.observe.log
print(sorted({"rich", "pygments"} & {each.partition(".")[0] for each in sys.modules}))
import rich.console
print(rich.console.Console.__name__)
"""


def test_the_log_imports_nothing_for_terminals_and_leaves_it_to_others() -> None:
    pytest.importorskip("rich", reason="rich is not installed, so nothing could import it")

    finished = subprocess.run(
        [sys.executable, "-c", _LOOK], capture_output=True, text=True, check=True
    )

    assert ["[]", "Console"] == finished.stdout.split()
