"""What a replay must know before it writes: the registry, and what the telemetry topics have."""

import time
from pathlib import Path

from bridge.config.sections import BridgeConfig
from bridge.errors import UnavailableError
from bridge.fleet.dedup_window import DedupWindow, Kind
from bridge.fleet.registry import Registry
from bridge.kafka.properties import Properties
from bridge.runtime.kafka_tail import KafkaTail, TailForbiddenError, TailUnavailableError, Window
from bridge.runtime.registry_disk import read_registry_file
from bridge.runtime.registry_filling import read_topic


def read_registry(config: BridgeConfig, properties: Properties) -> Registry:
    """Read the registry from where the configuration has it; without one, one that knows nothing.

    Raises:
        ConfigError: The file is wrong.
        UnavailableError: The topic cannot be read: judged without it, letters would pass.
    """
    registry, section = Registry(), config.registry
    if section is None:
        return registry
    if section.file is not None:
        registry.replace(read_registry_file(Path(section.file)))
    elif section.kafka_topic is not None:
        registry.replace(read_topic(properties, section.kafka_topic))
    return registry


def read_known(config: BridgeConfig, properties: Properties) -> DedupWindow | None:
    """Read the idempotency keys that a bridge would know at its start; None where it is off.

    Raises:
        UnavailableError: They cannot be read: replayed without them, letters could be doubled.
    """
    section, records = config.dedup, 2 * config.mqtt.unsettled_max
    if not section.keys_max:
        return None
    topics = {route.kafka_topic: Kind.TELEMETRY for route in config.route}
    window = Window(ttl_s=section.ttl_s, keys_max=section.keys_max, keys_min=records)
    try:
        tail = KafkaTail(properties, topics).read_window(
            window, quiet_s=config.kafka.quiet_s, was_away=False
        )
    except TailUnavailableError as error:
        raise UnavailableError(
            f"the telemetry topics could not be read: {error};"
            " see whether kafka.bootstrap_servers is right and up"
        ) from error
    except TailForbiddenError as error:
        raise UnavailableError(
            f"the telemetry topics may not be read: {error}; what is in them already must be"
            " known, so grant READ on them (dedup.keys_max = 0 goes without)"
        ) from error
    known = DedupWindow(ttl_s=float("inf"), keys_max=section.keys_max, keys_min=records)
    now_s = time.monotonic()
    for chunk in tail.chunks:
        known.note(chunk.split(), now_s)
    return known
