"""A route for each format on the real way: one reading is one record, whatever it came as."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from tests.integration.scene import Scene
from tests.pipeline.formats.given import (
    FORMATS,
    LAYOUT,
    OWN,
    Reading,
    encode,
    mapping,
    own_descriptor_set,
)
from tests.pipeline.given import DEVICE
from tests.support.bridge_process import BridgeProcess, Config
from tests.support.devices import DeviceMessage
from tests.support.eventually import eventually
from tests.support.kafka_client import ConsumedRecord

READINGS: Final = 50
"""Of each format."""
SERVER_FIELDS: Final = ("server_received_at", "time_drift_seconds")
KEYS: Final[dict[str, dict[str, Any]]] = {
    OWN: {"format": "protobuf", "protobuf": "pump"},
    "binary": {"format": "binary", "layout": "small"},
}


def topic_of(name: str) -> str:
    """Name the MQTT topic that is for this format."""
    return f"by/{FORMATS.index(name)}/{DEVICE}/telemetry"


def tables(directory: Path) -> dict[str, Any]:
    """Give the tables of the configuration that the routes name."""
    path = directory / "pump.binpb"
    path.write_bytes(own_descriptor_set())
    layout, own = (_plain(each) for each in (LAYOUT, mapping().fields))
    pump = {"descriptor_set": str(path), "message": "acme.Reading", "fields": own}
    return {"layout": {"small": layout}, "protobuf": {"pump": pump}}


def _plain(table: msgspec.Struct) -> Any:
    """Give a table as it would be written in the file: without what is left out there."""

    def without_nothing(value: Any) -> Any:
        match value:
            case dict():
                return {name: without_nothing(v) for name, v in value.items() if v is not None}
            case list() | tuple():
                return [without_nothing(each) for each in value]
            case _:
                return value

    return without_nothing(msgspec.to_builtins(table))


def routes(kafka_topic: str) -> list[dict[str, Any]]:
    """Give a route for each format, all to one Kafka topic."""
    return [
        {
            "filter": topic_of(name).replace(DEVICE, "+"),
            "kafka_topic": kafka_topic,
            **KEYS.get(name, {"format": name}),
        }
        for name in FORMATS
    ]


def readings() -> Iterator[tuple[str, Reading]]:
    """Give what the device measures, in every format in turn, each at a time of its own."""
    at_ms = time.time_ns() // 1_000_000 - 60_000
    for number, name in itertools.product(range(READINGS), FORMATS):
        at_ms += 1
        yield (
            name,
            Reading(
                measured_at_ms=at_ms,
                tenths=number * 37 - 400,
                energy=2**64 - 1 - number,
                flow=number / 7,
                is_open=number % 3 == 0,
                signal_strength=-number,
            ),
        )


def told(record: ConsumedRecord) -> dict[str, Any]:
    """Give what a record says, less what the server says of it."""
    said: dict[str, Any] = json.loads(record.value or b"")
    assert [] == [name for name in SERVER_FIELDS if said.pop(name, None) is None]
    return said


@pytest.fixture
def bridge(
    scene: Scene, start_bridge: Callable[[Config], BridgeProcess], tmp_path: Path
) -> BridgeProcess:
    """A bridge with a route for each format."""
    scene.create_topics()
    config = {**scene.config(), **tables(tmp_path), "route": routes(scene.telemetry)}
    running = start_bridge(config)
    running.wait_ready()
    return running


def await_settled(bridge: BridgeProcess, scene: Scene, messages: int) -> None:
    eventually(
        lambda: bridge.metrics().get("bridge_messages_received_total", 0.0),
        lambda received: received == messages,
        what=f"{messages} messages are received",
    )
    scene.await_nothing_in_flight(bridge)
    assert 0 == bridge.metric("bridge_conservation_residue")


def test_a_route_for_each_format_gives_the_records_that_json_gives(
    scene: Scene, bridge: BridgeProcess
) -> None:
    sent = list(readings())
    expected = [reading.message() for _, reading in sent]

    scene.devices().publish(
        DeviceMessage(topic=topic_of(name), payload=encode(reading, name)) for name, reading in sent
    )
    await_settled(bridge, scene, len(sent))

    found = scene.read()
    assert [] == found.dead_letters
    assert expected == [told(record) for record in found.telemetry]
    assert {(DEVICE.encode(), b"application/json")} == {
        (record.key, record.header("content-type")) for record in found.telemetry
    }
    assert 0 == bridge.stop()


def test_the_content_type_wins_on_the_route_of_every_format(
    scene: Scene, bridge: BridgeProcess
) -> None:
    sent = [reading for _, reading in readings()][: len(FORMATS)]

    scene.devices().publish(
        DeviceMessage(
            topic=topic_of(name), payload=encode(reading, "cbor"), content_type="application/cbor"
        )
        for name, reading in zip(FORMATS, sent, strict=True)
    )
    await_settled(bridge, scene, len(sent))

    found = scene.read()
    assert [] == found.dead_letters
    assert [reading.message() for reading in sent] == [told(record) for record in found.telemetry]


def test_a_payload_that_is_cut_short_is_a_dead_letter_of_its_bytes_in_every_format(
    scene: Scene, bridge: BridgeProcess
) -> None:
    sent = {name: encode(reading, name)[:-1] for name, reading in readings()}

    scene.devices().publish(
        DeviceMessage(topic=topic_of(name), payload=payload) for name, payload in sent.items()
    )
    await_settled(bridge, scene, len(sent))

    found = scene.read()
    assert [] == found.telemetry
    assert sorted(sent.values()) == sorted(letter.value or b"" for letter in found.dead_letters)
    for letter in found.dead_letters:
        assert b"not_decodable" == letter.header("dlq.reason")
        assert b"protocol" == letter.header("dlq.layer")
        assert scene.telemetry.encode() == letter.header("dlq.kafka-topic")
        assert letter.header("dlq.detail")
