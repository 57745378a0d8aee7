"""What the command line and the configuration ask of the check, sections of later versions too."""

from typing import Any

from msgspec import Struct

from bridge.config.sections import BridgeConfig

FILL_DEFAULT = 10_000
"""Messages that --fill sends when nobody says how many: a session's default queue holds 1,000."""


class Wishes(Struct, frozen=True, kw_only=True):
    """What the command line asks for."""

    nonce: str
    """Makes the names of this check its own."""
    is_exclusive: bool = False
    """The bridge is stopped, so its own client id may be used."""
    is_fill: bool = False
    fill_messages: int = 0
    """How many messages the MQTT broker's queue must hold; 0 takes what the file says."""
    listen_s: float = 2.0
    """How long to wait for a message through each filter."""


class Later(Struct, frozen=True, kw_only=True):
    """Keys that the configuration may not know yet; absent is as if they were off."""

    share_group: str
    broker_queue_messages: int
    broker_queue_bytes: int
    side_topics: tuple[str, ...]
    """Kafka topics whose records nothing waits for: gaps, alerts."""


def later_keys(config: BridgeConfig) -> Later:
    """Read what there is of them."""
    sections = [getattr(config, name, None) for name in ("silence", "gaps")]
    topics = [_key(section, "kafka_topic", "") for section in sections]
    return Later(
        share_group=_key(config.mqtt, "share_group", ""),
        broker_queue_messages=_key(config.mqtt, "broker_queue_messages", 0),
        broker_queue_bytes=_key(config.mqtt, "broker_queue_bytes", 0),
        side_topics=tuple(topic for topic in topics if topic),
    )


def _key(section: object, name: str, default: Any) -> Any:  # noqa: ANN401  Any TOML value.
    return getattr(section, name, default)
