"""What the fault tests share: victims, links with levers, and lengths that --long scales."""

from collections.abc import Callable, Iterator

import pytest

from tests.faults.stage import Links, Stage
from tests.integration.conftest import (  # noqa: F401  fixtures of the neighbouring room
    _own_kafka_of_the_run,
    certificates,
    victim,
)
from tests.support.bridge_process import BridgeProcess, Config
from tests.support.devices import DevicePublisher
from tests.support.kafka_client import KafkaClient
from tests.support.kafka_cluster import KafkaProcess
from tests.support.kafka_proxy import KafkaProxy
from tests.support.lean_publisher import LeanPublisher
from tests.support.mosquitto import MosquittoProcess
from tests.support.tcp_proxy import TcpProxy

MakeStage = Callable[[KafkaClient], Stage]
Length = Callable[[float, float], float]


@pytest.fixture
def length(request: pytest.FixtureRequest) -> Length:
    """Choose between what CI has time for and the full length, which --long asks for."""
    is_long = bool(request.config.getoption("--long"))
    return lambda short, full: full if is_long else short


@pytest.fixture
def make_stage(
    mosquitto: MosquittoProcess,
    unique_name: Callable[[str], str],
    start_bridge: Callable[[Config], BridgeProcess],
    start_devices: Callable[..., DevicePublisher],
) -> Iterator[MakeStage]:
    """Join `mosquitto` and a Kafka; topics are not made yet."""
    publishers: list[LeanPublisher] = []

    def start_lean(window: int = 1_000) -> LeanPublisher:
        publishers.append(LeanPublisher(mosquitto.port, window=window))
        publishers[-1].connect()
        return publishers[-1]

    def make(client: KafkaClient) -> Stage:
        return Stage(
            mosquitto,
            client,
            make_name=unique_name,
            start_bridge=start_bridge,
            start_devices=start_devices,
            start_lean=start_lean,
        )

    yield make
    for each in publishers:
        each.close()


@pytest.fixture
def stage(make_stage: MakeStage, victim: KafkaProcess) -> Stage:  # noqa: F811  the fixture itself
    """A stage on a Kafka that the test may freeze or kill, with its topics."""
    made = make_stage(victim.client)
    made.create_topics()
    return made


@pytest.fixture
def links(stage: Stage) -> Iterator[Links]:
    """Put a proxy into both links of the bridge of `stage`; the devices go past it."""
    made = Links(
        mqtt=TcpProxy(("127.0.0.1", stage.mosquitto.port)).start(),
        kafka=KafkaProxy(stage.client.bootstrap).start(),
    )
    stage.links = made
    yield made
    made.mqtt.close()
    made.kafka.close()
