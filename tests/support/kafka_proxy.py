"""A proxy in front of a whole Kafka cluster, whatever addresses its brokers advertise.

Theory of operation. A client asks any broker for the addresses of all (Metadata, FindCoordinator)
and then connects to those. So the answers are rewritten: each broker gets a proxy of its own, and
the client is told its port instead. Nothing else of the protocol is read but the frames around it,
and which request an answer belongs to. That takes a plaintext link: behind TLS there is nothing to
rewrite.
"""

import threading
from collections.abc import Callable
from typing import Final, TypeAlias

from tests.support.kafka_frames import (
    ANSWER,
    LENGTH,
    REQUEST,
    SIZE,
    read_uvarint,
    skip_tags,
    skip_text,
    take_frames,
    uvarint,
    with_size,
)
from tests.support.tcp_proxy import HOST, Levers, TcpProxy

PRODUCE: Final = 0
METADATA: Final = 3
FIND_COORDINATOR: Final = 10
_METADATA_FLEXIBLE: Final = 9
_FIND_COORDINATOR_FLEXIBLE: Final = 3

Translate: TypeAlias = Callable[[str, int], tuple[str, int]]


class KafkaProxy:
    """Every link to the cluster, under one set of levers; clients take `bootstrap`."""

    def __init__(self, bootstrap: str) -> None:
        self.levers = Levers()
        self.withholds_delivery_reports = False
        """Answers to Produce are lost, all others pass: Kafka is up, and confirms nothing."""
        self.withheld = 0
        """How many of them were lost so far."""
        self._bootstrap = [_split(address) for address in bootstrap.split(",")]
        self._proxies: dict[tuple[str, int], TcpProxy] = {}
        self._lock = threading.Lock()
        self._is_refusing = False

    @property
    def bootstrap(self) -> str:
        """Return what to put into `kafka.bootstrap_servers`."""
        return ",".join(f"{HOST}:{self._lead_to(*each)[1]}" for each in self._bootstrap)

    def start(self) -> "KafkaProxy":
        """Listen for each bootstrap server; returns itself."""
        for each in self._bootstrap:
            self._lead_to(*each)
        return self

    def close(self) -> None:
        """Reset every link and end."""
        for proxy in self._all():
            proxy.close()

    # ------------------------------------------------------------------ levers

    def cut(self) -> int:
        """Reset every link; return how many there were."""
        return sum(proxy.cut() for proxy in self._all())

    def refuse(self) -> None:
        """Take no new connections."""
        self._is_refusing = True
        for proxy in self._all():
            proxy.refuse()

    def swallow(self) -> None:
        """Lose every byte silently, in both directions; the sockets stay open."""
        self.levers.swallows_to_server = self.levers.swallows_to_client = True

    def heal(self) -> None:
        """Undo every lever."""
        self.withholds_delivery_reports = self._is_refusing = False
        for proxy in self._all():
            proxy.heal()

    @property
    def open_links(self) -> int:
        """Count the connections that are open."""
        return sum(proxy.open_links for proxy in self._all())

    @property
    def bytes_to_server(self) -> int:
        """Count what all clients sent to the cluster so far."""
        return sum(proxy.bytes_to_server for proxy in self._all())

    # ------------------------------------------------------------------ brokers

    def _all(self) -> list[TcpProxy]:
        with self._lock:
            return list(self._proxies.values())

    def _lead_to(self, host: str, port: int) -> tuple[str, int]:
        """Return the address that leads to this broker; called on the threads of the proxies."""
        with self._lock:
            proxy = self._proxies.get((host, port))
            if proxy is None:
                proxy = TcpProxy((host, port), levers=self.levers, make_filter=self.make_filter)
                proxy.start()
                if self._is_refusing:
                    proxy.refuse()
                self._proxies[host, port] = proxy
        return HOST, proxy.port

    def make_filter(self) -> "Frames":
        """Return what sees the frames of one more connection."""
        return Frames(self)

    def translate(self, host: str, port: int) -> tuple[str, int]:
        """Return the proxy's address for a broker's."""
        return self._lead_to(host, port)


class Frames:
    """One connection: requests are noted, their answers rewritten, withheld or passed on."""

    def __init__(self, owner: KafkaProxy) -> None:
        self._owner = owner
        self._asked: dict[int, tuple[int, int]] = {}
        self._requests = b""
        self._answers = b""

    def to_server(self, data: bytes) -> bytes:
        """Note which request has which number, and do to it what is to be done to its kind."""
        frames, self._requests = take_frames(self._requests + data)
        for frame in frames:
            _, api, version, number = REQUEST.unpack_from(frame)
            self._asked[number] = (api, version)
        return b"".join(map(self.request, frames))

    def to_client(self, data: bytes) -> bytes:
        """Do to each answer what is to be done to its kind."""
        frames, self._answers = take_frames(self._answers + data)
        return b"".join(map(self.answer, frames))

    def request(self, frame: bytes) -> bytes:
        """Return what goes on of a whole request."""
        return frame

    def answer(self, frame: bytes) -> bytes:
        """Return what goes on of a whole answer."""
        _, number = ANSWER.unpack_from(frame)
        api, version = self._asked.pop(number, (-1, 0))
        if api == PRODUCE and self._owner.withholds_delivery_reports:
            self._owner.withheld += 1
            return b""
        if api == METADATA:
            return rewrite_metadata(frame, version, self._owner.translate)
        if api == FIND_COORDINATOR and version < _FIND_COORDINATOR_FLEXIBLE:
            return rewrite_coordinator(frame, version, self._owner.translate)
        return frame


def rewrite_metadata(frame: bytes, version: int, translate: Translate) -> bytes:
    """Translate the address of each broker in a Metadata answer; the rest stays byte for byte."""
    is_flexible = version >= _METADATA_FLEXIBLE
    at = ANSWER.size + is_flexible + (4 if version >= 3 else 0)
    head = frame[:at]
    if is_flexible:
        brokers, at = read_uvarint(frame, at)
        head += uvarint(brokers)
        brokers -= 1
    else:
        (brokers,) = SIZE.unpack_from(frame, at)
        at += SIZE.size
        head += SIZE.pack(brokers)
    parts = [head]
    for _ in range(brokers):
        part, at = _rewrite_broker(frame, at, translate, is_flexible=is_flexible)
        parts.append(part)
        start = at
        if version >= 1:
            at = skip_text(frame, at, is_flexible=is_flexible)
        if is_flexible:
            at = skip_tags(frame, at)
        parts.append(frame[start:at])
    return with_size(b"".join(parts) + frame[at:])


def rewrite_coordinator(frame: bytes, version: int, translate: Translate) -> bytes:
    """Translate the address in a FindCoordinator answer."""
    at = ANSWER.size + (4 if version >= 1 else 0)
    (error,) = LENGTH.unpack_from(frame, at)
    at += LENGTH.size
    if version >= 1:
        at = skip_text(frame, at, is_flexible=False)
    if error:
        return frame
    part, end = _rewrite_broker(frame, at, translate, is_flexible=False)
    return with_size(frame[:at] + part + frame[end:])


def _rewrite_broker(
    frame: bytes, at: int, translate: Translate, *, is_flexible: bool
) -> tuple[bytes, int]:
    """Rewrite node id, host and port, which stand together everywhere."""
    node = frame[at : at + 4]
    at += 4
    if is_flexible:
        length, at = read_uvarint(frame, at)
        length -= 1
    else:
        (length,) = LENGTH.unpack_from(frame, at)
        at += LENGTH.size
    host = frame[at : at + length].decode()
    at += length
    (port,) = SIZE.unpack_from(frame, at)
    host, port = translate(host, port)
    size = uvarint(len(host) + 1) if is_flexible else LENGTH.pack(len(host))
    return node + size + host.encode() + SIZE.pack(port), at + SIZE.size


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.strip().rpartition(":")
    return host.strip("[]"), int(port)
