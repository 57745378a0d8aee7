"""The product as its users run it: a process, a TOML file, HTTP and log lines."""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from tests.support.eventually import eventually
from tests.support.processes import ChildProcess, free_port

Config: TypeAlias = Mapping[str, Any]
Event: TypeAlias = dict[str, Any]

_REPOSITORY = Path(__file__).resolve().parents[2]
_HTTP_TIMEOUT_S = 5.0
_READY_DEADLINE_S = 30.0


class HttpAnswer(msgspec.Struct, frozen=True):
    """One answer of the ops port."""

    status: int
    body: str

    def json(self) -> Any:
        """Return the body, decoded."""
        return json.loads(self.body)


class BridgeProcess(ChildProcess):
    """One bridge: configuration, state directory and ops port survive `kill` and `start`.

    `config` is the file as nested dicts; JSON logs and a free ops port are filled in. The state
    directory (spool) is `directory/state` unless the configuration names another.
    """

    def __init__(
        self,
        directory: Path,
        config: Config,
        *,
        env: Mapping[str, str] | None = None,
        command: str = "run",
    ) -> None:
        super().__init__("bridge", directory / "bridge.log")
        self._command = command
        self.directory = directory
        self.ops_port = free_port()
        self.config_path = directory / "bridge.toml"
        self.env = dict(env or {})
        self.arguments: tuple[str, ...] = ()
        """More of the command line, from the next start on."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "state").mkdir(exist_ok=True)
        self.write_config(config)

    def write_config(self, config: Config) -> None:
        """Write the file; send SIGHUP afterwards to have it read again."""
        filled = dict(config)
        filled["ops"] = {"listen": f"127.0.0.1:{self.ops_port}", **filled.get("ops", {})}
        # Tests publish as fast as they can with few devices; those of limits say what they want.
        filled["limits"] = filled.get("limits", {"per_device_per_s": 0})
        filled["log"] = {"format": "json", **filled.get("log", {})}
        self.config_path.write_text(to_toml(filled), encoding="utf-8")

    def start(self) -> None:
        """Run `python -m bridge run --config FILE`, or `watch`; does not wait for readiness."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("BRIDGE_")}
        env = {
            **inherited,
            "PYTHONPATH": str(_REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "STATE_DIRECTORY": str(self.directory / "state"),
            **self.env,
        }
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "bridge",
            self._command,
            "--config",
            self.config_path,
            *self.arguments,
        ]
        self.spawn(command, cwd=self.directory, env=env)

    def get(self, path: str) -> HttpAnswer | None:
        """GET from the ops port; None while nobody listens or answers there."""
        url = f"http://127.0.0.1:{self.ops_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=_HTTP_TIMEOUT_S) as answer:
                return HttpAnswer(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return HttpAnswer(error.code, error.read().decode())
        except OSError:
            return None

    def wait_ready(self, deadline_s: float = _READY_DEADLINE_S) -> HttpAnswer:
        """Wait for 200 from /health/ready; fails at once if the process ends."""
        return self._wait_health(200, deadline_s)

    def wait_not_ready(self, deadline_s: float = _READY_DEADLINE_S) -> HttpAnswer:
        """Wait for 503 from /health/ready."""
        return self._wait_health(503, deadline_s)

    def _wait_health(self, status: int, deadline_s: float) -> HttpAnswer:
        def look() -> HttpAnswer | None:
            self.assert_alive()
            return self.get("/health/ready")

        answer = eventually(
            look,
            lambda seen: seen is not None and seen.status == status,
            what=f"/health/ready answers {status}",
            deadline_s=deadline_s,
            poll_s=0.02,
        )
        assert answer is not None
        return answer

    def metrics(self) -> dict[str, float]:
        """Return every sample of /metrics: `name` or `name{label="value",...}`, labels sorted."""
        answer = self.get("/metrics")
        if answer is None:
            return {}
        return {
            _sample_name(sample.name, sample.labels): sample.value
            for family in text_string_to_metric_families(answer.body)
            for sample in family.samples
        }

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of all samples of this name that carry these labels; 0.0 if none."""
        answer = self.get("/metrics")
        if answer is None:
            return 0.0
        return sum(
            sample.value
            for family in text_string_to_metric_families(answer.body)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def logs(self) -> list[Event]:
        """Return the JSON log lines of all runs so far, oldest first."""
        # Not splitlines(): U+2028 and its like may stand inside a line.
        lines = (line for line in self.output().split("\n") if line.startswith("{"))
        return [event for line in lines if (event := _parse(line)) is not None]

    def events(self, name: str, **fields: object) -> list[Event]:
        """Return the log events of this name that carry these fields."""
        return [event for event in self.logs() if _matches(event, name, fields)]

    def wait_for_event(
        self, name: str, *, deadline_s: float = 30.0, count: int = 1, **fields: object
    ) -> Event:
        """Wait until the event was logged `count` times and return the last one."""
        found = eventually(
            lambda: self.events(name, **fields),
            lambda events: len(events) >= count,
            what=f"log event {name} {fields or ''}",
            deadline_s=deadline_s,
            poll_s=0.02,
        )
        return found[-1]


def _parse(line: str) -> Event | None:
    try:
        event = json.loads(line)
    except ValueError:  # The last line of a process that was killed while writing it.
        return None
    return event if isinstance(event, dict) else None


def _matches(event: Event, name: str, fields: Mapping[str, object]) -> bool:
    return event.get("event") == name and all(event.get(k) == v for k, v in fields.items())


def _sample_name(name: str, labels: Mapping[str, str]) -> str:
    if not labels:
        return name
    inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    return f"{name}{{{inside}}}"


def to_toml(config: Config) -> str:
    """Write nested dicts as TOML: tables, arrays of tables, inline tables below those."""
    blocks: list[str] = []
    for name, section in config.items():
        if isinstance(section, Mapping):
            blocks.append(f"[{name}]\n{_pairs(section)}")
        elif isinstance(section, list) and section and isinstance(section[0], Mapping):
            blocks.extend(f"[[{name}]]\n{_pairs(entry)}" for entry in section)
        else:
            blocks.insert(0, f"{_key(name)} = {_value(section)}\n")
    return "\n".join(blocks)


def _pairs(section: Mapping[str, object]) -> str:
    return "".join(f"{_key(name)} = {_value(value)}\n" for name, value in section.items())


def _key(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str() | Path():
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
        case Mapping():
            inside = ", ".join(f"{_key(str(name))} = {_value(v)}" for name, v in value.items())
            return f"{{ {inside} }}" if inside else "{}"
        case list() | tuple():
            return f"[{', '.join(map(_value, value))}]"
        case _:
            raise TypeError(f"TOML cannot hold {value!r}")
