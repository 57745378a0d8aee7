"""What needs more than one key, or a deeper look than a bound: each rule with its remedy.

A rule is a function that yields problems and warnings; none reads a file (on_disk.py does).
"""

from collections.abc import Iterator
from pathlib import PurePath
from typing import Final

from bridge.config.addresses import host_and_port, is_host, is_loopback
from bridge.config.librdkafka_properties import LINGERS
from bridge.config.paths import KeyPath, quoted, quoted_path
from bridge.config.problems import Problem
from bridge.config.secrets import named_sources
from bridge.config.sections import BridgeConfig, MqttSection, OpsSection, Route, Secret
from bridge.config.trace_rules import check_trace

MQTT_TOPIC_BYTES_MAX = 65_535
KAFKA_TOPIC_CHARACTERS_MAX = 249
MQTT_TLS_PORT = 8883
FLUSH_RESERVE_S: Final = 5.0
"""The part of the drain budget that the flush to Kafka does not get."""
DEVICE_ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_KAFKA_TOPIC_CHARACTERS = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
)


def check(config: BridgeConfig) -> Iterator[Problem]:
    """Yield everything that is wrong or doubtful in the configuration itself."""
    yield from _check_mqtt(config.mqtt)
    yield from _check_canary(config.mqtt)
    yield from _check_share_group(config)
    yield from _check_secrets(config)
    yield from _check_routes(config)
    yield from _check_route_pairs(config.route)
    yield from _check_dead_letter(config)
    yield from _check_gaps(config)
    yield from _check_spool(config)
    yield from _check_shedding(config)
    yield from check_trace(config.trace)
    yield from _check_ops(config.ops)


def topic_filter_problem(topic_filter: str) -> str | None:
    """Say what keeps this from being the filter of a route: valid, and one + for the device."""
    levels = topic_filter.split("/")
    if levels[0] == "$share":
        problem = (
            "is a shared subscription, which has no order; write the filter alone, and scale out"
            " with one instance for each disjoint filter"
        )
    elif len(topic_filter.encode("utf-8")) > MQTT_TOPIC_BYTES_MAX:
        problem = f"is longer than an MQTT topic filter, {MQTT_TOPIC_BYTES_MAX} bytes; shorten it"
    elif not topic_filter.isprintable():
        problem = "has a control or unprintable character, which MQTT brokers refuse; remove it"
    elif "#" in topic_filter:
        problem = 'has a #, which leaves open where the device id is; write "devices/+/telemetry"'
    elif any("+" in level and level != "+" for level in levels):
        problem = 'has a + beside other characters; it stands alone, as in "devices/+/telemetry"'
    elif levels.count("+") != 1:
        problem = (
            f"has {levels.count('+')} levels +, but exactly one is the device id;"
            ' write "devices/+/telemetry"'
        )
    else:
        return None
    return problem


def kafka_topic_problem(kafka_topic: str) -> str | None:
    """Say what keeps this from being the name of a Kafka topic."""
    if kafka_topic in {".", ".."}:
        return 'is no Kafka topic name; write a name such as "telemetry-raw"'
    if len(kafka_topic) > KAFKA_TOPIC_CHARACTERS_MAX:
        return (
            f"is longer than the {KAFKA_TOPIC_CHARACTERS_MAX} characters of a Kafka topic name;"
            " shorten it"
        )
    strange = sorted(set(kafka_topic) - _KAFKA_TOPIC_CHARACTERS)
    if strange:
        return (
            f"is no Kafka topic name because of {quoted(strange[0])};"
            " it is written with A-Z a-z 0-9 . _ -"
        )
    return None


def _check_mqtt(mqtt: MqttSection) -> Iterator[Problem]:
    if not is_host(mqtt.host):
        yield Problem(
            ("mqtt", "host"),
            f"{quoted(mqtt.host)} is no host name or address;"
            " write it alone, the port stands in mqtt.port, and TLS in mqtt.tls",
        )
    for name in ("client_id", "username"):
        if "\0" in (getattr(mqtt, name) or ""):
            yield Problem(("mqtt", name), "has a NUL character, which MQTT forbids; remove it")
    wildcard = next((each for each in "+#" if each in mqtt.client_id), None)
    if wildcard is not None:
        yield Problem(
            ("mqtt", "client_id"),
            f"{quoted(mqtt.client_id)} holds {quoted(wildcard)}, which MQTT allows in no Topic"
            " Name, and the bridge publishes to bridge/<client_id>/status; choose another name",
        )
    if mqtt.password is not None and mqtt.username is None:
        yield Problem(
            ("mqtt", "password"),
            "there is no mqtt.username to go with it; write one, or remove the password",
            also=(("mqtt", "username"),),
        )
    if mqtt.packet_bytes_max > mqtt.unsettled_bytes_max:
        yield Problem(
            ("mqtt", "packet_bytes_max"),
            f"one packet of {mqtt.packet_bytes_max} bytes is more than mqtt.unsettled_bytes_max"
            f" ({mqtt.unsettled_bytes_max}) lets wait; raise that one, or lower this",
            also=(("mqtt", "unsettled_bytes_max"),),
            is_warning=True,
        )
    if mqtt.tls is None:
        yield from _check_plain_mqtt(mqtt)
        return
    for have, lack in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if getattr(mqtt.tls, have) is not None and getattr(mqtt.tls, lack) is None:
            yield Problem(
                ("mqtt", "tls", have),
                f"there is no mqtt.tls.{lack} to go with it; a certificate and its private key"
                f" come together: write {lack}, or remove {have}",
                also=(("mqtt", "tls", lack),),
            )


def _check_ops(ops: OpsSection) -> Iterator[Problem]:
    try:
        host_and_port(ops.listen, port_min=0)
    except ValueError as error:
        yield Problem(
            ("ops", "listen"),
            f'{quoted(ops.listen)} {error}, for example "127.0.0.1:9464"',
        )
    for index, host in enumerate(ops.hosts):
        if not is_host(host):
            yield Problem(
                ("ops", "hosts", index),
                f"{quoted(host)} is no host name or address; write it alone, without scheme, port"
                ' and brackets, for example "bridge.example.org"',
            )


def _check_shedding(config: BridgeConfig) -> Iterator[Problem]:
    shedding = config.shedding
    if shedding.low_above > shedding.medium_above:
        yield Problem(
            ("shedding", "low_above"),
            f"{shedding.low_above} is more than shedding.medium_above ({shedding.medium_above}), so"
            " medium would be shed before low; lower this one, or raise that",
            also=(("shedding", "medium_above"),),
        )


def _check_canary(mqtt: MqttSection) -> Iterator[Problem]:
    strange = sorted(set(mqtt.canary_device_id) - DEVICE_ID_CHARACTERS)
    if strange:
        yield Problem(
            ("mqtt", "canary_device_id"),
            f"{quoted(mqtt.canary_device_id)} is no device id because of {quoted(strange[0])};"
            " it is written with A-Z a-z 0-9 _ -",
        )


def _check_share_group(config: BridgeConfig) -> Iterator[Problem]:
    group = config.mqtt.share_group
    if not group:
        return
    path: KeyPath = ("mqtt", "share_group")
    strange = next((each for each in group if each in "/+#" or not each.isprintable()), None)
    if strange is not None:
        yield Problem(
            path,
            f"{quoted(group)} holds {quoted(strange)}, which MQTT allows in no share name;"
            " choose another name",
        )
    if config.mqtt.canary_device_id:
        yield Problem(
            ("mqtt", "canary_device_id"),
            "a canary may be dealt to another member of mqtt.share_group, so its absence proves"
            " nothing; remove one of the two",
            also=(path,),
        )
    if config.silence.multiplier and config.silence.source == "mqtt":
        yield Problem(
            ("silence", "source"),
            'a member of mqtt.share_group hears only a part, so "mqtt" judges nobody; write "kafka"'
            " and run `watch`, or silence.multiplier = 0",
            also=(path,),
            is_warning=True,
        )


def _check_plain_mqtt(mqtt: MqttSection) -> Iterator[Problem]:
    about: tuple[KeyPath, ...] = (("mqtt", "tls"), ("mqtt", "host"))
    if mqtt.password is not None and not is_loopback(mqtt.host):
        yield Problem(
            ("mqtt", "password"),
            f"goes to {quoted(mqtt.host)} without TLS, readable on the way; write mqtt.tls = {{}}",
            also=about,
            is_warning=True,
        )
    if mqtt.port == MQTT_TLS_PORT:
        yield Problem(
            ("mqtt", "port"),
            "8883 is the port of MQTT over TLS, but there is no mqtt.tls; write mqtt.tls = {}",
            also=about,
            is_warning=True,
        )


def _check_secrets(config: BridgeConfig) -> Iterator[Problem]:
    for path, secret in secrets_of(config):
        sources = named_sources(secret)
        if len(sources) != 1:
            named = " and ".join(sources) or "none"
            yield Problem(
                path,
                f"a secret names exactly one of file, env or credential, got {named};"
                ' write { file = "..." }',
            )


def secrets_of(config: BridgeConfig) -> Iterator[tuple[KeyPath, Secret]]:
    """Yield every secret of the configuration with its path."""
    if config.mqtt.password is not None:
        yield ("mqtt", "password"), config.mqtt.password
    if config.kafka.password is not None:
        yield ("kafka", "password"), config.kafka.password
    if config.ops.token is not None:
        yield ("ops", "token"), config.ops.token
    for name, value in config.kafka.properties.items():
        if isinstance(value, Secret):
            yield ("kafka", "properties", name), value


def _check_routes(config: BridgeConfig) -> Iterator[Problem]:
    for index, route in enumerate(config.route):
        path: KeyPath = ("route", index)
        if problem := topic_filter_problem(route.filter):
            yield Problem((*path, "filter"), f"{quoted(route.filter)} {problem}")
        if problem := kafka_topic_problem(route.kafka_topic):
            yield Problem((*path, "kafka_topic"), f"{quoted(route.kafka_topic)} {problem}")
        if route.payload_bytes_max > config.mqtt.packet_bytes_max:
            yield Problem(
                (*path, "payload_bytes_max"),
                f"{route.payload_bytes_max} is more than mqtt.packet_bytes_max"
                f" ({config.mqtt.packet_bytes_max}), which is reached first; raise that one too",
                also=(("mqtt", "packet_bytes_max"),),
                is_warning=True,
            )


def _check_route_pairs(routes: tuple[Route, ...]) -> Iterator[Problem]:
    for index, route in enumerate(routes):
        for earlier, other in enumerate(routes[:index]):
            if topic_filter_problem(route.filter) or topic_filter_problem(other.filter):
                continue
            path: KeyPath = ("route", index, "filter")
            also: tuple[KeyPath, ...] = (("route", earlier, "filter"),)
            if route.filter == other.filter:
                yield Problem(
                    path,
                    f"{quoted(route.filter)} is the filter of route[{earlier}] already;"
                    " remove one of the two routes",
                    also,
                )
            elif _overlap(route.filter, other.filter):
                yield Problem(
                    path,
                    f"{quoted(route.filter)} overlaps route[{earlier}].filter"
                    f" {quoted(other.filter)}; a message that matches both may come twice",
                    also,
                    is_warning=True,
                )


def _overlap(one: str, other: str) -> bool:
    levels, others = one.split("/"), other.split("/")
    return len(levels) == len(others) and all(
        a == b or "+" in {a, b} for a, b in zip(levels, others, strict=True)
    )


def _check_dead_letter(config: BridgeConfig) -> Iterator[Problem]:
    path = ("dead_letter", "kafka_topic")
    kafka_topic = config.dead_letter.kafka_topic
    if problem := kafka_topic_problem(kafka_topic):
        yield Problem(path, f"{quoted(kafka_topic)} {problem}")
    for index, route in enumerate(config.route):
        if route.kafka_topic == kafka_topic:
            yield Problem(
                path,
                f"{quoted(kafka_topic)} is the Kafka topic of route[{index}] too, so telemetry and"
                " dead letters could not be told apart; give one of them another topic",
                also=(("route", index, "kafka_topic"),),
            )


def _check_gaps(config: BridgeConfig) -> Iterator[Problem]:
    path = ("gaps", "kafka_topic")
    kafka_topic = config.gaps.kafka_topic
    if problem := kafka_topic_problem(kafka_topic):
        yield Problem(path, f"{quoted(kafka_topic)} {problem}")
    others: list[tuple[KeyPath, str, str]] = [
        (("route", index, "kafka_topic"), f"route[{index}]", route.kafka_topic)
        for index, route in enumerate(config.route)
    ]
    letters = config.dead_letter.kafka_topic
    for other, name, taken in (*others, (("dead_letter", "kafka_topic"), "dead_letter", letters)):
        if taken == kafka_topic:
            yield Problem(
                path,
                f"{quoted(kafka_topic)} is the Kafka topic of {name} too, so gap records would lie"
                " among its records; give one of them another topic",
                also=(other,),
            )


def _check_spool(config: BridgeConfig) -> Iterator[Problem]:
    spool = config.spool
    if spool.directory is not None and not PurePath(spool.directory).is_absolute():
        yield Problem(
            ("spool", "directory"),
            f"{quoted_path(spool.directory)} is relative: started in another directory, the bridge"
            " would not find what it still owes to Kafka; write the whole path",
        )
    if not spool.bytes_max:
        return
    flush_s = config.shutdown.drain_timeout_s - FLUSH_RESERVE_S
    if spool.after_s >= flush_s:
        yield Problem(
            ("spool", "after_s"),
            f"{spool.after_s:g} is not below shutdown.drain_timeout_s less {FLUSH_RESERVE_S:g} s"
            f" ({flush_s:g}): a stop would end before the spool took over; lower it, or raise"
            " shutdown.drain_timeout_s",
            also=(("shutdown", "drain_timeout_s"),),
        )
    yield from _check_linger(config)
    if spool.bytes_max < config.mqtt.unsettled_bytes_max:
        yield Problem(
            ("spool", "bytes_max"),
            f"{spool.bytes_max} is less than mqtt.unsettled_bytes_max"
            f" ({config.mqtt.unsettled_bytes_max}): the spool would be full before it holds what is"
            " under way; raise it, or write 0 for no spool",
            also=(("mqtt", "unsettled_bytes_max"),),
            is_warning=True,
        )


def _check_linger(config: BridgeConfig) -> Iterator[Problem]:
    after_s = config.spool.after_s
    for name in LINGERS:
        linger_ms = config.kafka.properties.get(name)
        try:
            is_too_long = float(str(linger_ms)) >= after_s * 1_000
        except ValueError:
            continue  # It is not there, or kafka_rules says what is wrong with it.
        if is_too_long:
            yield Problem(
                ("kafka", "properties", name),
                f"{linger_ms} ms is not below spool.after_s ({after_s:g}): records that only wait"
                " to be sent would be taken for an outage; lower it",
                also=(("spool", "after_s"),),
                is_warning=True,
            )
