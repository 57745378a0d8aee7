"""Wheel and source archive of a tree, built as ./dev and the Dockerfile do it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 300.0


def build(kind: str, tree: Path, directory: Path) -> Path:
    """Build a `wheel` or an `sdist` into a new directory, with the locked backend, offline."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", directory],
        cwd=tree,
        # A PYTHONPATH or a date of this run would have its way in what is built.
        env={k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "SOURCE_DATE_EPOCH"}},
        check=True,
        capture_output=True,
        timeout=_TIMEOUT_S,
    )
    (built,) = directory.iterdir()
    return built
