"""Mosquitto and the devices, for real."""

from collections.abc import Callable

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.devices import DevicePublisher, fleet
from tests.support.mosquitto import MosquittoProcess

StartDevices = Callable[..., DevicePublisher]


async def _subscribe_only(port: int, client_id: str) -> None:
    """Leave a session behind that wants everything at QoS 1."""
    async with _subscriber(port, client_id) as client:
        await client.subscribe("devices/#", qos=1)


def _subscriber(port: int, client_id: str) -> aiomqtt.Client:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 3600
    return aiomqtt.Client(
        "127.0.0.1",
        port,
        identifier=client_id,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=False,
        properties=properties,
    )


async def _receive(port: int, client_id: str, count: int) -> list[bytes]:
    async with _subscriber(port, client_id) as client:
        received: list[bytes] = []
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            received.append(message.payload)
            if len(received) == count:
                break
        return received


async def test_what_the_devices_publish_reaches_a_subscriber_in_order(
    mosquitto: MosquittoProcess, start_devices: StartDevices
) -> None:
    await _subscribe_only(mosquitto.port, "reader")

    ledger = start_devices().publish(fleet(devices=1, messages=500))
    received = await _receive(mosquitto.port, "reader", 500)

    assert [message.payload for message in ledger.acknowledged] == received


async def test_a_graceful_restart_keeps_the_session_and_its_queue(
    mosquitto: MosquittoProcess, start_devices: StartDevices
) -> None:
    await _subscribe_only(mosquitto.port, "reader")
    ledger = start_devices().publish(fleet(devices=2, messages=100))

    mosquitto.restart()
    received = await _receive(mosquitto.port, "reader", 100)

    assert [message.payload for message in ledger.acknowledged] == received
