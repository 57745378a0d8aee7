"""`check --live --json` as an operator runs it, and its points by name."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tests.support.bridge_process import Config, to_toml

DEADLINE_S = 90.0


class Checked(msgspec.Struct, frozen=True):
    """What one run said."""

    exit_code: int
    nonce: str
    points: Mapping[str, Mapping[str, str]]
    verdict: str
    stderr: str

    def standing(self, name: str) -> str:
        """Return how a point stands; it must be there."""
        assert name in self.points, f"no point {name!r} among {sorted(self.points)}"
        return self.points[name]["standing"]

    def failed(self) -> set[str]:
        """Return the names of the points that fail."""
        return {name for name, point in self.points.items() if point["standing"] == "FAIL"}


def command(directory: Path, config: Config, *options: str) -> tuple[list[str], dict[str, str]]:
    """Write the file; return the command and its environment."""
    path = directory / "check.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("BRIDGE_")}
    environment = {"STATE_DIRECTORY": str(directory / "state"), **inherited}
    line = [sys.executable, "-m", "bridge", "check", "--config", str(path), "--live", "--json"]
    return [*line, *options], environment


def parse(exit_code: int, output: str, stderr: str) -> Checked:
    """Read what was printed."""
    assert exit_code != 70, f"{output}\n{stderr}"
    tree: dict[str, Any] = json.loads(output)
    assert exit_code == tree["exit_code"]
    points = {point["name"]: point for point in tree["points"]}
    return Checked(exit_code, tree["nonce"], points, tree["verdict"], stderr)


def check_live(
    directory: Path, config: Config, *options: str, state: Path | None = None
) -> Checked:
    """Run it and wait for it."""
    line, environment = command(directory, config, *options)
    if state is not None:
        environment["STATE_DIRECTORY"] = str(state)
    done = subprocess.run(
        line, capture_output=True, text=True, check=False, timeout=DEADLINE_S, env=environment
    )
    return parse(done.returncode, done.stdout, done.stderr)
