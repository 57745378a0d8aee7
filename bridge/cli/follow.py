"""`follow`: each message of one device becomes an event in the log of a running bridge."""

import argparse
import os
import sys
import time
from pathlib import Path

from bridge.cli.arguments import add_config, load_from
from bridge.cli.showcase import bounds
from bridge.config.paths import quoted, quoted_path
from bridge.errors import ExitCode, UnavailableError, UsageError
from bridge.runtime.follow_requests import DEVICE_CHARACTERS_MAX, Request, ask
from bridge.runtime.following import FOLLOW_MAX_S, FOLLOW_S
from bridge.runtime.session_memory import client_id_in
from bridge.runtime.state_directory import state_directory

TAKEN_WITHIN_S = 5.0
"""The bridge looks once a second."""
POLL_S = 0.05
DESCRIPTION = """\
Let a running bridge tell each message of one device in its log, as events message_followed: topic,
packet id, verdict, reason, key, Kafka topic, partition, offset, latency, dead letter id. Other
devices make no noise, whatever log.level says, and the bridge is not restarted. One device at a
time; the next one takes its place. It ends by itself after --for, or with --stop.

The request is a file in the bridge's state directory, so this must run on the same host, as the
user of the bridge or as root.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command line."""
    parser = subparsers.add_parser(
        "follow",
        help="tell each message of one device in the log of a running bridge",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit codes: 0 the bridge took it, 64 usage, 69 no bridge took it, 78 configuration",
    )
    parser.add_argument("device", metavar="DEVICE", nargs="?", type=device_id, help="a device id")
    add_config(parser)
    add_span(parser, "--for")
    parser.add_argument("--stop", action="store_true", help="follow nobody any more")
    parser.add_argument(
        "--state-directory",
        metavar="DIR",
        type=Path,
        help="where the bridge keeps its state, for instance /var/lib/mqtt-kafka-bridge"
        " ($STATE_DIRECTORY, else the user's)",
    )
    parser.set_defaults(execute=execute)


def add_span(parser: argparse.ArgumentParser, option: str) -> None:
    """Let a command take how long a device is followed."""
    parser.add_argument(
        option,
        dest="for_s",
        metavar="S",
        type=_span,
        default=FOLLOW_S,
        help="seconds, at most a day (%(default)g)",
    )


def device_id(text: str) -> str:
    """Read a device id, also one that breaks the rules: just those are worth following."""
    if not 1 <= len(text) <= DEVICE_CHARACTERS_MAX:
        raise argparse.ArgumentTypeError(
            f"a device id has 1 to {DEVICE_CHARACTERS_MAX} characters, got {len(text)}"
        )
    if not text.isprintable():
        raise argparse.ArgumentTypeError("a device id that is followed has no control characters")
    return text


def _span(text: str) -> float:
    value = bounds.amount(text)
    if not 0 < value <= FOLLOW_MAX_S:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and up to {FOLLOW_MAX_S:.0f}")
    return value


def execute(arguments: argparse.Namespace) -> int:
    """Leave the request, and wait until the bridge took it.

    Raises:
        ConfigError: The configuration cannot be read.
        UsageError: Neither a device nor --stop.
        UnavailableError: No bridge took it.
    """
    if arguments.stop == (arguments.device is not None):
        raise UsageError("follow takes one of DEVICE and --stop")
    config = load_from(arguments, reads_files=False).config
    directory: Path = arguments.state_directory or state_directory(
        config.mqtt.client_id, os.environ
    )
    where = f"state directory {quoted_path(directory)}"
    owner = client_id_in(directory)
    if owner not in (None, config.mqtt.client_id):
        raise UnavailableError(
            f"{where} is that of client id {quoted(owner)}, not"
            f" {quoted(config.mqtt.client_id)} of the configuration; name both of the"
            " same bridge with --config and --state-directory"
        )
    try:
        path = ask(directory, Request(arguments.device, arguments.for_s))
    except OSError as error:
        raise UnavailableError(
            f"cannot ask the bridge: {where}: {(error.strerror or str(error)).lower()}; run this as"
            " the user of the bridge or as root, and name its directory with --state-directory"
        ) from None
    if not _is_taken(path):
        raise UnavailableError(
            f"no bridge took the request from {where} within {TAKEN_WITHIN_S:.0f} s; is it running,"
            " and is this its directory? (--state-directory)"
        )
    if arguments.stop:
        sys.stdout.write("nobody is followed any more\n")
    else:
        sys.stdout.write(
            f"following {quoted(arguments.device)} for {arguments.for_s:g} s:"
            " look for message_followed in the log of the bridge\n"
        )
    return ExitCode.OK


def _is_taken(path: Path) -> bool:
    """Wait for the bridge; a request that nobody took must not wait for one that starts later."""
    ends_s = time.monotonic() + TAKEN_WITHIN_S
    while path.exists():
        if time.monotonic() >= ends_s:
            path.unlink(missing_ok=True)
            return False
        time.sleep(POLL_S)
    return True
