"""The certificates of the Kafka brokers, seen on connections of our own: librdkafka hides them."""

import socket
import ssl
from collections.abc import Iterator, Mapping
from typing import Any, Final

from bridge.config.addresses import host_and_port
from bridge.config.paths import quoted
from bridge.runtime.live_check import certificate
from bridge.runtime.live_check.certificate import Certificate
from bridge.runtime.live_check.host import judge_certificate
from bridge.runtime.live_check.kafka_points import SAY
from bridge.runtime.live_check.points import Point

_CONNECT_S: Final = 5.0


def judge_kafka_brokers(properties: Mapping[str, Any], now_unix: float) -> Iterator[Point]:
    """Judge the certificate of each bootstrap server, where there is TLS."""
    if "ssl" not in str(properties.get("security.protocol", "plaintext")).lower():
        return
    for server in str(properties["bootstrap.servers"]).split(","):
        name = f"certificate of {quoted(server.strip())}"
        yield judge_certificate(SAY, name, _look(server.strip(), properties), now_unix)


def _look(server: str, properties: Mapping[str, Any]) -> Certificate | str:
    host, port = host_and_port(server)
    try:
        context = _context(properties)
        with (
            socket.create_connection((host, port), _CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as tls,
        ):
            der = tls.getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError as error:
        return f"not accepted: {error.verify_message}"
    except OSError as error:
        return f"not seen: {error}"
    if der is None:
        return "not seen"
    return read_der(der)


def read_der(der: bytes) -> Certificate | str:
    """Read what a peer showed, which may be anything."""
    try:
        return certificate.from_der(der)
    except ValueError as error:
        return f"cannot be read: {error}"


def _context(properties: Mapping[str, Any]) -> ssl.SSLContext:
    """Verify as librdkafka would; our own certificate is shown where the broker wants one."""
    context = ssl.create_default_context(cafile=properties.get("ssl.ca.location") or None)
    if str(properties.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        context.check_hostname = False
    if str(properties.get("enable.ssl.certificate.verification", "true")).lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    cert, key = properties.get("ssl.certificate.location"), properties.get("ssl.key.location")
    if cert and key:
        context.load_cert_chain(str(cert), str(key), properties.get("ssl.key.password", ""))
    return context
