"""Publishers of the other two QoS levels: one is best effort and counted, one arrives as QoS 1."""

from collections import Counter
from collections.abc import Iterator

import msgspec

from tests.integration.scene import Scene
from tests.support.devices import DeviceMessage, fleet
from tests.support.eventually import eventually


def with_qos(messages: Iterator[DeviceMessage], qos: int) -> Iterator[DeviceMessage]:
    return (msgspec.structs.replace(each, qos=qos) for each in messages)


def test_qos_0_is_forwarded_counted_apart_and_never_owed(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()

    ledger = scene.devices().publish(with_qos(fleet(10, 200), qos=0))
    reckoning = scene.reckon_when_quiet(bridge)

    reckoning.assert_holds()
    assert (200, 0) == (len(ledger.sent), len(ledger.acknowledged))
    # On loopback and with room in the queue all of them came; nobody promised it.
    assert 200 == bridge.metric("bridge_messages_received_qos0_total")
    assert 1 == bridge.metric("bridge_messages_received_total"), "the probe alone is QoS 1"
    assert 201 == reckoning.telemetry
    assert bridge.events("mqtt_qos0_received")


def test_qos_2_arrives_as_qos_1_and_is_forwarded_once(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()

    ledger = scene.devices().publish(with_qos(fleet(10, 500), qos=2))
    reckoning = scene.reckon_when_quiet(bridge)

    assert 500 == len(ledger.acknowledged)
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()
    assert 501 == bridge.metric("bridge_messages_received_total")
    assert 0 == bridge.metric("bridge_messages_received_qos0_total")


def test_all_three_qos_levels_of_one_device_mix(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    mixed = (
        msgspec.structs.replace(each, qos=number % 3) for number, each in enumerate(fleet(4, 300))
    )

    scene.devices().publish(mixed)
    reckoning = scene.reckon_when_quiet(bridge)

    # Order between QoS levels is not promised by MQTT, so only the counts are judged.
    reckoning.assert_nothing_lost()
    reckoning.assert_books_balance()
    received = Counter(
        qos0=int(bridge.metric("bridge_messages_received_qos0_total")),
        qos1=int(bridge.metric("bridge_messages_received_total")),
    )
    assert Counter(qos0=100, qos1=201) == received
    eventually(lambda: bridge.metric("bridge_pubacks_sent_total"), lambda sent: sent == 201)
