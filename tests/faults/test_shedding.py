"""Kafka takes half of what comes: the unimportant makes room, and all of it arrives in the end."""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import Length
from tests.faults.stage import Links, Stage, await_drained, await_metric, reckon_topic, spool_path
from tests.integration.scene import QUIET_DEADLINE_S, report
from tests.support.bridge_process import BridgeProcess
from tests.support.devices import DeviceMessage, Publisher, telemetry
from tests.support.eventually import eventually, let_last
from tests.support.oracle import Books, reckon
from tests.support.priorities import PRIORITIES, routes, speak

DEVICES = 20
PARTITIONS = 2
WARM_UP = 1_000
RATES = {"high": 200.0, "medium": 1_300.0, "low": 500.0}
"""Messages a second; without low they are still far more than the half that Kafka takes."""
AFTER_S = 20.0
"""Far above what a slow Kafka takes for what it has in hand: slow is no outage."""
URGENT = "low-urgent"
"""A device on the low route to which the registry gives high priority."""
ROWS_BY_TOPIC = "SELECT name, count(*) FROM row JOIN topic ON row.sequence >> 44 = id GROUP BY name"
"""The number of the Kafka topic stands before that of the row; `bridge/spool/store.py`."""


class Roads:
    """A bridge with three routes, the devices of each, and the link to Kafka that may be slowed."""

    def __init__(self, stage: Stage, links: Links, unique_name: Callable[[str], str]) -> None:
        self.stage = stage
        self.links = links
        self.topics = {
            each: stage.client.create_topic(unique_name(each), PARTITIONS) for each in PRIORITIES
        }
        self.devices: dict[str, Publisher] = {}

    def start(self, **sections: Mapping[str, Any]) -> BridgeProcess:
        """Start a bridge, carry a warm-up, and let the link carry half of the load from then on."""
        sections = {"spool": {"after_s": AFTER_S}, **sections}
        config = self.stage.config(**sections) | {"route": routes(self.topics)}
        bridge = self.stage.start_with(config)
        self.devices = {each: self.stage.beside() for each in PRIORITIES}
        link = self.links.kafka
        before_bytes = link.bytes_to_server
        for each, publisher in self.devices.items():
            publisher.publish(speak(each, DEVICES, WARM_UP))
            self.stage.client.consume_all(self.topics[each], until=WARM_UP)
        record_bytes = (link.bytes_to_server - before_bytes) / (len(self.topics) * WARM_UP)
        link.levers.bytes_per_s_to_server = record_bytes * sum(RATES.values()) / 2
        for each, publisher in self.devices.items():
            publisher.start(speak(each, DEVICES, first=WARM_UP), rate_per_s=RATES[each])
        return bridge

    def silence(self) -> None:
        """Let nobody say anything new, and wait until Mosquitto has answered everything."""
        for publisher in self.devices.values():
            publisher.stop(QUIET_DEADLINE_S)

    def await_all(self, bridge: BridgeProcess) -> None:
        """Wait until each topic has as many records as were published to it."""
        for each, publisher in self.devices.items():
            owed = len(publisher.ledger.acknowledged)
            self.stage.client.consume_all(
                self.topics[each], until=owed, deadline_s=QUIET_DEADLINE_S
            )
        await_drained(bridge)

    def assert_all_arrived(self) -> None:
        """Ask the oracle about each topic: lost 0, doubled 0, out of order 0."""
        for each, publisher in self.devices.items():
            reckoning = reckon_topic(
                publisher.ledger, self.stage.client.consume_all(self.topics[each])
            )
            report(f"{each}: {reckoning}")
            reckoning.assert_holds()
            reckoning.assert_nothing_doubled()


@pytest.fixture
def roads(stage: Stage, links: Links, unique_name: Callable[[str], str]) -> Roads:
    """Three routes over links with levers."""
    return Roads(stage, links, unique_name)


def await_level(bridge: BridgeProcess, priorities: list[str]) -> None:
    """Wait until these priorities are shed."""
    bridge.wait_for_event("shedding_changed", deadline_s=QUIET_DEADLINE_S, priorities=priorities)


def rows_by_topic(bridge: BridgeProcess) -> dict[str, int]:
    """Count what lies on the disk of the spool, by Kafka topic."""
    with closing(sqlite3.connect(spool_path(bridge), timeout=10.0)) as connection:
        found = connection.execute(ROWS_BY_TOPIC).fetchall()
    return {str(topic): int(rows) for topic, rows in found}


def keys_on_disk(bridge: BridgeProcess) -> set[bytes]:
    """Return the device ids that have something on the disk of the spool."""
    with closing(sqlite3.connect(spool_path(bridge), timeout=10.0)) as connection:
        return {bytes(key) for (key,) in connection.execute("SELECT DISTINCT key FROM row")}


def shed(bridge: BridgeProcess) -> dict[str, int]:
    """Return what was shed, by priority."""
    prefix = 'bridge_records_shed_total{priority="'
    return {
        name.removeprefix(prefix).removesuffix('"}'): int(value)
        for name, value in bridge.metrics().items()
        if name.startswith(prefix)
    }


def assert_low_went_before_medium(bridge: BridgeProcess) -> None:
    first, second = bridge.events("shedding_changed")[:2]
    assert [["low"], ["low", "medium"]] == [first["priorities"], second["priorities"]]
    assert first["load"] >= 0.7
    assert second["load"] >= 0.9


def test_low_is_shed_first_then_medium_and_high_never_and_all_of_it_arrives_in_order(
    roads: Roads, length: Length
) -> None:
    bridge = roads.start()

    await_level(bridge, ["low", "medium"])
    let_last(length(5.0, 120.0))
    on_disk = rows_by_topic(bridge)
    counted = shed(bridge)
    ready = bridge.get("/health/ready")
    roads.links.kafka.heal()
    ended = bridge.wait_for_event("shedding_ended", deadline_s=QUIET_DEADLINE_S)
    roads.silence()
    roads.await_all(bridge)

    took_over = [(each["kafka_topic"], each["cause"]) for each in bridge.events("spool_took_over")]
    report(f"shed {counted}, on disk {on_disk}, ended {ended['took_s']} s after it began")
    assert_low_went_before_medium(bridge)
    assert ready is not None
    assert (200, 0) == (ready.status, len(bridge.events("bridge_not_ready")[1:]))
    assert {"low", "medium"} == set(counted)
    assert all(counted.values())
    assert {roads.topics["low"], roads.topics["medium"]} == set(on_disk)
    assert {(roads.topics[each], "shed") for each in ("low", "medium")} == set(took_over)
    assert 0 == bridge.metrics()["bridge_shedding_level"]
    roads.assert_all_arrived()
    books = Books.from_metrics(bridge.metrics())
    assert (0, True) == (books.residue, books.is_balanced)


@pytest.mark.slow
def test_a_disk_that_is_full_of_what_was_shed_holds_that_and_not_high_and_loses_nothing(
    roads: Roads, small_disk: Path
) -> None:
    bridge = roads.start(spool={"after_s": AFTER_S, "directory": str(small_disk / "spool")})

    await_level(bridge, ["low", "medium"])
    bridge.wait_for_event("spool_failed", deadline_s=QUIET_DEADLINE_S)
    already = roads.stage.client.count(roads.topics["high"])
    roads.stage.client.consume_all(
        roads.topics["high"], until=already + 400, deadline_s=QUIET_DEADLINE_S
    )
    alive = bridge.get("/health/live")
    roads.links.kafka.heal()
    roads.silence()
    (small_disk / "filler").unlink()
    bridge.wait_for_event("spool_recovered", deadline_s=QUIET_DEADLINE_S)
    roads.await_all(bridge)

    report(f"shed {shed(bridge)}")
    assert alive is not None
    assert 200 == alive.status
    roads.assert_all_arrived()
    books = Books.from_metrics(bridge.metrics())
    assert (0, True) == (books.residue, books.is_balanced)


def test_a_bridge_killed_in_the_middle_of_shedding_loses_doubles_and_mixes_up_nothing(
    roads: Roads, length: Length
) -> None:
    kills = int(length(2, 20))
    bridge = roads.start()
    on_disk = Counter[str]()

    await_level(bridge, ["low", "medium"])
    for _ in range(kills):
        # After a start all devices that have rows follow them, whatever the level.
        await_metric(bridge, "bridge_messages_received_total", lambda received: received >= 3_000)
        eventually(
            lambda: rows_by_topic(bridge).keys(),
            lambda topics: topics >= {roads.topics["low"], roads.topics["medium"]},
            what="low and medium are on disk",
        )
        bridge.kill()
        on_disk += Counter(rows_by_topic(bridge))
        bridge.start()
        bridge.wait_ready(QUIET_DEADLINE_S)
    roads.links.kafka.heal()
    roads.silence()
    roads.await_all(bridge)

    report(f"{kills} kills, rows on disk then {dict(on_disk)}")
    assert on_disk[roads.topics["low"]] > 0
    assert on_disk[roads.topics["medium"]] > 0
    roads.assert_all_arrived()


def test_what_is_dropped_by_policy_is_counted_and_high_and_dead_letters_arrive(
    roads: Roads, length: Length
) -> None:
    spoiled = 300
    bridge = roads.start(shedding={"action": "drop"})
    await_level(bridge, ["low", "medium"])
    broken = roads.stage.beside()

    broken.start(broken_messages(spoiled), rate_per_s=100.0)
    let_last(length(5.0, 60.0))
    broken.wait(QUIET_DEADLINE_S)
    roads.links.kafka.heal()
    bridge.wait_for_event("shedding_ended", deadline_s=QUIET_DEADLINE_S)
    roads.silence()
    letters = roads.stage.client.consume_all(
        roads.stage.dead_letters, until=spoiled, deadline_s=QUIET_DEADLINE_S
    )
    owed = sum(len(each.ledger.acknowledged) for each in roads.devices.values()) + spoiled
    await_metric(bridge, "bridge_messages_received_total", lambda received: received == owed)
    await_drained(bridge)

    dropped = int(bridge.metric("bridge_messages_dropped_total", reason="shed"))
    there = {each: roads.stage.client.count(topic) for each, topic in roads.topics.items()}
    report(f"{dropped} dropped of {owed}; in Kafka {there} and {len(letters)} letters")
    assert_low_went_before_medium(bridge)
    assert sum(shed(bridge).values()) == dropped > 0
    assert owed == dropped + sum(there.values()) + len(letters)
    assert (len(roads.devices["high"].ledger.acknowledged), spoiled) == (
        there["high"],
        len(letters),
    )
    books = Books.from_metrics(bridge.metrics())
    assert (0, True, 0) == (books.residue, books.is_balanced, books.spooled)


def broken_messages(count: int) -> Iterator[DeviceMessage]:
    """Yield what becomes dead letters, on the low route."""
    for number in range(count):
        yield DeviceMessage(topic="low/spoiled/telemetry", payload=b"?%d" % number)


def test_a_device_that_the_registry_makes_important_is_not_shed_on_the_low_route(
    roads: Roads, tmp_path: Path, length: Length
) -> None:
    registry = tmp_path / "devices.toml"
    registry.write_text(registry_of_all(), encoding="utf-8")
    bridge = roads.start(registry={"file": str(registry)})
    await_level(bridge, ["low", "medium"])
    urgent = roads.stage.beside()
    seen: set[bytes] = set()

    urgent.start(urgent_messages(), rate_per_s=50.0)
    for _ in range(int(length(10, 200))):
        let_last(0.5)
        seen |= keys_on_disk(bridge)
    urgent.stop(QUIET_DEADLINE_S)
    roads.links.kafka.heal()
    roads.silence()
    ledgers = [roads.devices["low"].ledger, urgent.ledger]
    owed = sum(len(each.acknowledged) for each in ledgers)
    low = roads.stage.client.consume_all(
        roads.topics["low"], until=owed, deadline_s=QUIET_DEADLINE_S
    )
    await_drained(bridge)
    reckoning = reckon(ledgers, telemetry=low, dead_letters=[])

    report(f"{len(urgent.ledger.acknowledged)} of {URGENT}, low together: {reckoning}")
    assert b"low-0" in seen
    assert URGENT.encode() not in seen
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()


def registry_of_all() -> str:
    """List all devices: who is not there is flagged, and copied to the dead letters."""
    plain = [f"{each}-{number}" for each in PRIORITIES for number in range(DEVICES)]
    entries = [f"[device.{each}]\n" for each in plain]
    return "".join(entries) + f'[device.{URGENT}]\npriority = "high"\n'


def urgent_messages() -> Iterator[DeviceMessage]:
    """Yield what the important device says, on the low route."""
    for number in count():
        yield telemetry(URGENT, number, mqtt_topic=f"low/{URGENT}/telemetry")
