"""A real Mosquitto under the test's hand."""

import getpass
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from string import Template

from tests.support.processes import ChildProcess, free_port

DEFAULT_CONFIG = """\
listener $port 127.0.0.1
user $user
allow_anonymous true
set_tcp_nodelay true
max_queued_messages 0
max_queued_bytes 0
max_inflight_messages 0
persistence true
persistence_location $directory/
persistent_client_expiration 1d
sys_interval 1
log_dest stdout
log_type all
log_timestamp_format %Y-%m-%dT%H:%M:%S
"""

# Persistence is a snapshot: only written at every change does it outlive a SIGKILL.
DURABLE = """\
autosave_on_changes true
autosave_interval 1
"""


@cache
def find_mosquitto() -> Path | None:
    """Find the broker on PATH or where Debian keeps it, outside an ordinary user's PATH."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    return Path(found) if found else None


@cache
def mosquitto_version() -> str:
    """Return the version that the broker reports of itself."""
    program = find_mosquitto()
    assert program is not None
    printed = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"mosquitto version (\S+)", printed)
    return found.group(1) if found else "of unknown version"


class MosquittoProcess(ChildProcess):
    """One Mosquitto: the port and the persistence directory survive `kill` and `start`.

    `config` replaces the default configuration and may hold `$port`, `$directory` and `$user`;
    `extra` is appended to either. `config_path` is run as it is, and then `port` says where.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        *,
        config: str = DEFAULT_CONFIG,
        extra: str = "",
        config_path: Path | None = None,
        port: int | None = None,
    ) -> None:
        super().__init__("mosquitto", directory / "mosquitto.log")
        self.directory = directory
        self.port = port or free_port()
        directory.mkdir(parents=True, exist_ok=True)
        self.config_path = config_path or self._write_config(config + extra)

    def _write_config(self, template: str) -> Path:
        text = Template(template).substitute(
            port=self.port, directory=self.directory, user=_user_name()
        )
        path = self.directory / "mosquitto.conf"
        path.write_text(text, encoding="utf-8")
        return path

    def start(self) -> None:
        """Start the broker and wait until it accepts connections (some 20 ms)."""
        program = find_mosquitto()
        assert program is not None, "mosquitto is not installed"
        self.spawn([program, "-c", self.config_path], cwd=self.directory)
        self.await_accept(self.port)

    def restart(self) -> None:
        """Stop in good order, which saves the persistence file, and start again."""
        self.stop()
        self.start()


def _user_name() -> str:
    """Name ourselves: started as root, Mosquitto else becomes a user who may not write here."""
    return "root" if os.geteuid() == 0 else getpass.getuser()
