"""A real Mosquitto for the demo: found on PATH, started in a temporary directory."""

import asyncio
import os
import platform
import re
import shutil
import sys
from pathlib import Path

from bridge.cli.showcase.children import Child, free_port
from bridge.errors import UnavailableError

START_TIMEOUT_S = 5.0
"""It accepts connections 12 to 35 ms after its start on two cores."""
START_ATTEMPTS_MAX = 3
"""A free port may be taken by somebody else before Mosquitto has it."""
POLL_S = 0.01

CONFIGURATION = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
# What the bridge has not taken yet waits here; the default, 1,000 messages, drops silently.
max_queued_messages 0
max_inflight_messages 1000
set_tcp_nodelay true
log_dest stderr
{user}"""


def find_mosquitto() -> str:
    """Find the program.

    Raises:
        UnavailableError: there is none; the text names the one command that brings it.
    """
    path = os.environ.get("PATH", os.defpath)
    # Debian keeps it in /usr/sbin, which only root has on PATH, so each bin is looked at with its
    # sbin beside it.
    beside = [
        str(Path(folder).with_name("sbin"))
        for folder in path.split(os.pathsep)
        if Path(folder).name == "bin"
    ]
    program = shutil.which("mosquitto", path=os.pathsep.join((path, *beside)))
    if program is None:
        raise UnavailableError(
            "cannot run the demo without the MQTT broker Mosquitto, which is not on PATH;"
            f" this brings it: {install_command()}"
        )
    return str(Path(program).absolute())


def install_command() -> str:
    """Say how Mosquitto is installed on this system."""
    if sys.platform == "darwin":
        return "brew install mosquitto"
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    family = f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".split()
    command = "apt-get install -y mosquitto"
    for name, its_command in (
        ("debian", "apt-get install -y mosquitto"),
        ("ubuntu", "apt-get install -y mosquitto"),
        ("fedora", "dnf install -y mosquitto"),
        ("rhel", "dnf install -y epel-release mosquitto"),
        ("alpine", "apk add mosquitto"),
        ("arch", "pacman -S mosquitto"),
        ("suse", "zypper install mosquitto"),
    ):
        if name in family:
            command = its_command
            break
    return command if os.geteuid() == 0 else f"sudo {command}"


class Mosquitto:
    """A running Mosquitto on the loopback interface."""

    def __init__(self, child: Child, *, port: int) -> None:
        self.child = child
        self.port = port

    @classmethod
    async def start(cls, program: str, directory: Path) -> "Mosquitto":
        """Start it on a free port and wait until it accepts connections.

        Raises:
            UnavailableError: it does not come up; the text has its last words.
        """
        words: list[str] = []
        for _ in range(START_ATTEMPTS_MAX):
            port = free_port()
            file = directory / "mosquitto.conf"
            # Started by root it would become the user mosquitto, and so lose its tether.
            user = "user root\n" if os.geteuid() == 0 else ""
            file.write_text(CONFIGURATION.format(port=port, user=user), encoding="utf-8")
            child = await Child.start(program, "-c", str(file), log=directory / "mosquitto.log")
            if await _accepts_connections(child, port):
                return cls(child, port=port)
            await child.kill()
            words = child.last_lines(lines_max=3)
        raise UnavailableError(f'could not start "{program}": ' + " / ".join(words))

    @property
    def version(self) -> str:
        """Its version, as it says itself in its log."""
        text = self.child.log.read_text(encoding="utf-8", errors="replace")
        found = re.search(r"mosquitto version (\S+) starting", text)
        return found[1] if found else ""


async def _accepts_connections(child: Child, port: int) -> bool:
    deadline = asyncio.get_running_loop().time() + START_TIMEOUT_S
    while child.exit_code is None and asyncio.get_running_loop().time() < deadline:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(POLL_S)
            continue
        writer.close()
        return child.exit_code is None
    return False
