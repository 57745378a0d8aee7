"""The Mosquitto configuration that is shipped for production, with the paths of this machine."""

import getpass
from pathlib import Path
from typing import Any

from tests.support.certificates import PROJECT, Certificates
from tests.support.processes import free_port

SHIPPED = PROJECT / "mosquitto"


def as_shipped(certificates: Certificates, directory: Path) -> dict[str, Any]:
    """Write it for a broker in this directory; return what `MosquittoProcess` is to be given."""
    port = free_port()
    data = directory / "data"
    data.mkdir(parents=True)
    text = (SHIPPED / "production.conf").read_text(encoding="utf-8")
    for shipped, here in {
        "\nlistener 8883\n": f"\nlistener {port} 127.0.0.1\n",
        "/mosquitto/certificates/": f"{certificates.directory}/",
        "/mosquitto/config/": f"{SHIPPED}/",
        "/mosquitto/data/": f"{data}/",
    }.items():
        assert shipped in text, f"{shipped!r} is not in the shipped configuration any more"
        text = text.replace(shipped, here)
    path = directory / "production.conf"
    path.write_text(f"{text}\nuser {getpass.getuser()}\n", encoding="utf-8")
    return {"config_path": path, "port": port}
