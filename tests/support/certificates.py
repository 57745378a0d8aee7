"""Certificates for mutual TLS, made by the script that is shipped: mosquitto/make-certificates."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SCRIPT = PROJECT / "mosquitto" / "make-certificates"


@dataclass(frozen=True)
class Identity:
    """A certificate and the key that proves it."""

    cert_file: Path
    key_file: Path


@dataclass(frozen=True)
class Certificates:
    """One directory that the script has filled: an authority and whom it vouches for."""

    directory: Path

    @property
    def ca_file(self) -> Path:
        """Return the authority's certificate."""
        return self.directory / "ca.crt"

    @property
    def server(self) -> Identity:
        """Return the identity of the MQTT broker."""
        return self._identity("server")

    @property
    def bridge(self) -> Identity:
        """Return the identity of the bridge."""
        return self._identity("mqtt-kafka-bridge")

    def device(self, device_id: str) -> Identity:
        """Return the identity of a device."""
        return self._identity(f"devices/{device_id}")

    def client_context(self, identity: Identity | None) -> ssl.SSLContext:
        """Build TLS as a careful client does: our authority, the host's name, and who we are."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if identity is not None:
            context.load_cert_chain(identity.cert_file, identity.key_file)
        return context

    def _identity(self, name: str) -> Identity:
        return Identity(self.directory / f"{name}.crt", self.directory / f"{name}.key")


def make_certificates(directory: Path, *options: str) -> Certificates:
    """Run the shipped script and return what it made."""
    finished = run_make_certificates(directory, *options)
    assert finished.returncode == 0, finished.stderr
    return Certificates(directory)


def run_make_certificates(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the shipped script, whatever comes of it."""
    return subprocess.run(
        [SCRIPT, *options, directory], capture_output=True, text=True, check=False, timeout=60
    )
