"""`simulate`: a fleet of devices, good and bad, against any MQTT broker."""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from bridge.cli.showcase import bounds
from bridge.cli.showcase.fleet import Fleet, Shares
from bridge.cli.showcase.publisher import MqttEndpoint, publish, speak
from bridge.cli.showcase.tally import Tally
from bridge.errors import ExitCode, UsageError

CONNECTIONS_MAX = 4
DESCRIPTION = """\
A device fleet that publishes to devices/<device_id>/telemetry with QoS 1, over MQTT 5. The same
--seed gives the same traffic, but for the timestamps. It ends by itself after --messages or
--duration, else at Ctrl-C; then a summary goes to standard output as one line of JSON.
A password is read from a file, since every user of a machine can read arguments.
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the command line."""
    parser = subparsers.add_parser(
        "simulate",
        help="a device fleet against any MQTT broker",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    broker = parser.add_argument_group("MQTT broker")
    broker.add_argument("--host", default="127.0.0.1", help="name or address (%(default)s)")
    broker.add_argument("--port", type=bounds.port, default=1883, help="TCP port (%(default)s)")
    broker.add_argument("--username", metavar="NAME")
    broker.add_argument("--password-file", type=Path, metavar="FILE")
    broker.add_argument("--tls-ca", type=Path, metavar="FILE", help="PEM; turns TLS on")
    broker.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM, for mutual TLS")
    broker.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM, for mutual TLS")
    fleet = parser.add_argument_group("fleet")
    fleet.add_argument(
        "--devices", type=bounds.devices, default=100, metavar="N", help="(%(default)s)"
    )
    fleet.add_argument(
        "--rate",
        type=bounds.amount,
        default=100.0,
        metavar="R",
        help="messages a second in total; 0: as fast as the MQTT broker takes them (%(default)s)",
    )
    end = fleet.add_mutually_exclusive_group()
    end.add_argument("--messages", type=bounds.count, metavar="N", help="end after so many")
    end.add_argument(
        "--duration", type=bounds.amount, metavar="S", help="end after so many seconds"
    )
    fleet.add_argument("--seed", type=int, default=1, metavar="N", help="(%(default)s)")
    shares = parser.add_argument_group("what goes wrong, as shares from 0 to 1")
    for name, default, meaning in (
        ("malformed", 0.01, "messages that are wrong, in thirteen ways in turn"),
        ("duplicate", 0.0, "messages that repeat the device's last good one byte for byte"),
        ("out-of-range", 0.0, "messages with an impossible temperature"),
        ("drifting", 0.0, "devices whose clock is wrong by up to four minutes"),
        ("silent", 0.0, "devices that speak three times and are not heard of again"),
    ):
        shares.add_argument(
            f"--{name}",
            type=bounds.share,
            default=default,
            metavar="SHARE",
            help=f"{meaning} (%(default)s)",
        )
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Run the fleet until its end, then print the summary.

    Raises:
        UnavailableError: the MQTT broker cannot be reached, or a file cannot be read.
        UsageError: options that contradict each other.
    """
    if arguments.password_file is not None and arguments.username is None:
        raise UsageError("option --password-file needs --username")
    if (arguments.tls_cert is None) != (arguments.tls_key is None):
        raise UsageError("options --tls-cert and --tls-key need each other")
    if arguments.malformed + arguments.duplicate + arguments.out_of_range > 1:
        raise UsageError(
            "options --malformed, --duplicate and --out-of-range add up to more than 1"
        )
    asyncio.run(_simulate(arguments))
    return ExitCode.OK


async def _simulate(arguments: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    fleet = Fleet(devices=arguments.devices, shares=_shares(arguments), seed=arguments.seed)
    tally = Tally()
    started = loop.time()
    duration_s: float | None = arguments.duration

    def is_over() -> bool:
        return stop.is_set() or (duration_s is not None and loop.time() - started >= duration_s)

    messages = speak(
        fleet, rate_per_s=arguments.rate, messages_max=arguments.messages, is_over=is_over
    )
    live = asyncio.create_task(_show_live(tally)) if sys.stderr.isatty() else None
    try:
        await publish(
            messages,
            _endpoint(arguments),
            connections=min(CONNECTIONS_MAX, arguments.devices),
            witness=tally,
        )
    finally:
        if live is not None:
            live.cancel()
            sys.stderr.write("\r\x1b[K")
    elapsed_s = loop.time() - started
    summary = tally.summary() | {
        "devices": len(fleet.devices),
        "devices_drifting": sum(device.clock_drift_s != 0 for device in fleet.devices),
        "devices_silent": sum(device.silent for device in fleet.devices),
        "seed": arguments.seed,
        "duration_s": round(elapsed_s, 3),
        "messages_per_s": round(tally.sent_total / elapsed_s, 1),
    }
    sys.stdout.write(json.dumps(summary) + "\n")


async def _show_live(tally: Tally) -> None:
    before = 0
    while True:
        malformed = sum(tally.by_way.values())
        sys.stderr.write(
            f"\r\x1b[K{tally.sent_total:,} sent, {tally.acknowledged:,} acknowledged,"
            f" {malformed:,} malformed, {tally.sent_total - before:,}/s   Ctrl-C ends it"
        )
        sys.stderr.flush()
        before = tally.sent_total
        await asyncio.sleep(1)


def _shares(arguments: argparse.Namespace) -> Shares:
    return Shares(
        malformed=arguments.malformed,
        duplicate=arguments.duplicate,
        out_of_range=arguments.out_of_range,
        drifting=arguments.drifting,
        silent=arguments.silent,
    )


def _endpoint(arguments: argparse.Namespace) -> MqttEndpoint:
    return MqttEndpoint(
        host=arguments.host,
        port=arguments.port,
        username=arguments.username,
        password_file=arguments.password_file,
        tls_ca=arguments.tls_ca,
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
    )
