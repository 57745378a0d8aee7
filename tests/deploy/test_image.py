"""The Dockerfile, without an engine: what it copies, installs and starts, and its health check."""

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.config.sections import BridgeConfig
from tests.support.certificates import PROJECT
from tests.support.wheels import build

BASE = r"python:3\.\d+-slim-[a-z]+"


def instructions() -> list[tuple[str, str]]:
    """Return each instruction and what follows it, continued lines joined."""
    text = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    words = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(name, " ".join(rest.split())) for name, rest in words]


def values(name: str) -> list[str]:
    return [rest for each, rest in instructions() if each == name]


def copied() -> list[tuple[list[str], str]]:
    """Return what comes from the repository: sources and target of each COPY."""
    words = [rest.split() for rest in values("COPY") if not rest.startswith("--from")]
    return [(each[:-1], each[-1]) for each in words]


def sources() -> list[str]:
    return [source for several, _ in copied() for source in several]


@contextmanager
def answering(status: int) -> Iterator[int]:
    """Serve one answer to everything that is asked; yield the port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/live" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_everything_that_the_dockerfile_copies_exists_and_is_all_that_is_not_ignored() -> None:
    ignored = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = [line.removeprefix("!") for line in ignored if line.startswith("!")]

    assert "*" in ignored
    assert [] == [source for source in sources() if not (PROJECT / source).exists()]
    assert sorted(let_through) == sorted(sources())


def test_the_wheel_of_the_image_is_the_wheel_that_is_released(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for several, target in copied():
        for source in several:
            if (PROJECT / source).is_dir():
                left_out = shutil.ignore_patterns("__pycache__")
                shutil.copytree(PROJECT / source, tree / target, ignore=left_out)
            else:
                (tree / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(PROJECT / source, tree / target)

    inside = build("wheel", tree, tmp_path / "inside")
    released = build("wheel", PROJECT, tmp_path / "released")

    assert released.read_bytes() == inside.read_bytes()


def test_every_package_is_installed_by_its_hash_or_from_the_tree() -> None:
    orders = [order.strip() for run in values("RUN") for order in run.split("&&")]
    installing = [order for order in orders if re.search(r"\bpip install\b", order)]

    assert [] == [each for each in installing if not re.search("--require-hashes|--no-index", each)]
    assert {"requirements.lock", "requirements-runtime.lock"} == {
        found for each in installing for found in re.findall(r"-r (\S+)", each)
    }
    (runs_from,) = (each for each in installing if "requirements-runtime.lock" in each)
    assert runs_from.startswith("/opt/mqtt-kafka-bridge/bin/pip ")


def test_both_stages_have_one_base_whose_python_the_bridge_supports() -> None:
    bases = [base.split()[0] for base in values("FROM")]
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = project["requires-python"].removeprefix(">=")

    assert {bases[0]} == set(bases)
    assert re.fullmatch(BASE, bases[0])
    assert bases[0].startswith(f"python:{version}-")


def test_the_image_runs_the_command_without_a_shell_as_a_numbered_user() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert [["mqtt-kafka-bridge"]] == [json.loads(each) for each in values("ENTRYPOINT")]
    assert {"mqtt-kafka-bridge"} == set(project["scripts"])
    assert ["10001:10001"] == values("USER")
    assert ["SIGTERM"] == values("STOPSIGNAL")
    assert "USER" in [name for name, _ in instructions()[-7:]]


def test_the_one_writable_directory_is_where_the_bridge_keeps_its_state() -> None:
    (environment,) = (each for each in values("ENV") if "STATE_DIRECTORY" in each)
    (volume,) = (json.loads(each) for each in values("VOLUME"))

    assert [f"STATE_DIRECTORY={volume[0]}"] == re.findall(r"STATE_DIRECTORY=\S+", environment)
    assert "PYTHONDONTWRITEBYTECODE=1" in environment


@pytest.mark.parametrize(("status", "expected"), [(200, 0), (503, 1)], ids=["live", "stuck"])
def test_the_health_check_asks_for_live_and_believes_it(status: int, expected: int) -> None:
    (check,) = values("HEALTHCHECK")
    program, *arguments = json.loads(check[check.index("[") :])
    port = BridgeConfig().ops.listen.rpartition(":")[2]

    with answering(status) as served:
        (code,) = (each.replace(f":{port}/", f":{served}/") for each in arguments[1:])
        done = subprocess.run(
            [sys.executable, "-c", code], check=False, capture_output=True, timeout=60
        )

    assert ("python", "-c") == (program, arguments[0])
    assert expected == done.returncode
