"""Whatever happens to network, disk, Kafka, MQTT broker and bridge: once, in order, settled."""

from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.disk import StoreRows
from tests.simulation.world import World

BLOCKS = 8
STORE_SEEDS = 30
ABOUT = {
    "blind": 300,
    "bridge crashed": 50,
    "bridge stopped": 10,
    "broker restored": 20,
    "connection lost": 200,
    "disk refusals": 5,
    "duplicates": 300,
    "kafka frozen": 20,
    "partial starts": 8,
    "paused": 1_000,
    "produced again": 100,
    "producer fatal": 20,
    "producer rebuilt": 20,
    "producer stuck": 3,
    "records shed": 50,
    "reordered": 20,
    "rows at start": 50,
    "rows drained": 300,
    "rows written": 400,
    "sent again": 200,
    "session lost": 20,
    "spool_failed": 50,
    "spool_full": 50,
    "topic refused": 20,
}
"""What 200 histories contain at least; a generator that lost one of these would prove less."""


@pytest.mark.parametrize("block", range(BLOCKS))
def test_every_message_ends_in_kafka_once_and_in_order_whatever_happens(
    block: int, request: pytest.FixtureRequest
) -> None:
    seeds = request.config.getoption("--seeds")

    for seed in range(block * seeds // BLOCKS, (block + 1) * seeds // BLOCKS):
        World(seed).live()


def test_it_holds_with_the_real_store_too(tmp_path: Path) -> None:
    for seed in range(STORE_SEEDS):
        directory = tmp_path / str(seed)
        directory.mkdir()
        bytes_max = World(seed).shape.spool_bytes_max
        rows = StoreRows(directory, bytes_max)

        World(seed, rows=rows).live()

        rows.end()


def test_one_seed_is_one_history() -> None:
    worlds = [World(12, is_traced=True) for _ in range(2)]

    for world in worlds:
        world.live()

    assert list(worlds[0].events) == list(worlds[1].events)
    assert len(worlds[0].events) > 50


def test_the_histories_do_contain_what_they_are_about() -> None:
    facts = Counter[str]()
    for seed in range(200):
        world = World(seed)
        world.live()
        facts += world.facts

    rare = {name: facts[name] for name, least in ABOUT.items() if facts[name] < least}

    assert {} == rare
