"""Datagram sockets as systemd and its journal have them, with the test at the other end."""

import os
import select
import socket
from pathlib import Path
from typing import Self

from tests.support.eventually import eventually

_BYTES_MAX = 1_048_576
_TIMEOUT_S = 30.0


class DatagramSocket:
    """Receive what a process sends to a path, or to an abstract name (`@name`)."""

    def __init__(self, address: Path | str) -> None:
        self.address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(0)
        self._socket.bind(
            b"\0" + os.fsencode(self.address[1:])
            if self.address.startswith("@")
            else os.fsencode(self.address)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def receive(self) -> bytes:
        """Wait for the next datagram."""
        self._wait()
        return self._socket.recv(_BYTES_MAX)

    def receive_with_files(self) -> tuple[bytes, list[int]]:
        """Wait for the next datagram and the descriptors that came with it."""
        self._wait()
        content, files, _, _ = socket.recv_fds(self._socket, _BYTES_MAX, 4)
        return content, files

    def receive_waiting(self) -> list[bytes]:
        """Return what has come so far and was not received."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(_BYTES_MAX))
            except BlockingIOError:
                return found

    def _wait(self) -> None:
        readable, _, _ = select.select([self._socket], [], [], _TIMEOUT_S)
        assert readable, f"nothing came to {self.address} in {_TIMEOUT_S} s"

    def close(self) -> None:
        """Let go of the address."""
        self._socket.close()


class NotifySocket(DatagramSocket):
    """What systemd would have been told, variable by variable."""

    def __init__(self, address: Path | str) -> None:
        super().__init__(address)
        self.told: list[tuple[str, str]] = []

    def listen(self) -> list[tuple[str, str]]:
        """Take what has come, and return all that was told so far."""
        for datagram in self.receive_waiting():
            for line in datagram.decode().split("\n"):
                name, _, value = line.partition("=")
                self.told.append((name, value))
        return self.told

    def values(self, name: str) -> list[str]:
        """Return every value that a variable was told to have, oldest first."""
        return [value for told, value in self.listen() if told == name]

    def wait_for(self, name: str, *, after: int = 0) -> str:
        """Wait until a variable was told more than `after` times; return its last value."""
        return eventually(
            lambda: self.values(name),
            lambda values: len(values) > after,
            what=f"systemd is told {name}",
        )[-1]
