"""The lean publisher keeps the same ledger as a device, through the same faults."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.devices import fleet
from tests.support.eventually import eventually
from tests.support.lean_publisher import LeanPublisher
from tests.support.mosquitto import DEFAULT_CONFIG, MosquittoProcess
from tests.support.mqtt_client import Client
from tests.support.tcp_proxy import TcpProxy

StartLean = Callable[..., LeanPublisher]


@pytest.fixture
def start_lean(mosquitto: MosquittoProcess) -> Iterator[StartLean]:
    publishers: list[LeanPublisher] = []

    def start(port: int | None = None, window: int = 1_000) -> LeanPublisher:
        publisher = LeanPublisher(port or mosquitto.port, window=window)
        publishers.append(publisher)
        publisher.connect()
        return publisher

    yield start
    for each in publishers:
        each.close()


@pytest.fixture
def subscriber(mosquitto: MosquittoProcess) -> Iterator[Client]:
    client = Client("subscriber", kept=True)
    client.connect(mosquitto.port, None)
    client.subscribe("devices/+/telemetry")
    yield client
    client.disconnect()


def test_a_message_that_nobody_subscribed_to_is_not_owed(start_lean: StartLean) -> None:
    ledger = start_lean().publish(fleet(devices=3, messages=9))

    assert (9, 0, 9) == (len(ledger.sent), len(ledger.acknowledged), len(ledger.unmatched))


def test_more_messages_than_there_are_packet_ids_are_each_answered_once(
    start_lean: StartLean, subscriber: Client
) -> None:
    ledger = start_lean().publish(fleet(devices=10, messages=70_000), timeout_s=60.0)

    assert ledger.sent == ledger.acknowledged
    assert subscriber.client_id


def test_a_cut_in_the_middle_leaves_nothing_unanswered_and_keeps_the_order(
    mosquitto: MosquittoProcess, start_lean: StartLean, subscriber: Client
) -> None:
    proxy = TcpProxy(("127.0.0.1", mosquitto.port)).start()
    try:
        lean = start_lean(proxy.port, window=100)
        lean.start(fleet(devices=1), rate_per_s=2_000)
        for _ in range(3):
            more = lean.ledger.settled + 200
            eventually(lambda: lean.ledger.settled, more.__lt__)
            proxy.cut()
        ledger = lean.stop()

        assert len(ledger.sent) == len(ledger.acknowledged)
        received: list[bytes] = []
        eventually(
            lambda: received.extend(payload for _, payload in subscriber.received_so_far()),
            lambda _: len(set(received)) == len(ledger.sent),
        )
        assert [each.payload for each in ledger.sent] == list(dict.fromkeys(received))
    finally:
        proxy.close()


def test_publishing_goes_on_after_the_broker_was_killed(
    mosquitto: MosquittoProcess, start_lean: StartLean
) -> None:
    lean = start_lean(window=20)
    lean.start(fleet(devices=5), rate_per_s=1_000)
    before = eventually(lambda: lean.ledger.settled, lambda settled: settled > 100)

    mosquitto.kill()
    mosquitto.start()

    eventually(lambda: lean.ledger.settled, lambda settled: settled > before + 200)
    ledger = lean.stop()
    assert len(ledger.sent) == ledger.settled


def test_a_frozen_broker_leaves_the_rest_unanswered_and_says_how_much(
    mosquitto: MosquittoProcess, start_lean: StartLean
) -> None:
    lean = start_lean()

    mosquitto.freeze()
    with pytest.raises(TimeoutError, match="9 of 9 messages are unanswered"):
        lean.publish(fleet(devices=3, messages=9), timeout_s=0.2)


def test_a_refused_device_fails_at_connect(
    mosquitto: MosquittoProcess, start_lean: StartLean
) -> None:
    config = DEFAULT_CONFIG.replace("allow_anonymous true", "allow_anonymous false")
    refusing = MosquittoProcess(mosquitto.directory / "refusing", config=config)
    refusing.start()
    try:
        with pytest.raises(ConnectionRefusedError, match="NOT_AUTHORIZED"):
            start_lean(refusing.port)
    finally:
        refusing.kill()
