"""What the tests with real brokers share beyond tests/conftest.py."""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.integration.scene import Scene
from tests.support import kafka_artefacts
from tests.support.bridge_process import BridgeProcess, Config
from tests.support.certificates import Certificates, make_certificates
from tests.support.devices import DevicePublisher
from tests.support.kafka_artefacts import KafkaMissingError
from tests.support.kafka_choice import ChosenKafka
from tests.support.kafka_client import KafkaClient
from tests.support.kafka_cluster import AUTHORIZER, KafkaProcess
from tests.support.mosquitto import MosquittoProcess


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """An authority, and certificates for the server, the bridge, device-1 and device-2."""
    return make_certificates(tmp_path_factory.mktemp("certificates"), "--devices", "2")


@pytest.fixture(scope="session")
def _own_kafka_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    """A Kafka process under our hand, whatever `kafka` is: a container cannot be frozen."""
    try:
        kafka_artefacts.fetch()
    except KafkaMissingError as error:
        if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
            pytest.fail(f"no Kafka to freeze: {error}", pytrace=False)
        pytest.skip(f"no Kafka to freeze: {error}")
    process = KafkaProcess(tmp_path_factory.mktemp("victim"), properties=AUTHORIZER)
    process.start()
    yield process
    process.remove()


@pytest.fixture
def victim(_own_kafka_of_the_run: KafkaProcess) -> Iterator[KafkaProcess]:
    """A running Kafka to freeze, kill and restart: one for all tests, whole again after each."""
    yield _own_kafka_of_the_run
    if _own_kafka_of_the_run.is_alive:
        _own_kafka_of_the_run.thaw()
        _own_kafka_of_the_run.await_ready()
    else:
        _own_kafka_of_the_run.start()


@pytest.fixture
def make_scene(
    mosquitto: MosquittoProcess,
    unique_name: Callable[[str], str],
    start_bridge: Callable[[Config], BridgeProcess],
    start_devices: Callable[..., DevicePublisher],
) -> Callable[[KafkaClient], Scene]:
    """Join `mosquitto` and a Kafka; topics are not made yet."""

    def make(client: KafkaClient) -> Scene:
        return Scene(
            mosquitto,
            client,
            make_name=unique_name,
            start_bridge=start_bridge,
            start_devices=start_devices,
        )

    return make


@pytest.fixture
def scene(make_scene: Callable[[KafkaClient], Scene], kafka: ChosenKafka) -> Scene:
    """A scene on the Kafka of the run."""
    return make_scene(kafka.client)


@pytest.fixture
def victim_scene(make_scene: Callable[[KafkaClient], Scene], victim: KafkaProcess) -> Scene:
    """A scene on a Kafka that the test may freeze or kill."""
    return make_scene(victim.client)
