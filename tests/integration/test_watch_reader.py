"""What `watch` reads of Kafka: signs of life with their times, and what was told of whom."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from bridge.fleet.listening import Told
from bridge.fleet.timeline import Said
from bridge.kafka.partitions import Place
from bridge.runtime.watch_reader import Assigned, Heard, WatchReader
from tests.support.eventually import eventually
from tests.support.kafka_choice import ChosenKafka

OLD = datetime(2026, 1, 2, 3, 4, 5, 250_000, UTC)


class Stand:
    """Topics, and one reader of them."""

    def __init__(self, kafka: ChosenKafka, make_name: Callable[[str], str]) -> None:
        self.kafka = kafka.client
        self.telemetry, self.status, self.alerts = map(make_name, ("telemetry", "status", "alerts"))
        self.handovers = 0
        self.group = make_name("group")
        self.reader = WatchReader(
            {"bootstrap.servers": kafka.bootstrap},
            telemetry=[self.telemetry],
            presence=[self.status],
            alerts=self.alerts,
            group=self.group,
            back_s=60.0,
            on_handover=self._count,
        )

    def _count(self) -> None:
        self.handovers += 1

    def create(self, **config: str) -> None:
        for name in (self.telemetry, self.status):
            self.kafka.create_topic(name, 2, {k.replace("_", "."): v for k, v in config.items()})

    def alert(self, kind: str, device_id: str | None, **fields: str) -> None:
        alert = {"type": kind, "client_id": self.group, "device_id": device_id, **fields}
        self.kafka.produce(self.alerts, [json.dumps(alert).encode()], key=b"k")

    def read(self, records: int) -> tuple[Assigned, list[Said | None], dict[Place, int]]:
        """Read until so many records came, and the ends were asked for."""
        assigned: list[Assigned] = []
        said: list[Said | None] = []
        ends: dict[Place, int] = {}

        def look() -> bool:
            for news in self.reader.step(0.1):
                if isinstance(news, Assigned):
                    assigned.append(news)
                elif isinstance(news, Heard):
                    said.extend(each for _, _, each in news.records)
                    ends.update(news.ends)
            return len(said) >= records and bool(ends)

        eventually(look, what=f"{records} records", deadline_s=60.0)
        return assigned[-1], said, ends


@pytest.fixture
def stand(kafka: ChosenKafka, unique_name: Callable[[str], str]) -> Iterator[Stand]:
    found = Stand(kafka, unique_name)
    yield found
    found.reader.close()


def test_telemetry_and_presence_are_signs_of_life_and_retained_copies_are_of_the_past(
    stand: Stand,
) -> None:
    stand.create()
    retained = [("mqtt.retained", b"true")]
    stand.kafka.produce(stand.telemetry, [b"{}"], key=b"a")
    stand.kafka.produce(stand.telemetry, [b"{}"], key=b"a", headers=retained)
    stand.kafka.produce(stand.telemetry, [b"{}"])
    stand.kafka.produce(stand.status, [b"offline", b"hello"], key=b"b")
    stand.kafka.produce(stand.status, [b'{"status": "online"}'], key=b"b", headers=retained)

    _, said, ends = stand.read(6)

    found = [each for each in said if each is not None]
    assert {
        ("a", None, False),
        ("b", False, False),
        ("b", None, False),
        ("b", True, True),
    } == {(each.device.decode(), each.is_online, each.is_retained) for each in found}
    assert 2 == said.count(None)
    assert all(0 <= time.time() - each.at_s < 60 for each in found)
    assert 6 == sum(ends.values())
    assert 4 == len(ends), "every partition of both topics"


def test_where_kafka_overwrites_timestamps_the_time_is_what_the_bridge_wrote(stand: Stand) -> None:
    stand.create(message_timestamp_type="LogAppendTime")
    stamped = {"server_received_at": "2026-01-02T03:04:05.250000Z"}
    stand.kafka.produce(stand.telemetry, [json.dumps(stamped).encode()], key=b"a")

    _, said, _ = stand.read(1)

    assert [Said(b"a", OLD.timestamp())] == said


def test_of_the_alerts_the_last_one_on_each_device_counts(stand: Stand) -> None:
    stand.create()
    stand.kafka.create_topic(stand.alerts, 1)
    heard = {"last_heard_at": "2026-01-02T03:04:05.250000Z"}
    stand.alert("device_silence", "silent", **heard)
    stand.alert("device_offline", "offline", **heard)
    stand.alert("device_silence", "back", **heard)
    stand.alert("device_recovered", "back", **heard)
    stand.alert("fleet_silence", None, since="2026-01-02T03:04:05.250000Z")
    stand.kafka.produce(stand.alerts, [b"no alert", b'{"type":"\xff"}', None], key=b"k")

    assigned, _, _ = stand.read(0)

    at_s = OLD.timestamp()
    assert {
        b"silent": Told(at_s, is_offline=False),
        b"offline": Told(at_s, is_offline=True),
    } == assigned.told
    assert assigned.is_fleet_told
    assert 2 == assigned.partitions
    assert 60.0 == pytest.approx(assigned.assigned_s - assigned.begins_s)


def test_before_partitions_are_handed_over_what_was_told_is_seen_to(stand: Stand) -> None:
    stand.create()
    stand.read(0)

    stand.reader.close()

    assert 1 == stand.handovers
