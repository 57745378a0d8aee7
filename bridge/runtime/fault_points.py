"""Points at which a test may kill, fail or stall the bridge: off unless the environment arms them.

Theory of operation. Code that promises something about a moment calls `reach` with the name of
that moment. Off, that is one look at a variable of this module. `arm` reads the environment once,
at the start, before anything runs that could reach a point:

    BRIDGE_FAULT_POINTS="spool_committed=kill@3,loop=stall:60"

`kill` is SIGKILL to ourselves: nothing is flushed. `raise` raises `InjectedFaultError`.
`stall:SECONDS` blocks the thread that reached the point. `miscount`, at `loop` only, counts one
message that never was, so that the alarm of the books can be heard. With `@N` it happens at the
N-th time and only then, without at every time. What is unknown is refused: a test whose fault
never happens would prove nothing.
"""

import os
import re
import signal
import threading
import time
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, cast

import msgspec

from bridge.errors import BridgeError, ConfigError

Action: TypeAlias = Literal["kill", "raise", "stall", "miscount"]

VARIABLE: Final = "BRIDGE_FAULT_POINTS"
POINTS: Final = frozenset(
    {
        "spool_commit",  # On the disk thread: before the fdatasync of a commit.
        "spool_committed",  # On the disk thread: after it, before any receipt is settled.
        "delivery_reported",  # Kafka's reports are there, and nothing was made of them yet.
        "puback_flushed",  # PUBACKs were handed to the socket.
        "replay_written",  # Of `dlq replay`: a transaction is whole, and not committed.
        "replay_committed",  # Of `dlq replay`: after the commit.
        "loop",  # Once a second, on the event loop.
    }
)
STALL_S_MAX: Final = 3_600.0
_FAULT: Final = re.compile(
    r"(?P<point>\w+)=(?P<action>kill|raise|stall|miscount)"
    r"(?::(?P<seconds>\d+(?:\.\d+)?))?(?:@(?P<at>[1-9]\d*))?"
)


class InjectedFaultError(BridgeError):
    """What `raise` raises."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What happens at one point."""

    point: str
    action: Action
    stall_s: float = 0.0
    at: int | None = None
    """The number of the time; None: every time."""

    def happen(self) -> bool:
        """Do it, or tell that the caller is to do it.

        Raises:
            InjectedFaultError: The action is to raise.
        """
        match self.action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "raise":
                raise InjectedFaultError(f"fault point {self.point!r} was reached")
            case "stall":
                time.sleep(self.stall_s)
            case "miscount":
                return True
        return False


class FaultPoints:
    """The armed points, and how often each was reached; any thread may reach one."""

    def __init__(self, faults: Mapping[str, Fault]) -> None:
        self._faults = dict(faults)
        self._times = dict.fromkeys(faults, 0)
        self._lock = threading.Lock()

    def reach(self, point: str) -> bool:
        """Count this time, and let the fault happen if it is its turn; True: miscount."""
        assert point in POINTS, f"fault point {point!r} is not in the list"
        fault = self._faults.get(point)
        if fault is None:
            return False
        with self._lock:
            self._times[point] += 1
            times = self._times[point]
        return (fault.at is None or fault.at == times) and fault.happen()


_armed: FaultPoints | None = None


def reach(point: str) -> bool:
    """Say that this point is reached: nothing happens unless a test has armed it.

    True where the caller is to miscount.
    """
    return _armed is not None and _armed.reach(point)


def arm(environment: Mapping[str, str]) -> list[Fault]:
    """Arm what the environment names, for the life of the process; return it, to be told.

    Raises:
        ConfigError: The variable names a point or an action that does not exist.
    """
    global _armed  # noqa: PLW0603  the one switch, so that `reach` costs one look
    faults = parse(environment.get(VARIABLE, ""))
    _armed = FaultPoints(faults) if faults else None
    return list(faults.values())


def parse(text: str) -> dict[str, Fault]:
    """Read the faults by their points; an empty text has none.

    Raises:
        ConfigError: One line for each fault that cannot be understood.
    """
    faults: dict[str, Fault] = {}
    problems: list[str] = []
    for word in text.split(",") if text else []:
        try:
            fault = _parse_fault(word.strip())
        except ValueError as error:
            problems.append(f"environment variable {VARIABLE}: {error}")
            continue
        if fault.point in faults:
            problems.append(
                f"environment variable {VARIABLE}: {word.strip()!r}: {fault.point} stands twice"
            )
        faults[fault.point] = fault
    if problems:
        raise ConfigError(problems)
    return faults


def _parse_fault(word: str) -> Fault:
    found = _FAULT.fullmatch(word)
    if found is None:
        raise ValueError(
            f"{word!r} is not POINT=ACTION, where ACTION is kill, raise, stall:SECONDS or miscount,"
            " with @N for the N-th time alone"
        )
    point, action, seconds = found["point"], found["action"], found["seconds"]
    if point not in POINTS:
        raise ValueError(f"{word!r}: no such point; there are {', '.join(sorted(POINTS))}")
    if action == "miscount" and point != "loop":
        raise ValueError(f"{word!r}: only loop can miscount")
    if (seconds is not None) != (action == "stall"):
        raise ValueError(f"{word!r}: stall has seconds, as stall:0.5, and no other action has")
    stall_s = float(seconds or 0)
    if stall_s > STALL_S_MAX:
        raise ValueError(f"{word!r}: no stall is longer than {STALL_S_MAX:.0f} s")
    at = None if found["at"] is None else int(found["at"])
    return Fault(point=point, action=cast("Action", action), stall_s=stall_s, at=at)
