"""The ledger of the devices: only what the MQTT broker took over counts as acknowledged."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.devices import DeviceMessage, DevicePublisher, fleet, telemetry
from tests.support.eventually import eventually
from tests.support.mosquitto import DEFAULT_CONFIG, MosquittoProcess

StartDevices = Callable[..., DevicePublisher]


def test_a_message_that_nobody_subscribed_to_is_not_owed(start_devices: StartDevices) -> None:
    ledger = start_devices().publish(fleet(devices=3, messages=9))

    assert (9, 0, 9) == (len(ledger.sent), len(ledger.acknowledged), len(ledger.unmatched))


def test_twenty_thousand_messages_are_answered_within_seconds(start_devices: StartDevices) -> None:
    ledger = start_devices(window=500).publish(fleet(devices=10, messages=20_000), timeout_s=20.0)

    assert (20_000, 20_000) == (len(ledger.sent), ledger.settled)


def test_publishing_goes_on_after_the_broker_was_killed(
    mosquitto: MosquittoProcess, start_devices: StartDevices
) -> None:
    devices = start_devices(window=20)
    devices.start(fleet(devices=5), rate_per_s=1_000)
    before = eventually(lambda: devices.ledger.settled, lambda settled: settled > 100)

    mosquitto.kill()
    mosquitto.start()

    eventually(lambda: devices.ledger.settled, lambda settled: settled > before + 200)
    ledger = devices.stop()
    assert len(ledger.sent) == ledger.settled


def test_an_unanswered_message_is_reported_not_forgotten(
    mosquitto: MosquittoProcess, start_devices: StartDevices
) -> None:
    devices = start_devices()

    mosquitto.freeze()
    with pytest.raises(TimeoutError, match="1 of 1 messages are unanswered"):
        devices.publish([telemetry("device-1", 1)], timeout_s=0.2)


def test_a_refused_device_fails_at_connect(
    refusing_mosquitto: MosquittoProcess, start_devices: StartDevices
) -> None:
    with pytest.raises(ConnectionRefusedError, match="Not authorized"):
        start_devices(refusing_mosquitto.port)


def test_a_generator_that_fails_is_raised_by_the_wait(start_devices: StartDevices) -> None:
    def one_then_fail() -> Iterator[DeviceMessage]:
        yield telemetry("device-1", 1)
        raise ZeroDivisionError("the test's own bug")

    with pytest.raises(ZeroDivisionError, match="own bug"):
        start_devices().publish(one_then_fail())


@pytest.fixture
def refusing_mosquitto(mosquitto: MosquittoProcess) -> Iterator[MosquittoProcess]:
    """Run a second broker that lets nobody in."""
    config = DEFAULT_CONFIG.replace("allow_anonymous true", "allow_anonymous false")
    broker = MosquittoProcess(mosquitto.directory / "refusing", config=config)
    broker.start()
    yield broker
    broker.kill()
