"""Records that lie in Kafka, whoever wrote them, judged by two sets of rules."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from bridge.config.sections import BridgeConfig, Route, ValidationSection
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.kafka.record import Record
from bridge.pipeline.decode import decoding_of
from bridge.pipeline.flow import Flow
from bridge.pipeline.letters.letter import Letter, read_letter
from bridge.pipeline.policy import Policy
from bridge.pipeline.rule_set import RuleSet
from bridge.pipeline.sampling import Sampling, Side, Source, shares
from bridge.pipeline.verdict import Readings, Several
from tests.pipeline.given import DEVICE, RECEIVED, Packet, message

BATCHES = Route(filter="devices/+/batch", kind="batch")
ROUTES = (Route(), BATCHES)
THEN = ValidationSection(timestamp_age_max_s=30 * 86_400, ranges={"temperature": (0.0, 40.0)})
WEEK_AGO = "2026-11-15T17:35:25Z"


def sampling(then: ValidationSection = THEN) -> Sampling:
    registry = Registry()
    registry.replace({DEVICE: DeviceEntry(type="boiler")})
    return Sampling(
        Side(RuleSet(ValidationSection()), registry),
        Side(RuleSet(then), registry),
        routes=ROUTES,
        decoding=decoding_of(BridgeConfig(route=ROUTES)),
    )


def carried(packet: Packet, **validation: Any) -> list[Record]:
    """Give the records that a bridge would have written."""
    section = ValidationSection(**validation)
    flow = Flow(
        routes=ROUTES,
        dead_letter_topic="telemetry-dlq",
        validation=section,
        entropy=bytes,
        policy=Policy.of(section, Registry()),
    )
    (outcome,) = flow.process([packet], RECEIVED)
    singles = outcome.outcomes if isinstance(outcome, Readings) else [outcome]
    found: list[Record] = []
    for single in singles:
        several = single.records if isinstance(single, Several) else [single]
        found += [each for each in several if isinstance(each, Record)]
    return found


def letter_of(record: Record) -> Letter:
    return read_letter(
        kafka_topic=record.kafka_topic,
        partition=0,
        offset=0,
        key=record.key,
        payload=record.value,
        headers=record.headers,
        timestamp_ms=0,
    )


def judge(records: list[Record]) -> tuple[dict[str, int], Source]:
    """Judge records as they would lie in Kafka; name what was counted."""
    judging, source = sampling(), Source(kafka_topic="t")
    for record in records:
        if record.dead_letter is None:
            judging.add_record(record.value, source)
        else:
            judging.add_letter(letter_of(record), source)
    counts = judging.differences.verdicts
    return {" ".join(labels): count for labels, count in counts.items() if count}, source


def batch(*readings: Mapping[str, Any]) -> Packet:
    whole = {"device_id": DEVICE, "batch_id": "b", "readings": readings}
    return Packet(json.dumps(whole).encode(), "devices/dev-0001/batch")


@pytest.mark.parametrize(
    ("packet", "mode", "expected"),
    [
        pytest.param(Packet(), "both", {"unchanged none boiler": 1}, id="passes both"),
        pytest.param(
            Packet(message(metrics={"temperature": 41})),
            "both",
            {"newly_fails out_of_range boiler": 1},
            id="a narrower range",
        ),
        pytest.param(
            Packet(message(metrics={"temperature": 999})),
            "both",
            {"unchanged out_of_range boiler": 1},
            id="flagged: its copy is not judged again",
        ),
        pytest.param(
            Packet(message(metrics={"temperature": 999})),
            "dlq",
            {"unchanged out_of_range boiler": 1},
            id="flagged, and only a letter",
        ),
        pytest.param(
            Packet(message(timestamp=WEEK_AGO)),
            "both",
            {"newly_passes timestamp_old boiler": 1},
            id="a letter that would be telemetry",
        ),
        pytest.param(Packet(b"{"), "both", {}, id="a letter that no rule decides"),
        pytest.param(
            batch(
                {"timestamp": WEEK_AGO, "metrics": {"temperature": 1}},
                {"timestamp": "2026-11-23T17:35:25Z", "metrics": {"temperature": 41}},
            ),
            "both",
            {"newly_passes timestamp_old boiler": 1, "newly_fails out_of_range boiler": 1},
            id="readings of a batch",
        ),
    ],
)
def test_what_a_bridge_wrote_is_judged_by_both_sets_at_its_time_of_receipt(
    packet: Packet, mode: str, expected: dict[str, int]
) -> None:
    found, source = judge(carried(packet, semantic=mode, business=mode))

    assert expected == found
    assert sum(expected.values()) == source.judged
    if expected:
        assert (RECEIVED.rfc3339, RECEIVED.rfc3339) == (source.first, source.last)


def test_a_group_quotes_the_bound_that_would_be_broken() -> None:
    judging = sampling()
    (record,) = carried(Packet(message(metrics={"temperature": 41}, metadata={"firmware": "2.1"})))
    judging.add_record(record.value, Source(kafka_topic="t"))

    ((key, group),) = judging.differences.groups()

    assert ("newly_fails", "out_of_range", "boiler", "2.1") == key
    detail = "metrics.temperature is 41, above 40, the highest allowed (validation.ranges)"
    assert {DEVICE: detail} == group.examples


def test_a_record_of_a_doubted_clock_is_not_judged_by_its_time() -> None:
    (record,) = carried(Packet(message(timestamp="2026-11-23T17:35:25Z")))
    body = json.loads(record.value) | {
        "timestamp": "2020-01-01T00:00:00Z",
        "warnings": ["host_clock_unsynchronised"],
    }
    told, _ = judge([msgspec.structs.replace(record, value=json.dumps(body).encode())])
    untold, _ = judge(
        [msgspec.structs.replace(record, value=json.dumps(body | {"warnings": []}).encode())]
    )

    assert {"unchanged none boiler": 1} == told
    assert {"unchanged timestamp_old boiler": 1} == untold


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": b"{"},
        {"payload": b"[]"},
        {"mqtt_topic": "elsewhere"},
        {"mqtt_topic": "devices/dev-0001/batch"},
        {"is_whole": False},
        {"is_copy": True},
        {"reason": "rate_limited"},
        {"reason": "\x1b"},
    ],
    ids=str,
)
def test_a_letter_that_cannot_be_judged_is_read_and_left(changes: dict[str, Any]) -> None:
    (record,) = carried(Packet(message(timestamp=WEEK_AGO)))
    judging, source = sampling(), Source(kafka_topic="t")

    judging.add_letter(msgspec.structs.replace(letter_of(record), **changes), source)

    assert (1, 0, 0) == (source.records, source.judged, judging.differences.judged)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)
FOREIGN = st.fixed_dictionaries(
    {},
    optional={
        "device_id": st.one_of(st.just(DEVICE), JSON),
        "timestamp": st.one_of(st.just(WEEK_AGO), JSON),
        "server_received_at": st.one_of(
            st.sampled_from([RECEIVED.rfc3339, "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]),
            JSON,
        ),
        "metrics": st.one_of(st.dictionaries(st.sampled_from(["temperature", "x"]), JSON), JSON),
        "metadata": st.one_of(
            st.dictionaries(st.sampled_from(["firmware_version", "location"]), JSON), JSON
        ),
        "warnings": JSON,
    },
)


@given(value=st.one_of(st.binary(max_size=20), FOREIGN.map(lambda tree: json.dumps(tree).encode())))
@settings(max_examples=300, deadline=None)
def test_no_record_of_anybody_can_stop_the_sample(value: bytes) -> None:
    judging, source = sampling(), Source(kafka_topic="t")

    judging.add_record(value, source)

    assert 1 == source.records
    assert source.judged == judging.differences.judged


@pytest.mark.parametrize(
    ("available", "count", "expected"),
    [
        ([100, 100, 100, 100], 40, [10, 10, 10, 10]),
        ([3, 100, 0, 100], 40, [3, 19, 0, 18]),
        ([100, 100, 100], 1, [1, 0, 0]),
        ([5, 5], 100, [5, 5]),
        ([0, 0], 10, [0, 0]),
        ([], 10, []),
    ],
)
def test_a_sample_is_dealt_evenly_and_what_one_lacks_others_give(
    available: list[int], count: int, expected: list[int]
) -> None:
    places = {("t", index): each for index, each in enumerate(available)}

    dealt = shares(places, count)

    assert expected == [dealt["t", index] for index in range(len(available))]


@given(available=st.lists(st.integers(0, 50), min_size=1, max_size=8), count=st.integers(1, 300))
def test_a_sample_is_never_more_than_asked_for_and_never_less_than_there_is(
    available: list[int], count: int
) -> None:
    places = {("t", index): each for index, each in enumerate(available)}

    dealt = shares(places, count)

    assert min(count, sum(available)) == sum(dealt.values())
    assert all(0 <= dealt[place] <= places[place] for place in places)
