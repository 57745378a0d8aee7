"""What a callback of the loop raises is told, but for sockets that are closed already."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

from bridge.cli.showcase.publisher import leave_out_closed_sockets


class Loop(asyncio.SelectorEventLoop):
    """asyncio's own loop, which keeps what its default handler would tell."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[dict[str, Any]] = []

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep it."""
        self.told.append(context)


def told_of(callback: Callable[[asyncio.AbstractEventLoop], None]) -> list[dict[str, Any]]:
    loop = Loop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        loop.set_exception_handler(leave_out_closed_sockets)
        loop.call_soon(callback, loop)
        runner.run(asyncio.sleep(0))
    return loop.told


def register_a_closed_socket(loop: asyncio.AbstractEventLoop) -> None:
    with socket.socket() as closed:
        number = closed.fileno()
    loop.add_writer(number, lambda: None)


def fail(_: asyncio.AbstractEventLoop) -> None:
    raise OSError(errno.EIO, "broken")


def test_a_socket_that_is_closed_already_is_not_told() -> None:
    assert [] == told_of(register_a_closed_socket)


def test_whatever_else_a_callback_raises_is_told() -> None:
    assert ["broken"] == [each["exception"].strerror for each in told_of(fail)]
