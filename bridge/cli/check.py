"""`check`: the configuration, every error at once."""

import argparse
import os
import sys

from bridge.cli.arguments import add_config, load_from, print_warnings
from bridge.config.paths import quoted
from bridge.config.sections import BridgeConfig
from bridge.errors import ExitCode
from bridge.runtime.kafka_producer import kafka_properties, try_properties


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Say what `check` takes."""
    parser = subparsers.add_parser(
        "check",
        help="check the configuration, every error at once",
        description="Check the configuration without connecting anywhere: every error at once,"
        " each with its place and a remedy; exit 0 if `run` would take it, else 78.",
    )
    add_config(parser)
    parser.set_defaults(execute=execute)


def execute(arguments: argparse.Namespace) -> int:
    """Check, and say what the configuration would do."""
    loaded = load_from(arguments)
    try_properties(kafka_properties(loaded.config, os.environ))
    print_warnings(loaded.warnings)
    sys.stdout.write("\n".join(_summarise(loaded.config, arguments)) + "\n")
    return ExitCode.OK


def _summarise(config: BridgeConfig, arguments: argparse.Namespace) -> list[str]:
    mqtt = config.mqtt
    tls = "TLS" if mqtt.tls is not None else "no TLS"
    lines = [
        f"ok: config file {quoted(str(arguments.config))}",
        f"  MQTT broker {mqtt.host} port {mqtt.port}, {tls}, client id {quoted(mqtt.client_id)}",
        f"  Kafka cluster {config.kafka.bootstrap_servers}",
    ]
    lines += [
        f"  route {quoted(route.filter)} to Kafka topic {quoted(route.kafka_topic)}"
        for route in config.route
    ]
    lines.append(f"  dead letters to Kafka topic {quoted(config.dead_letter.kafka_topic)}")
    return lines
