"""`check`: the configuration, every error at once; `--live`: the promise, on the real brokers."""

import argparse
import json
import os
import secrets as chance
import sys
from collections.abc import Mapping
from pathlib import Path

from bridge.cli.arguments import add_config, load_from, print_warnings
from bridge.cli.dead_letters.options import read_instant
from bridge.config import secrets
from bridge.config.changes import renewed_by_restart, renewed_live
from bridge.config.layout_rules import layout_bytes
from bridge.config.paths import quoted, quoted_path
from bridge.config.sections import BridgeConfig, Route
from bridge.errors import ExitCode, UsageError
from bridge.kafka.properties import Properties
from bridge.runtime.event_loop import choose_loop
from bridge.runtime.kafka_producer import kafka_properties, try_properties
from bridge.runtime.registry_disk import read_registry_file

LISTEN_S = 2.0
LISTEN_MAX_S = 3_600.0
FILL_MAX = 10_000_000
SAMPLE_MAX = 10_000_000
NONCE_BYTES = 8

LIVE = """\
--live proves, point by point, what the promise rests on, and names the first thing that would lose
data, with its remedy. It is harmless on a running system: it has MQTT sessions of its own, which it
removes, produces no record, and never connects as mqtt.client_id while the bridge may be running.
Exit 0: nothing found that would lose data; what is `not proven` could not be looked at.
"""
SAMPLE = """
--sample judges what lies in Kafka as other rules would have, each record at its time of receipt,
and prints what would newly fail or pass by reason, device type and firmware. It only reads: no
consumer group is joined, nothing is committed or produced. Exit 0 whatever differs.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Say what `check` takes."""
    parser = subparsers.add_parser(
        "check",
        help="check the configuration, every error at once",
        description="Check the configuration, connecting nowhere unless asked to: every error at"
        " once, each with its place and a remedy; exit 0 if `run` would take it, else 78.\n\n"
        + LIVE
        + SAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_config(parser)
    parser.add_argument("--live", action="store_true", help="prove the promise on the real brokers")
    live = parser.add_argument_group("with --live")
    live.add_argument(
        "--fill",
        metavar="N",
        nargs="?",
        const=0,
        type=_messages,
        help="also prove that the MQTT broker's queue holds N messages, on a session of its own"
        " (mqtt.broker_queue_messages, else 10000); it takes their room there for the time",
    )
    live.add_argument(
        "--exclusive",
        action="store_true",
        help="the bridge is stopped: use its own client id and session",
    )
    live.add_argument(
        "--listen",
        metavar="SECONDS",
        type=_seconds,
        default=LISTEN_S,
        help="how long to wait for a message through each filter (%(default)s)",
    )
    _add_sample(parser)
    parser.add_argument("--json", action="store_true", help="for programs; with --live or --sample")
    parser.set_defaults(execute=execute)


def _add_sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sample",
        metavar="N",
        type=_samples,
        help="judge the last N records of each Kafka topic by other rules, and print what differs",
    )
    sample = parser.add_argument_group("with --sample")
    sample.add_argument(
        "--topic", metavar="T", help="this Kafka topic alone; default: telemetry and dead letters"
    )
    sample.add_argument(
        "--since", metavar="TIME", help="records from then on: 2026-11-23, 2026-11-23T17:00:00Z"
    )
    sample.add_argument(
        "--against",
        metavar="FILE",
        type=Path,
        help="the configuration in force, with which that of --config is compared; default:"
        " [shadow] of --config is compared with its [validation]",
    )


def _refuse_strays(arguments: argparse.Namespace) -> None:
    """Refuse options that would be ignored."""
    if arguments.live and arguments.sample is not None:
        raise UsageError("--live and --sample are two checks: ask for one at a time")
    alone = {
        "--live": (arguments.live, ("fill", "exclusive")),
        "--sample": (arguments.sample is not None, ("topic", "since", "against")),
    }
    for option, (is_asked, others) in alone.items():
        for other in others:
            given = getattr(arguments, other)
            # Not by equality: 0 is what --fill is without a number.
            if not is_asked and given is not None and given is not False:
                raise UsageError(f"--{other} goes with {option}")
    if arguments.json and not arguments.live and arguments.sample is None:
        raise UsageError("--json goes with --live or --sample")


def execute(arguments: argparse.Namespace) -> int:
    """Check, and say what the configuration would do."""
    _refuse_strays(arguments)
    since_us = read_instant("--since", arguments.since)
    loaded = load_from(arguments)
    properties = kafka_properties(loaded.config, os.environ)
    try_properties(properties)
    choose_loop(os.environ)
    registry = _summarise_registry(loaded.config)
    print_warnings(loaded.warnings)
    if not arguments.json:
        lines = [*_summarise(loaded.config, arguments), *registry]
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
    if arguments.sample is not None:
        # Only here, as below.
        from bridge.cli import check_sample  # noqa: PLC0415

        return check_sample.execute(arguments, loaded.config, properties, since_us)
    if not arguments.live:
        return ExitCode.OK
    return _execute_live(arguments, loaded.config, properties, os.environ)


def _execute_live(
    arguments: argparse.Namespace,
    config: BridgeConfig,
    properties: Properties,
    environment: Mapping[str, str],
) -> int:
    # Only here: what talks to brokers is slow to import.
    from bridge.runtime.live_check import points  # noqa: PLC0415
    from bridge.runtime.live_check.looking import look  # noqa: PLC0415
    from bridge.runtime.live_check.wanted import Wishes  # noqa: PLC0415

    password = config.mqtt.password
    wishes = Wishes(
        nonce=chance.token_hex(NONCE_BYTES),
        is_exclusive=arguments.exclusive,
        is_fill=arguments.fill is not None,
        fill_messages=arguments.fill or 0,
        listen_s=arguments.listen,
    )
    found = look(
        config,
        wishes,
        mqtt_password=None if password is None else secrets.read(password, environment),
        kafka_properties=properties,
        environment=environment,
    )
    if arguments.json:
        tree = {"nonce": wishes.nonce, **points.as_tree(found)}
        sys.stdout.write(json.dumps(tree, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(["", *points.as_lines(found)]) + "\n")
    return points.exit_code(found)


def _messages(text: str) -> int:
    return int(_number(text, 1, FILL_MAX))


def _samples(text: str) -> int:
    return int(_number(text, 1, SAMPLE_MAX))


def _seconds(text: str) -> float:
    return _number(text, 0, LISTEN_MAX_S)


def _number(text: str, low: float, high: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not between {low:g} and {high:g}")
    return number


def _summarise_registry(config: BridgeConfig) -> list[str]:
    """Read the registry file, which `run` would refuse to start with if it is wrong."""
    section = config.registry
    if section is None:
        return ["  no registry: layer 4 is off"]
    if section.file is None:
        return [f"  registry in Kafka topic {quoted(section.kafka_topic or '')}"]
    entries = read_registry_file(Path(section.file))
    return [f"  registry of {len(entries)} devices in file {quoted_path(section.file)}"]


def _summarise_format(route: Route, config: BridgeConfig) -> str:
    """Name what a route's payloads are, where that is not JSON."""
    if route.kind != "telemetry" or route.format == "json":
        return ""
    if route.layout is not None:
        size = layout_bytes(config.layout[route.layout])
        return f", binary of layout {quoted(route.layout)}, {size} bytes"
    if route.format != "protobuf":
        return f", {route.format}"
    if route.protobuf is None:
        return ", protobuf as telemetry.proto has it"
    return f", protobuf messages {quoted(config.protobuf[route.protobuf].message)}"


def _summarise(config: BridgeConfig, arguments: argparse.Namespace) -> list[str]:
    mqtt = config.mqtt
    tls = "TLS" if mqtt.tls is not None else "no TLS"
    lines = [
        f"ok: config file {quoted_path(arguments.config)}",
        f"  MQTT broker {mqtt.host} port {mqtt.port}, {tls}, client id {quoted(mqtt.client_id)}",
        f"  Kafka cluster {config.kafka.bootstrap_servers}",
    ]
    lines += [
        f"  route {quoted(route.filter)} to Kafka topic {quoted(route.kafka_topic)}"
        f"{_summarise_format(route, config)}"
        for route in config.route
    ]
    lines.append(f"  dead letters to Kafka topic {quoted(config.dead_letter.kafka_topic)}")
    spool = config.spool
    if spool.bytes_max:
        where = quoted_path(spool.directory) if spool.directory else "the state directory"
        lines.append(
            f"  spool in {where}, up to {spool.bytes_max} bytes, for what Kafka does not"
            f" confirm within {spool.after_s:g} s"
        )
    else:
        lines.append("  no spool: the MQTT broker's queue holds an outage of Kafka")
    return [*lines, *_summarise_renewals(config)]


def _summarise_renewals(config: BridgeConfig) -> list[str]:
    """Say which secrets and certificates a running bridge takes over when they are renewed."""
    live, by_restart = renewed_live(config), renewed_by_restart(config)
    lines = []
    if live:
        lines.append(f"  renewed while it runs, when the file changes: {', '.join(live)}")
    if by_restart:
        lines.append(f"  renewed by a restart, which loses nothing: {', '.join(by_restart)}")
    return lines
