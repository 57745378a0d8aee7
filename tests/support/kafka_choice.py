"""Which real Kafka the tests run against: a given one, a container, or Maven artefacts."""

import os
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from tests.support import kafka_artefacts
from tests.support.kafka_artefacts import KafkaMissingError
from tests.support.kafka_client import KafkaClient
from tests.support.kafka_cluster import KafkaProcess

GIVEN: Final = "BRIDGE_TEST_KAFKA"
CONTAINER_IMAGE: Final = "confluentinc/cp-kafka:7.6.0"

_DOCKER_DEFAULT: Final = "unix:///var/run/docker.sock"


class ChosenKafka(msgspec.Struct, frozen=True):
    """A running Kafka, where it came from and how to end it."""

    bootstrap: str
    origin: str
    client: KafkaClient
    stop: Callable[[], object]


def _unix_socket_accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


@cache
def docker_answers() -> bool:
    """Tell whether a Docker engine is there to start containers."""
    address = os.environ.get("DOCKER_HOST", _DOCKER_DEFAULT)
    if address.startswith("unix://") and not _unix_socket_accepts(address[len("unix://") :]):
        return False  # Asked without the client, which leaks its socket when nobody listens.
    import docker  # noqa: PLC0415 -- slow to import and seldom needed

    try:
        engine = docker.from_env(timeout=5)
    except docker.errors.DockerException:
        return False
    try:
        return bool(engine.ping())
    except docker.errors.DockerException:
        return False
    finally:
        engine.close()


def describe_choice() -> str:
    """Say which Kafka would be used, without starting one."""
    if given := os.environ.get(GIVEN):
        return f"{given}, given by {GIVEN}"
    if docker_answers():
        return f"container {CONTAINER_IMAGE} (single node, KRaft)"
    if missing := kafka_artefacts.missing_tools():
        return f"none: no Docker engine answers, and {' and '.join(missing)} not installed"
    return f"{kafka_artefacts.KAFKA_VERSION} from Maven artefacts (single node, KRaft)"


def start_chosen(directory: Path) -> ChosenKafka:
    """Start the Kafka that `describe_choice` names.

    Raises:
        KafkaMissingError: there is none to be had here.
    """
    if given := os.environ.get(GIVEN):
        client = KafkaClient(given)
        if client.brokers_up() == 0:
            raise KafkaMissingError(f"{GIVEN}={given}: no answer")
        return ChosenKafka(given, f"given by {GIVEN}", client, lambda: None)
    if docker_answers():
        try:
            return _start_container()
        except Exception as error:
            # An engine that may not pull images is as good as none.
            if missing := kafka_artefacts.missing_tools():
                without = " and ".join(missing)
                raise KafkaMissingError(f"container: {error}; {without}: not installed") from error
    process = KafkaProcess(directory)
    kafka_artefacts.fetch()
    process.start()
    return ChosenKafka(
        process.bootstrap, f"{process.version} from Maven artefacts", process.client, process.remove
    )


def _start_container() -> ChosenKafka:
    from testcontainers.community.kafka import KafkaContainer  # noqa: PLC0415 -- needs Docker

    container = KafkaContainer(CONTAINER_IMAGE).with_kraft()
    container.start()
    bootstrap = str(container.get_bootstrap_server())
    return ChosenKafka(bootstrap, CONTAINER_IMAGE, KafkaClient(bootstrap), container.stop)
