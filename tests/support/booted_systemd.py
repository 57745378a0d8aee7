"""A booted systemd, in a container without an image: /usr of this machine and nothing else of it.

`systemd-nspawn --volatile=yes` gives an empty /etc and /var, so every boot is a fresh machine. The
network is this machine's: brokers of the test are where its other tests have them.
"""

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psutil

from tests.support.bridge_process import BridgeProcess
from tests.support.eventually import eventually
from tests.support.processes import ChildProcess

PREFIX: Final = "/opt/mqtt-kafka-bridge"
_PACKAGES: Final = "/opt/packages"
"""Where the container sees what the bridge needs: the packages of the interpreter of this run."""
_PYTHON: Final = "/usr/bin/python3"
_BOOT_DEADLINE_S: Final = 120.0
_COMMAND_TIMEOUT_S: Final = 120.0
_CGROUPS: Final = ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup")
_IN_OWN_CGROUP: Final = f"""\
name=$1; shift
for each in {" ".join(_CGROUPS)}; do
    if [ -e "$each/cgroup.procs" ]; then
        mkdir -p "$each/$name" && echo $$ > "$each/$name/cgroup.procs"
    fi
done
exec "$@"
"""
"""Where no systemd of this machine makes cgroups: containers side by side would share theirs."""
_UP: Final = frozenset({"running", "degraded"})


@functools.cache
def missing_for_boot() -> str:
    """Say why no systemd can be booted here; empty when one can."""
    if os.geteuid() != 0:
        return "only root may boot a container"
    for program in ("systemd-nspawn", "nsenter"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    namespaces = ["unshare", "--mount", "--pid", "--fork", "true"]
    if subprocess.run(namespaces, capture_output=True, check=False).returncode:
        return "this machine may not boot a container"
    code = "import ensurepip, sys, venv; print(sys.version_info[:2])"
    found = subprocess.run([_PYTHON, "-c", code], capture_output=True, text=True, check=False)
    if found.stdout.strip() != str(sys.version_info[:2]):
        return f"{_PYTHON} has not the version of this interpreter, or no venv"
    return ""


class BootedSystemd(ChildProcess):
    """One container, from boot to power off; commands are run in it as root."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__("systemd", directory / "systemd.log")
        self._directory = directory
        self._machine = f"bridge-{os.getpid()}"

    def start(self) -> None:
        """Boot, and wait until systemd is up."""
        packages = Path(psutil.__file__).parents[1]
        is_under_systemd = Path("/run/systemd/system").exists()
        shell = [] if is_under_systemd else ["sh", "-c", _IN_OWN_CGROUP, "sh", self._machine]
        self.spawn(
            [
                *shell,
                "systemd-nspawn",
                "--boot",
                "--quiet",
                "--directory=/",
                "--volatile=yes",
                "--register=no",
                *([] if is_under_systemd else ["--keep-unit"]),
                f"--machine={self._machine}",
                "--console=pipe",
                f"--bind-ro={packages}:{_PACKAGES}",
                f"--bind-ro={self._directory}:/mnt",
                "systemd.unit=basic.target",
            ]
        )
        eventually(
            self._state,
            lambda state: state in _UP,
            what="systemd is up",
            deadline_s=_BOOT_DEADLINE_S,
            poll_s=0.2,
        )

    def stop(self, timeout_s: float = 30.0) -> int:
        """Power off, and remove the cgroups that were made for it."""
        exit_code = super().stop(timeout_s)
        for hierarchy in map(Path, _CGROUPS):
            made = hierarchy / self._machine
            for each in sorted(made.glob("**/"), reverse=True):  # The innermost first.
                each.rmdir()
        return exit_code

    def install(self, wheel: Path) -> None:
        """Install the bridge as docs/systemd.md does; its dependencies come from this machine."""
        self.run(_PYTHON, "-m", "venv", "--without-pip", PREFIX)
        self.write(
            f"{PREFIX}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/"
            "packages.pth",
            f"{_PACKAGES}\n",
        )
        self.install_wheel(wheel)
        self.run(f"{PREFIX}/bin/mqtt-kafka-bridge", "install", "--systemd")

    def install_wheel(self, wheel: Path) -> None:
        """Install, or replace, the package itself."""
        pip = ("-m", "pip", "install", "--no-index", "--no-deps", "--force-reinstall")
        self.run(f"{PREFIX}/bin/python", *pip, f"/mnt/{wheel.name}")

    def run(self, *command: str, given: str | None = None, check: bool = True) -> str:
        """Run a command as root of the container; return what it printed."""
        finished = subprocess.run(
            ["nsenter", "--all", "-t", str(self._leader()), "--", *command],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=_COMMAND_TIMEOUT_S,
        )
        printed = finished.stdout + finished.stderr
        assert not check or finished.returncode == 0, f"{command}: {printed}"
        return finished.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file of the container, for root alone where it is a secret."""
        self.run("mkdir", "-p", str(Path(path).parent))
        self.run("sh", "-c", 'cat > "$0"', path, given=text)

    def show(self, unit: str, name: str) -> str:
        """Return a property of a unit."""
        return self.run("systemctl", "show", unit, "--property", name, "--value").strip()

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """Return the entries of the journal that have these fields, oldest first."""
        printed = self.run("journalctl", "--output=json", "--no-pager", "--all", *matches)
        return [json.loads(line) for line in printed.splitlines()]

    def _leader(self) -> int:
        self.assert_alive()
        children = psutil.Process(self.pid).children()
        assert children, "the container has no process yet"
        return children[0].pid

    def _state(self) -> str:
        try:
            return self.run("systemctl", "is-system-running", check=False).strip()
        except AssertionError:
            self.assert_alive()
            return ""


class BridgeUnit(BridgeProcess):
    """The bridge as a unit of a booted systemd; asked over HTTP as any other bridge of a test."""

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        *,
        systemd: BootedSystemd,
        instance: str = "",
    ) -> None:
        super().__init__(directory, {"log": {"format": "auto"}, **config})
        self.systemd = systemd
        self.unit = f"mqtt-kafka-bridge@{instance}" if instance else "mqtt-kafka-bridge"
        self._configuration = f"/etc/mqtt-kafka-bridge/{instance or 'bridge'}.toml"

    def start(self) -> None:
        """Write the configuration and start the unit; returns once it is ready."""
        self.systemd.write(self._configuration, self.config_path.read_text(encoding="utf-8"))
        self.systemd.run("systemctl", "daemon-reload")
        self.systemd.run("systemctl", "start", self.unit)

    def restart(self) -> None:
        """Stop and start the unit, as an upgrade does."""
        self.systemd.run("systemctl", "daemon-reload")
        self.systemd.run("systemctl", "restart", self.unit)

    def reload(self, config: Mapping[str, Any]) -> None:
        """Write another configuration and reload the unit."""
        self.write_config({"log": {"format": "auto"}, **config})
        self.systemd.write(self._configuration, self.config_path.read_text(encoding="utf-8"))
        self.systemd.run("systemctl", "reload", self.unit)

    def stop(self, timeout_s: float = 30.0) -> int:
        """Stop the unit; return the exit code of its main process."""
        del timeout_s  # The unit has its own.
        self.systemd.run("systemctl", "stop", self.unit)
        return int(self.show("ExecMainStatus"))

    def kill(self) -> None:
        """End the unit, and forget that it ever was."""
        self.systemd.run("systemctl", "stop", self.unit, check=False)
        self.systemd.run("systemctl", "reset-failed", self.unit, check=False)

    def drop_in(self, text: str) -> None:
        """Give the unit a drop-in, or none."""
        path = f"/etc/systemd/system/{self.unit}.service.d/test.conf"
        self.systemd.write(path, text)

    def show(self, name: str) -> str:
        """Return a property of the unit."""
        return self.systemd.show(self.unit, name)

    def assert_alive(self) -> None:
        """Raise with the journal of the unit where it is not active."""
        state = self.show("ActiveState")
        if state in {"failed", "inactive"}:
            told = self.systemd.run("journalctl", "--no-pager", "-n", "30", "-u", self.unit)
            raise AssertionError(f"unit {self.unit} is {state}:\n{told}")

    def output(self) -> str:
        """Return nothing: what it says is in the journal."""
        return ""
