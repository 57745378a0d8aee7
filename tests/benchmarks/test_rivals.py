import tomllib
from pathlib import Path

import pytest

from benchmarks.figures import RIVALS, TELEGRAF, TELEGRAF_RAW
from benchmarks.rivals import Rival
from benchmarks.terms import Terms
from tests.support.kafka_client import ConsumedRecord

TERMS = Terms(
    mqtt_port=1883,
    bootstrap_servers="127.0.0.1:9092",
    client_id="c",
    kafka_topic="t",
    dead_letter_topic="d",
)


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_acknowledges_only_what_kafka_has(name: str, tmp_path: Path) -> None:
    Rival(name, tmp_path, TERMS)

    config = tomllib.loads((tmp_path / "telegraf.conf").read_text(encoding="utf-8"))

    (mqtt,), (kafka,) = config["inputs"]["mqtt_consumer"], config["outputs"]["kafka"]
    assert (mqtt["qos"], mqtt["persistent_session"], mqtt["client_id"]) == (1, True, "c")
    assert (kafka["required_acks"], kafka["topic"]) == (-1, "t")


@pytest.mark.parametrize(
    ("name", "key", "value", "is_right"),
    [
        (TELEGRAF_RAW, None, b'{"device_id":"d"}', True),
        (TELEGRAF_RAW, None, b"{}", False),
        (TELEGRAF, b"d", b'{"fields":{"metrics_temperature":1},"tags":{"device_id":"d"}}', True),
        (TELEGRAF, None, b'{"fields":{"metrics_temperature":1},"tags":{"device_id":"d"}}', False),
        (TELEGRAF, b"d", b'{"fields":{},"tags":{"device_id":"d"}}', False),
    ],
)
def test_a_record_that_is_less_than_was_asked_for_is_told(
    name: str, key: bytes | None, value: bytes, tmp_path: Path, *, is_right: bool
) -> None:
    record = ConsumedRecord(
        topic="t", partition=0, offset=0, key=key, value=value, headers=[], timestamp_ms=0
    )

    assert is_right == (not Rival(name, tmp_path, TERMS).fault_of(record))
