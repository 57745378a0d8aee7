"""The bench, and one Kafka in process for all tests that need nothing special of it."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.hostile.bench import Bench
from tests.support.in_process_kafka import InProcessKafka


@pytest.fixture(scope="session")
def shared_kafka() -> Iterator[InProcessKafka]:
    """One broker that always answers; tests keep apart by their topic names."""
    kafka = InProcessKafka()
    yield kafka
    kafka.close()


@pytest.fixture
def make_kafka() -> Iterator[Callable[[int], InProcessKafka]]:
    """Make a cluster of so many brokers that this test alone may delay and take down."""
    clusters: list[InProcessKafka] = []

    def make(brokers: int) -> InProcessKafka:
        clusters.append(InProcessKafka(brokers))
        return clusters[-1]

    yield make
    for cluster in clusters:
        cluster.close()


@pytest.fixture
async def bench(
    tmp_path: Path,
    shared_kafka: InProcessKafka,
    make_kafka: object,  # Its clusters must outlive the bridges.
    unique_name: Callable[[str], str],
) -> AsyncIterator[Bench]:
    """Hostile brokers and bridges as processes, all gone at the end of the test."""
    del make_kafka
    stand = Bench(tmp_path, shared_kafka, unique_name)
    yield stand
    await stand.close()
