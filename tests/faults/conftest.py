"""What the fault tests share: victims, links with levers, and lengths that --long scales."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

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
DISK_BYTES = 24_000_000
FILLER_BYTES = 20_000_000


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, nearly full; skipped where mounting is not allowed."""
    place = tmp_path / "small-disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    if shutil.which("mount") is None or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {mounted.stderr.strip()}")
    (place / "filler").write_bytes(bytes(FILLER_BYTES))
    (place / "spool").mkdir()
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)
