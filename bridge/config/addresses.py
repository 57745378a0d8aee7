"""Addresses as people write them: host:port, with brackets around IPv6."""

import ipaddress
import re

PORT_MAX = 65_535
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
"""63 characters at most (RFC 1035, 2.3.4): a longer one, or an empty one, cannot be looked up."""
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")


def host_and_port(text: str, *, port_min: int = 1) -> tuple[str, int]:
    """Split `host:port`; brackets around an IPv6 address go.

    Raises:
        ValueError: the text is no such address; says what is wrong and how it is written.
    """
    host, colon, port_text = text.rpartition(":")
    if not colon or not host or text.endswith("]"):
        raise ValueError('has no host and port; write "host:port", or "[::1]:port" for IPv6')
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not _is_address(host):
            raise ValueError("has no IPv6 address between its brackets")
    elif ":" in host:
        raise ValueError('an IPv6 address needs brackets; write "[::1]:port"')
    elif not _HOST_NAME.fullmatch(host):
        raise ValueError('has a host that is no name or address; write "host:port"')
    if not (port_text.isascii() and port_text.isdigit() and len(port_text) <= len(str(PORT_MAX))):
        raise ValueError("has a port that is no number")
    port = int(port_text)
    if not port_min <= port <= PORT_MAX:
        raise ValueError(f"has a port that is not between {port_min} and {PORT_MAX}")
    return host, port


def is_host(text: str) -> bool:
    """Tell whether text is a bare host name or address, without port, scheme or brackets."""
    return _is_address(text) or _HOST_NAME.fullmatch(text) is not None


def is_loopback(host: str) -> bool:
    """Tell whether a connection to this host stays on this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
