"""What systemd is told of this process: ready, waiting, alive, reloading, stopping.

Theory of operation. systemd gives the address of a datagram socket in `$NOTIFY_SOCKET` and, where
the unit has `WatchdogSec=`, the time after which it kills a silent process in `$WATCHDOG_USEC`.
Without the first, all of this is silent. Nothing here waits or raises. READY, RELOADING and
STOPPING change what systemd believes of the unit, so what its socket does not take at once is kept
and sent later, in order; of STATUS and WATCHDOG only the newest counts.

The watchdog is fed from the event loop and by the rule of `/health/live`. A loop that is blocked
cannot feed; a bridge that has work, a willing peer and no progress does not. systemd then ends it
with SIGABRT and starts it again; what was not acknowledged comes again from the MQTT broker.
"""

import asyncio
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bridge.observe.text import printable
from bridge.runtime import clock

STATUS_S: Final = 5.0
"""A status is for people: not written more often than this."""
STATUS_CHARACTERS_MAX: Final = 512
WATCHDOG_S_MIN: Final = 0.01
"""A shorter watchdog is a mistake, and feeding it would take the loop from the messages."""
STOP_MARGIN_S: Final = 10.0
"""What a stop needs beyond its budget: closing the files, and the end of the interpreter."""
OWED_MAX: Final = 16
"""Notices that a full socket did not take; a bridge makes fewer than that."""
_IS_COUNT: Final = re.compile(r"[0-9]{1,18}").fullmatch


class Notices:
    """Send notices to systemd, or to nobody.

    Invariant: what is sent is one line of printable text for each variable, so that no text from
    outside can set another one (a `MAINPID=` in the reason of an MQTT broker, for instance).
    """

    def __init__(self, address: str | None) -> None:
        self._address = _socket_address(address)
        self._owed: list[bytes] = []
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(0)

    @property
    def is_heard(self) -> bool:
        """True when there is somebody to tell."""
        return self._socket is not None

    def send(self, *lines: str) -> None:
        """Send variables, `NAME=value` each; those that must arrive."""
        if self._socket is None:
            return
        self._owed = [*self._owed, _datagram(lines)][-OWED_MAX:]
        self.flush()

    def try_to_send(self, *lines: str) -> None:
        """Send variables that the next time replaces; behind those that must arrive."""
        if self.flush():
            self._put(_datagram(lines))

    def flush(self) -> bool:
        """Send what is owed; tell whether nothing is owed any more."""
        while self._owed:
            if not self._put(self._owed[0]):
                return False
            self._owed.pop(0)
        return True

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _put(self, datagram: bytes) -> bool:
        if self._socket is None or self._address is None:
            return True
        try:
            # Not connected: systemd makes the socket anew when it executes itself again.
            self._socket.sendto(datagram, self._address)
        except OSError:
            return False
        return True


class Supervisor:
    """Say each thing when it is due; `tick` about once a second, `feed` as a task."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        process_id: int | None = None,
        monotonic_s: Callable[[], float] = clock.monotonic_s,
    ) -> None:
        self._notices = Notices(environment.get("NOTIFY_SOCKET"))
        self._monotonic_s = monotonic_s
        self._status = ""
        self._told_s = 0.0
        self.watchdog_s: float | None = None
        """How long systemd lets this process be silent; None: it does not watch."""
        if self._notices.is_heard:
            self.watchdog_s = _watchdog_s(environment, process_id or os.getpid())

    # ------------------------------------------------------------------ the states

    def starting(self) -> None:
        """Tell what takes so long, if it does: a large spool, mostly."""
        self._notices.try_to_send("STATUS=starting: reads what it kept on disk")

    def ready(self, status: str) -> None:
        """Tell that the bridge is up, or done with reloading; what it waits for is the status."""
        self._note_status(status)
        self._notices.send("READY=1", f"STATUS={self._status}")

    def reloading(self) -> None:
        """Tell that the configuration is read anew; `ready` ends it, whether it was taken or not.

        systemd 253 and later (`Type=notify-reload`) wants to know the moment, to tell this answer
        from one to an earlier signal.
        """
        self._notices.send("RELOADING=1", f"MONOTONIC_USEC={int(self._monotonic_s() * 1e6)}")

    def stopping(self, *, budget_s: float, status: str) -> None:
        """Tell that the bridge stops, and how long that may take whatever `TimeoutStopSec` says."""
        self._note_status(status)
        extended_us = int((budget_s + STOP_MARGIN_S) * 1e6)
        self._notices.send(
            "STOPPING=1", f"EXTEND_TIMEOUT_USEC={extended_us}", f"STATUS={self._status}"
        )

    # ------------------------------------------------------------------ again and again

    def tick(self, status: Callable[[], str]) -> None:
        """Send what is owed, and a new status if it is time for one."""
        if not self._notices.is_heard:
            return
        self._notices.flush()
        now = self._monotonic_s()
        if now - self._told_s < STATUS_S:
            return
        before = self._status
        self._note_status(status())
        if self._status != before:
            self._notices.try_to_send(f"STATUS={self._status}")

    async def feed(self, is_live: Callable[[], bool]) -> None:
        """Feed the watchdog while `/health/live` would say yes, twice in its time; for ever."""
        if self.watchdog_s is None:
            return
        while True:
            if is_live():
                self._notices.try_to_send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / 2)

    def close(self) -> None:
        """Let go of the socket; what is still owed is tried once more."""
        self._notices.flush()
        self._notices.close()

    def _note_status(self, status: str) -> None:
        self._status = printable(status, STATUS_CHARACTERS_MAX)
        self._told_s = self._monotonic_s()


def _socket_address(given: str | None) -> bytes | None:
    """Return the address in the form of the kernel; None for none, and for one we cannot speak to.

    systemd writes the NUL of an abstract address as `@`.
    """
    if not given or given[0] not in "/@" or len(given) < len("/x"):
        return None
    address = os.fsencode(given)
    return b"\0" + address[1:] if given[0] == "@" else address


def _watchdog_s(environment: Mapping[str, str], process_id: int) -> float | None:
    """Return the time that `$WATCHDOG_USEC` gives, unless it is meant for another process."""
    given = environment.get("WATCHDOG_USEC", "")
    meant_for = environment.get("WATCHDOG_PID") or str(process_id)
    if meant_for != str(process_id) or not _IS_COUNT(given) or not int(given):
        return None
    return max(WATCHDOG_S_MIN, int(given) / 1e6)


def _datagram(lines: Sequence[str]) -> bytes:
    assert not any("\n" in line for line in lines), "a notice is one line for each variable"
    return "\n".join(lines).encode()
