"""What this machine must have: a clock that is set, certificates that hold."""

import http.client
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from bridge.config.addresses import host_and_port
from bridge.config.on_disk import PEM_BYTES_MAX
from bridge.config.regular_files import open_regular
from bridge.config.sections import BridgeConfig
from bridge.runtime.kernel_clock import ask_kernel
from bridge.runtime.live_check import certificate
from bridge.runtime.live_check.certificate import Certificate
from bridge.runtime.live_check.points import Group, Point, Scribe
from bridge.runtime.session_memory import FILE_NAME, Remembered
from bridge.runtime.state_directory import state_directory

SAY: Final = Scribe(Group.HOST)
SOON_DAYS: Final = 21.0
"""Time enough to renew a certificate by hand."""
_HTTP_S: Final = 1.0


def judge_certificate(
    scribe: Scribe, name: str, found: Certificate | str, now_unix: float
) -> Point:
    """Tell how many days it has; `found` is a text where it could not be read."""
    if isinstance(found, str):
        return scribe.not_proven(name, found, "look at it with openssl x509 -enddate")
    days = found.days_left(now_unix)
    if days <= 0:
        return scribe.wrong(name, f"ended {-days:.1f} days ago", "renew it")
    value = f"{days:.1f} days left"
    if days < SOON_DAYS:
        return scribe.warn(name, value, "renew it now: with its end the connection ends")
    return scribe.ok(name, value)


def read_certificate(file: str) -> Certificate | str:
    """Read our own certificate, or say why that cannot be."""
    try:
        with open_regular(Path(file)) as opened:
            text = opened.read(PEM_BYTES_MAX).decode("ascii", errors="replace")
        return certificate.from_pem(text)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError as error:
        return f"cannot be read: {error}"


def own_certificates(config: BridgeConfig, now_unix: float) -> Iterator[Point]:
    """Judge the certificates that the bridge shows to others."""
    files: dict[str, str] = {}
    if config.mqtt.tls is not None and config.mqtt.tls.cert_file is not None:
        files["certificate mqtt.tls.cert_file"] = config.mqtt.tls.cert_file
    kafka_file = config.kafka.properties.get("ssl.certificate.location")
    if isinstance(kafka_file, str) and kafka_file:
        files["certificate ssl.certificate.location"] = kafka_file
    for name, file in files.items():
        yield judge_certificate(SAY, name, read_certificate(file), now_unix)


def read_canary_key(config: BridgeConfig, environment: Mapping[str, str]) -> bytes | None:
    """Read the key by which a running bridge knows its own canaries; None where there is none."""
    path = state_directory(config.mqtt.client_id, environment) / FILE_NAME
    try:
        with open_regular(path) as opened:
            remembered = msgspec.json.decode(opened.read(), type=Remembered)
        return bytes.fromhex(remembered.canary_key) or None
    except (OSError, ValueError):  # msgspec's errors are among the latter.
        return None


def judge_clock() -> Point:
    """Ask the kernel whether somebody keeps its clock; Kafka and MQTT tell no time."""
    name = "clock"
    remedy = "see to NTP (timedatectl status): timestamps are judged by this clock"
    if not sys.platform.startswith("linux"):
        return SAY.not_proven(name, "only Linux tells whether it is synchronised", remedy)
    found = ask_kernel()
    if found is None:
        return SAY.not_proven(name, "the kernel does not say whether it is synchronised", remedy)
    if not found.is_kept:
        return SAY.warn(name, "the kernel says that it is not synchronised", remedy)
    return SAY.ok(name, f"synchronised, wrong by at most {found.max_error_s:.3f} s")


def bridge_is_running(config: BridgeConfig) -> bool:
    """Tell whether something answers on the ops port of this very configuration."""
    host, port = host_and_port(config.ops.listen, port_min=0)
    if port == 0:
        return False  # It took a free one, and only its log knows which.
    connection = http.client.HTTPConnection(host, port, timeout=_HTTP_S)
    try:
        connection.request("GET", "/health/live")
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
    return True


def now_unix() -> float:
    """Return the wall clock."""
    return time.time()
