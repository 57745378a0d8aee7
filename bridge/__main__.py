"""argv and exit codes; nothing else."""

import argparse
import errno
import importlib
import os
import select
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from bridge import __version__
from bridge.errors import ConfigError, DiskError, ExitCode, UnavailableError, UsageError

PROGRAM = "mqtt-kafka-bridge"
_STDERR = 2
_INTERRUPTED = 130
"""What a shell reports for a program that Ctrl-C ended: 128 and the number of SIGINT."""

# Each command is the module bridge.cli.<module>; only the one that is asked for is imported, so
# that `--help` and `check` need no Kafka client.
_COMMANDS = {
    "run": ("run", "carry messages from MQTT to Kafka until told to stop"),
    "watch": ("watch", "tell from Kafka which devices fell silent, until told to stop"),
    "check": ("check", "check the configuration, every error at once"),
    "explain": ("explain", "show what would happen to one message; sends nothing"),
    "demo": ("demo", "show the whole way on this machine, with nothing configured"),
    "simulate": ("simulate", "publish as a fleet of devices, good and bad"),
    "follow": ("follow", "tell each message of one device in the log of a running bridge"),
    "top": ("top", "show a running bridge, live"),
    "registry": ("registry", "fill the registry's Kafka topic from a TOML file"),
    "dlq": ("dlq", "count, show and replay dead letters"),
    "install": ("install", "write systemd's units, or the monitoring files"),
    "config": ("config_command", "show the configuration, or the schema of its file"),
    "completion": ("completion", "write what lets a shell complete these commands"),
}
_SERVING = frozenset({"run", "watch"})
"""They run until a signal, so one that comes early shall be no accident either."""


class _Parser(argparse.ArgumentParser):
    """The parser of argparse, but a usage error has the exit code of sysexits.h."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments_text = sys.argv[1:] if argv is None else list(argv)
    if argv is None and _command_in(arguments_text) in _SERVING:
        # Who passes arguments to this function has signals of its own.
        from bridge.runtime import start_signals  # noqa: PLC0415 - other commands need nothing

        start_signals.take()
    _open_closed_streams()
    try:
        _see_that_all_is_text(arguments_text)
        arguments = _build_parser(arguments_text).parse_args(arguments_text)
        code: int = arguments.execute(arguments)
        sys.stdout.flush()
    except ConfigError as error:
        return _refuse(str(error), error.exit_code)
    except (DiskError, UnavailableError, UsageError) as error:
        return _refuse(f"{PROGRAM}: {error}", error.exit_code)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last door
        return _explain(error)
    return code


def _command_in(argv: Sequence[str]) -> str | None:
    return next((word for word in argv if not word.startswith("-")), None)


def _see_that_all_is_text(arguments: Sequence[str]) -> None:
    """Refuse bytes that are no UTF-8 once, and not wherever they end up.

    Raises:
        UsageError: An argument has some; says which.
    """
    for number, argument in enumerate(arguments, start=1):
        if argument.isascii():
            continue
        from bridge.config.paths import is_text  # noqa: PLC0415 - most commands need it later

        if not is_text(argument):
            shown = argument.encode("ascii", "backslashreplace").decode()
            raise UsageError(f'argument {number}, "{shown}", is not UTF-8; write it as text')


def _open_closed_streams() -> None:
    """Give output that was closed at start a place to go; a socket must not get its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def _explain(error: Exception) -> int:
    """Tell a reader that is gone or full from our own bug, which is shown whole."""
    if isinstance(error, BrokenPipeError) and _is_reader_gone():
        return ExitCode.OK
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _refuse(f"{PROGRAM}: output is full: {error.strerror}", ExitCode.UNAVAILABLE)
    traceback.print_exc()
    return _refuse(f"{PROGRAM} {__version__}: this is a bug, please report it", ExitCode.BUG)


def _refuse(text: str, code: int) -> int:
    sys.stderr.write(text + "\n")
    return int(code)


def _is_reader_gone() -> bool:
    """Tell whether the reader of standard output, such as `head`, has had enough."""
    output = sys.stdout.fileno()
    poll = select.poll()
    poll.register(output, select.POLLOUT)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    # Else Python flushes once more at its exit, and complains.
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


def _build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        description="Carry IoT telemetry from MQTT to Kafka; acknowledge only what is safe.",
        epilog="exit codes: 0 stopped cleanly, 64 usage, 69 a needed service refused,"
        " 70 our bug, 74 the disk of the spool is full or failing, 78 configuration",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    asked_for = _command_in(argv)
    if asked_for == "completion":
        parser.set_defaults(parser=parser)  # It tells of every other command.
    for command, (module, summary) in _COMMANDS.items():
        if asked_for in {command, "completion"}:
            importlib.import_module(f"bridge.cli.{module}").add_parser(subparsers)
        else:
            subparsers.add_parser(command, help=summary)
    return parser


if __name__ == "__main__":
    sys.exit(main())
