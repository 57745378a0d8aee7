"""Errors by who must act, and the exit codes that say so to the shell."""

import enum
from collections.abc import Sequence


class ExitCode(enum.IntEnum):
    """What the process tells its caller; the numbers are those of sysexits.h."""

    OK = 0
    USAGE = 64
    UNAVAILABLE = 69
    """A one-shot command needed a service that refused; `run` never exits with it."""
    BUG = 70
    DISK = 74
    """The disk of the spool is full or failing at a start; another start may do."""
    CONFIGURATION = 78


class BridgeError(Exception):
    """The root of what the bridge raises on purpose."""

    exit_code = ExitCode.BUG


class UsageError(BridgeError):
    """The command line asks for something that does not exist."""

    exit_code = ExitCode.USAGE


class UnavailableError(BridgeError):
    """A service or program that a one-shot command needs is not there."""

    exit_code = ExitCode.UNAVAILABLE


class ConfigError(BridgeError):
    """The operator must change the configuration; every problem found, one line each."""

    exit_code = ExitCode.CONFIGURATION

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class DiskError(BridgeError):
    """The disk is full or failing: no configuration mends it, and another start may do."""

    exit_code = ExitCode.DISK


class PeerError(BridgeError):
    """The MQTT broker broke the protocol: DISCONNECT with `reason_code`, then reconnect."""

    def __init__(self, message: str, *, reason_code: int) -> None:
        super().__init__(message)
        self.reason_code = reason_code
