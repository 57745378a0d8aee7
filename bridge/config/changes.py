"""What differs between two configurations, and how each difference takes hold in a running bridge.

A change is live, renews one of the two links, or waits for a restart. What waits is left out of the
configuration that runs on.
"""

import enum
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import structs

from bridge.config import secrets
from bridge.config.on_disk import PROPERTY_FILES
from bridge.config.paths import KeyPath, key_text, leaves, shown
from bridge.config.rules import secrets_of
from bridge.config.sections import BridgeConfig, KafkaSection, MqttSection

RULE_SECTIONS: Final = ("route", "layout", "protobuf", "validation", "shadow")
"""What a message is judged by."""
_MQTT_LINK: Final = ("username", "password", "tls", "rest_ms")
_KAFKA_LINK: Final = ("username", "password", "properties", "requests_in_flight_max")


class Takes(enum.StrEnum):
    """How a change takes hold."""

    LIVE = "live"
    """With the next message."""
    MQTT_RECONNECT = "mqtt_reconnect"
    """With a new Network Connection of the same session."""
    KAFKA_RECONNECT = "kafka_reconnect"
    """With a new producer, once the old one has delivered what it had."""
    RESTART = "restart"


class Change(msgspec.Struct, frozen=True):
    """One key that has another value."""

    key: str
    """As `route[0].filter`; the name of an array where its length changed."""
    before: str
    after: str
    takes: Takes

    @property
    def text(self) -> str:
        """Say it on one line; secrets are named by their source alone."""
        return f"{self.key}: {self.before} -> {self.after}"


def changes_between(before: BridgeConfig, after: BridgeConfig) -> list[Change]:
    """List every key whose value differs, in the order of the file."""
    old, new = dict(_leaves_of(before)), dict(_leaves_of(after))
    runs_on = dict(_leaves_of(merge(before, after)))
    return [
        Change(
            key_text(path),
            _shown(old, path),
            _shown(new, path),
            _takes(path, is_taken=_value(runs_on, path) == _value(new, path)),
        )
        for path in [*old, *(each for each in new if each not in old)]
        if _value(old, path) != _value(new, path)
    ]


def merge(before: BridgeConfig, after: BridgeConfig) -> BridgeConfig:
    """Take from `after` what a running bridge can take, and from `before` the rest."""
    live = {name: getattr(after, name) for name in (*RULE_SECTIONS, "limits")}
    # The offsets of all devices are judged by it, over days.
    live["validation"] = structs.replace(
        after.validation, clock_offset_max_s=before.validation.clock_offset_max_s
    )
    return structs.replace(
        before,
        **live,
        mqtt=_merge_mqtt(before.mqtt, after.mqtt),
        kafka=_merge_kafka(before.kafka, after.kafka),
        log=structs.replace(before.log, level=after.log.level),
    )


def _merge_mqtt(before: MqttSection, after: MqttSection) -> MqttSection:
    """Credentials go to the broker that they were written for, or wait with its address.

    TLS put on or taken off is another listener, too.
    """
    where = [(each.host, each.port, each.tls is None) for each in (before, after)]
    if where[0] != where[1]:
        return before
    return structs.replace(before, **{name: getattr(after, name) for name in _MQTT_LINK})


def _merge_kafka(before: KafkaSection, after: KafkaSection) -> KafkaSection:
    if before.bootstrap_servers != after.bootstrap_servers:
        return before
    return structs.replace(before, **{name: getattr(after, name) for name in _KAFKA_LINK})


def _takes(path: KeyPath, *, is_taken: bool) -> Takes:
    if not is_taken:
        return Takes.RESTART
    if path[0] == "mqtt":
        return Takes.MQTT_RECONNECT
    return Takes.KAFKA_RECONNECT if path[0] == "kafka" else Takes.LIVE


_ABSENT: Final = object()


def _leaves_of(config: BridgeConfig) -> Iterator[tuple[KeyPath, Any]]:
    return leaves(msgspec.json.decode(msgspec.json.encode(config)))


def _value(tree: Mapping[KeyPath, Any], path: KeyPath) -> Any:  # noqa: ANN401
    return tree.get(path, _ABSENT)


def _shown(tree: Mapping[KeyPath, Any], path: KeyPath) -> str:
    value = _value(tree, path)
    if value is _ABSENT or value is None:
        return "absent"
    if path[-1] in {"file", "env", "credential"}:
        return shown(value, ())  # Of a secret: where it is, which is none.
    if isinstance(value, list):
        return f"[{', '.join(shown(each, path) for each in value[:8])}]"
    return shown(value, path)


class LinkFiles(msgspec.Struct, frozen=True):
    """Files whose content renews a link, the configuration being as it was."""

    mqtt: frozenset[Path]
    kafka: frozenset[Path]


def link_files(config: BridgeConfig, environment: Mapping[str, str]) -> LinkFiles:
    """List them: secrets, keys and certificates.

    Credentials of systemd are among them, for a systemd that refreshes them on a reload; one that
    does not never changes the file.
    """
    found: dict[str | int, set[Path]] = {"mqtt": set(), "kafka": set()}
    for path, secret in secrets_of(config):
        file = secrets.path_of(secret, environment)
        if file is not None and path[0] in found:
            found[path[0]].add(file)
    for path, file in _named_files(config):
        found[path[0]].add(file)
    return LinkFiles(frozenset(found["mqtt"]), frozenset(found["kafka"]))


def _named_files(config: BridgeConfig) -> Iterator[tuple[KeyPath, Path]]:
    for name in ("ca_file", "cert_file", "key_file"):
        file = getattr(config.mqtt.tls, name, None)
        if file is not None:
            yield ("mqtt", "tls", name), Path(file)
    for name in PROPERTY_FILES:
        value = config.kafka.properties.get(name)
        if not isinstance(value, str) or not value:
            continue
        # A directory, or `probe`, is none. What is missing now may be there at the next look.
        if name != "ssl.ca.location" or not (value == "probe" or Path(value).is_dir()):
            yield ("kafka", "properties", name), Path(value)


def rule_files(config: BridgeConfig) -> frozenset[Path]:
    """List the files that messages are judged by, beside the configuration itself."""
    return frozenset(Path(each.descriptor_set) for each in config.protobuf.values())


def renewed_live(config: BridgeConfig) -> list[str]:
    """List the keys whose secret or certificate is renewed while the bridge runs."""
    of_files = [path for path, secret in secrets_of(config) if secret.file is not None]
    return [key_text(path) for path in (*of_files, *(path for path, _ in _named_files(config)))]


def renewed_by_restart(config: BridgeConfig) -> list[str]:
    """List the keys whose secret is read anew by a restart only."""
    return [key_text(path) for path, secret in secrets_of(config) if secret.file is None]
