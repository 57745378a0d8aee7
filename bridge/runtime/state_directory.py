"""Where the bridge keeps what must outlive it: one rule for the spool and the session memory."""

from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final
from urllib.parse import quote

_NAME_CHARACTERS_MAX: Final = 200
"""File systems allow 255 bytes; a client id may have 1,024 characters."""


def state_directory(client_id: str, environment: Mapping[str, str]) -> Path:
    """Name the directory; it need not exist.

    $STATE_DIRECTORY belongs to one unit, so it is taken as it is (systemd may list several, the
    first is ours). The user's own state directory belongs to all bridges of that user, so there
    each client id has its own.
    """
    given = environment.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    users = Path(environment.get("XDG_STATE_HOME", ""))
    if not users.is_absolute():  # The XDG specification says that others are to be ignored.
        users = Path(environment.get("HOME") or "/") / ".local/state"
    return users / "mqtt-kafka-bridge" / _as_file_name(client_id)


def _as_file_name(client_id: str) -> str:
    name = quote(client_id, safe="").replace(".", "%2E")
    if len(name) <= _NAME_CHARACTERS_MAX:
        return name
    return f"{name[:_NAME_CHARACTERS_MAX]}-{blake2b(client_id.encode(), digest_size=8).hexdigest()}"
