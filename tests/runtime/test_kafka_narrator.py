import io

import pytest

from bridge.kafka.record import Record
from bridge.observe.catalogue.entry import Level
from bridge.observe.counters import Counters
from bridge.observe.examples import Examples
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.runtime.kafka_narrator import KafkaNarrator
from tests.pipeline.given import Packet, carry, flow


@pytest.fixture
def log() -> EventLog:
    return EventLog(level=Level.ERROR, lines=StreamLines(io.StringIO()), renderer=render_json)


def test_the_letters_of_our_rules_and_those_of_kafka_are_examples_and_telemetry_is_none(
    log: EventLog,
) -> None:
    examples = Examples()
    narrator = KafkaNarrator(Counters(), log, examples)
    good, bad = carry(Packet()), carry(Packet(payload=b"no JSON"))
    refused = flow().refuse(good, error="MSG_SIZE_TOO_LARGE", value_bytes_max=1_000)
    assert isinstance(refused, Record)

    narrator.tell_dead_letters([good, bad])
    narrator.tell_refused(good, refused, "MSG_SIZE_TOO_LARGE")

    told = examples.as_tree()
    assert {"not_decodable", "kafka_refused"} == set(told)
    assert ["no JSON"] == [each["payload"] for each in told["not_decodable"]]
    assert "MSG_SIZE_TOO_LARGE" in told["kafka_refused"][0]["detail"]
