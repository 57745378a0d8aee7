"""A session and the packets of its broker, for the tests of the state machine."""

from typing import Any

import mqtt5

from bridge.mqtt.events import Event, Received
from bridge.mqtt.session import Session, SessionSettings

FILTER = "devices/+/telemetry"


def settings(**changes: Any) -> SessionSettings:
    fields: dict[str, Any] = {
        "client_id": "b1",
        "topic_filters": (FILTER,),
        "session_expiry_s": 604_800,
        "receive_maximum": 2_000,
        "keep_alive_s": 30,
        "packet_bytes_max": 1 << 20,
    }
    return SessionSettings(**(fields | changes))


def packets_in(data: bytes) -> list[Any]:
    found: list[Any] = []
    while data:
        packet, size = mqtt5.read(memoryview(data))
        found.append(packet)
        data = data[size:]
    return found


def connack(**fields: Any) -> bytes:
    return mqtt5.ConnAckPacket(**fields).write()


def suback(*codes: int) -> bytes:
    return mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(code) for code in codes]).write()


def publish(packet_id: int | None = 1, payload: bytes = b"x") -> bytes:
    qos = mqtt5.QoS.AT_MOST_ONCE if packet_id is None else mqtt5.QoS.AT_LEAST_ONCE
    return mqtt5.PublishPacket("devices/a/telemetry", payload, qos=qos, packet_id=packet_id).write()


def connected(session: Session, *, now: float = 0.0, **fields: Any) -> list[Event]:
    session.connect(now=now)
    session.data_to_send()
    return session.receive_data(connack(**fields), now=now)


def subscribed(session: Session, *, now: float = 0.0, **fields: Any) -> None:
    connected(session, now=now, **fields)
    session.receive_data(suback(1), now=now)
    session.data_to_send()


def received(events: list[Event]) -> Received:
    (found,) = [event for event in events if isinstance(event, Received)]
    return found
