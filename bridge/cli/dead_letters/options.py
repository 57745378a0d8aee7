"""What the commands of `dlq` take on their command line, and what each begins with."""

import argparse
import difflib
import os
import re
from collections.abc import Iterable

import msgspec

from bridge.cli.arguments import add_config, load_from, print_warnings
from bridge.config.paths import quoted
from bridge.config.sections import BridgeConfig
from bridge.errors import UsageError
from bridge.kafka.properties import Properties
from bridge.pipeline.letters.selection import Selection
from bridge.pipeline.timestamps import Timestamp, read_timestamp
from bridge.pipeline.verdict import Reason
from bridge.runtime.kafka_producer import kafka_properties, try_properties

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}").fullmatch


class Prepared(msgspec.Struct, frozen=True):
    """What every command begins with."""

    config: BridgeConfig
    properties: Properties

    @property
    def kafka_topic(self) -> str:
        """Name the dead letter topic."""
        return self.config.dead_letter.kafka_topic


def add_common(parser: argparse.ArgumentParser) -> None:
    """Let a command take a configuration, filters and `--json`."""
    add_config(parser)
    letters = parser.add_argument_group("which dead letters; without an option all")
    letters.add_argument(
        "--reason", action="append", default=[], metavar="REASON", help="repeatable"
    )
    letters.add_argument(
        "--device",
        action="append",
        default=[],
        metavar="ID",
        help="device id, as in the MQTT topic; repeatable",
    )
    letters.add_argument(
        "--since", metavar="TIME", help="received then or later: 2026-11-23, 2026-11-23T17:00:00Z"
    )
    letters.add_argument("--until", metavar="TIME", help="received before then")
    parser.add_argument("--json", action="store_true", help="for programs")


def prepare(arguments: argparse.Namespace) -> Prepared:
    """Load the configuration and let librdkafka judge what is its.

    Raises:
        ConfigError: Something in it is wrong.
    """
    loaded = load_from(arguments)
    properties = kafka_properties(loaded.config, os.environ)
    try_properties(properties)
    print_warnings(loaded.warnings)
    return Prepared(loaded.config, properties)


def selection_from(arguments: argparse.Namespace) -> Selection:
    """Read the filters.

    Raises:
        UsageError: One of them cannot be meant.
    """
    since_us = read_instant("--since", arguments.since)
    until_us = read_instant("--until", arguments.until)
    if since_us is not None and until_us is not None and since_us >= until_us:
        raise UsageError("no time is between --since and --until; put the earlier one in --since")
    return Selection(
        reasons=frozenset(_reasons(arguments.reason)),
        devices=frozenset(arguments.device),
        since_us=since_us,
        until_us=until_us,
        dlq_id=getattr(arguments, "id", None),
    )


def _reasons(asked: Iterable[str]) -> Iterable[str]:
    known = [each.value for each in Reason]
    for reason in asked:
        if reason not in known:
            close = difflib.get_close_matches(reason.lower(), known, n=1)
            hint = f"meant {close[0]}?" if close else f"one of {', '.join(known)}"
            raise UsageError(f"--reason {quoted(reason)} is no reason; {hint}")
        yield reason


def read_instant(option: str, text: str | None) -> int | None:
    """Read a point in time as microseconds since 1970.

    Raises:
        UsageError: It is none, or depends on when it is read.
    """
    if text is None:
        return None
    read = read_timestamp(f"{text}T00:00:00Z" if _DAY(text) else text)
    if not isinstance(read, Timestamp) or read.text is None:
        # A time such as "2h ago" is another one at each run, and a replay could not be resumed.
        raise UsageError(
            f"{option} {quoted(text)} is no time; write it as 2026-11-23 or"
            " 2026-11-23T17:00:00Z (RFC 3339; without a zone it is UTC)"
        )
    return read.measured_at_us
