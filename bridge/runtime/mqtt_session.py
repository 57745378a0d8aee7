"""The session as configured and as remembered."""

import os

from bridge.config.sections import BridgeConfig
from bridge.mqtt.canary import KEY_BYTES, Canary
from bridge.mqtt.session import Session, SessionSettings
from bridge.runtime.session_memory import SessionMemory

_RUN_BYTES = 8


def make_session(config: BridgeConfig, memory: SessionMemory) -> Session:
    """Make the session of this process; whether one should be there already, the memory knows."""
    mqtt = config.mqtt
    topic_filters = topic_filters_of(config)
    canary = None
    if mqtt.canary_device_id:
        memory.now.canary_key = memory.now.canary_key or os.urandom(KEY_BYTES).hex()
        canary = Canary(
            topic_filters,
            device_id=mqtt.canary_device_id,
            key=bytes.fromhex(memory.now.canary_key),
            run=os.urandom(_RUN_BYTES).hex(),
        )
    return Session(
        SessionSettings(
            client_id=mqtt.client_id,
            topic_filters=topic_filters,
            username=mqtt.username,
            session_expiry_s=mqtt.session_expiry_s,
            receive_maximum=mqtt.receive_maximum,
            keep_alive_s=mqtt.keep_alive_s,
            packet_bytes_max=mqtt.packet_bytes_max,
        ),
        canary=canary,
        is_session_expected=memory.now.last_connected_at is not None,
        left_filters=memory.now.topic_filters,
    )


def topic_filters_of(config: BridgeConfig) -> tuple[str, ...]:
    """List what is to be subscribed to."""
    share = f"$share/{config.mqtt.share_group}/" if config.mqtt.share_group else ""
    return tuple(share + each.filter for each in config.route)
