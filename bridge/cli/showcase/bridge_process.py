"""The bridge of the demo: a real `run` in a process of its own, seen from outside."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from prometheus_client.parser import text_string_to_metric_families

import bridge
from bridge.cli.showcase.children import Child, free_port
from bridge.errors import BridgeError

READY_TIMEOUT_S = 30.0
POLL_S = 0.05
PROBE_TIMEOUT = aiohttp.ClientTimeout(total=2)
LAST_LINES_MAX = 10

CONFIGURATION = """\
[mqtt]
host = "127.0.0.1"
port = {mqtt_port}
client_id = "mqtt-kafka-bridge-demo"

[kafka]
bootstrap_servers = {bootstrap_servers}

[limits]
per_device_per_s = 0  # A few devices send as fast as they can here.

[ops]
listen = "127.0.0.1:{ops_port}"

[log]
format = "json"
"""


class Check(msgspec.Struct, frozen=True):
    """One part of readiness."""

    name: str
    is_ok: bool
    state: str
    detail: str


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """What the bridge says about itself at one moment."""

    is_ready: bool = False
    checks: tuple[Check, ...] = ()
    counters: dict[str, float] = {}
    """Sums over all labels, by the name of the metric."""


class BridgeProcess:
    """`python -m bridge run` on a generated configuration, with its log in a file."""

    def __init__(self, child: Child, *, ops_port: int, session: aiohttp.ClientSession) -> None:
        self.child = child
        self.ops_port = ops_port
        self._url = f"http://127.0.0.1:{ops_port}"
        self._session = session

    @classmethod
    async def start(
        cls,
        directory: Path,
        session: aiohttp.ClientSession,
        *,
        mqtt_port: int,
        bootstrap_servers: str,
    ) -> "BridgeProcess":
        """Start it; whether it becomes ready, `wait_until_ready` tells."""
        ops_port = free_port()
        file = directory / "bridge.toml"
        text = CONFIGURATION.format(
            mqtt_port=mqtt_port,
            bootstrap_servers=json.dumps(bootstrap_servers),
            ops_port=ops_port,
        )
        file.write_text(text, encoding="utf-8")
        child = await Child.start(
            *(sys.executable, "-P", "-m", "bridge", "run", "--config", str(file)),
            log=directory / "bridge.log",
            environment=_environment(directory),
        )
        return cls(child, ops_port=ops_port, session=session)

    async def wait_until_ready(self, stop: asyncio.Event) -> None:
        """Poll /health/ready until it says yes, or until `stop` is set.

        Raises:
            BridgeError: the bridge ended, or did not become ready in time.
        """
        deadline = asyncio.get_running_loop().time() + READY_TIMEOUT_S
        condition = Condition()
        while not condition.is_ready and not stop.is_set():
            self.raise_if_ended()
            if asyncio.get_running_loop().time() > deadline:
                raise BridgeError(self._obituary(f"is not ready after {READY_TIMEOUT_S:.0f} s"))
            await asyncio.sleep(POLL_S)
            condition = await self.condition()

    def raise_if_ended(self) -> None:
        """Look whether it still runs.

        Raises:
            BridgeError: it does not.
        """
        if self.child.exit_code is not None:
            raise BridgeError(self._obituary(f"ended with exit code {self.child.exit_code}"))

    async def stop(self, *, patience_s: float) -> None:
        """Ask for a clean end and wait for it.

        Raises:
            BridgeError: its exit code is not 0.
        """
        exit_code = await self.child.stop(patience_s=patience_s)
        if exit_code != 0:
            raise BridgeError(self._obituary(f"did not end cleanly: exit code {exit_code}"))

    async def condition(self) -> Condition:
        """Ask /health/ready and /metrics; a bridge that does not answer is not ready."""
        try:
            async with self._session.get(
                f"{self._url}/health/ready", timeout=PROBE_TIMEOUT
            ) as answer:
                body = await answer.json()
            async with self._session.get(f"{self._url}/metrics", timeout=PROBE_TIMEOUT) as answer:
                metrics = await answer.text()
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return Condition()
        return Condition(
            is_ready=body.get("ready") is True,
            checks=_checks(body),
            counters=_counters(metrics),
        )

    def _obituary(self, what: str) -> str:
        lines = self.child.last_lines(lines_max=LAST_LINES_MAX)
        return "\n".join((f"the bridge of the demo {what}; its last words:", *lines))


def _environment(directory: Path) -> dict[str, str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("BRIDGE__")
    }
    # The same code as the demo, whatever lies in the current directory (hence -P).
    package_root = str(Path(bridge.__file__).parent.parent)
    python_path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package_root, python_path)))
    # What it has to remember belongs to the demo and is removed with it.
    environment["STATE_DIRECTORY"] = str(directory)
    return environment


def _checks(body: dict[str, Any]) -> tuple[Check, ...]:
    return tuple(
        Check(
            name, check.get("ok") is True, str(check.get("state", "")), str(check.get("detail", ""))
        )
        for name, check in body.get("checks", {}).items()
    )


def _counters(text: str) -> dict[str, float]:
    counters: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "le" not in sample.labels:
                counters[sample.name] = counters.get(sample.name, 0.0) + sample.value
    return counters
