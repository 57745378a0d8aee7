"""Rules on trial on the way of messages: what they would change is counted, and nothing changes."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from bridge.config.sections import BridgeConfig, Route, ShadowSection, ValidationSection
from bridge.fleet.dedup_window import DedupWindow
from bridge.fleet.duplicates import Duplicates
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.kafka.record import Record
from bridge.mqtt.packets import Inbound, PoisonPublish
from bridge.pipeline.decode import decode
from bridge.pipeline.flow import Flow, Outcome
from bridge.pipeline.policy import Policy
from bridge.pipeline.rule_set import RuleSet
from bridge.pipeline.shadow import Shadow
from bridge.pipeline.verdict import Duplicate, Readings, Several
from tests.pipeline.given import DEVICE, RECEIVED, TIMESTAMP, Packet, message

BATCHES = "devices/dev-0001/batch"
ROUTES = (Route(), Route(filter="devices/+/batch", kind="batch"))
DAY_S = 86_400
TRIAL = ShadowSection(
    timestamp_age_max_s=14 * DAY_S,
    timestamp_future_max_s=1,
    metrics_required=("temperature",),
    ranges={"temperature": (0.0, 40.0), "humidity": ()},
)
WEEK_AGO = "2026-11-15T17:35:25Z"
"""Eight days: too old today, and not by the rules on trial."""


HUGE = "<huge>"


def dump(tree: object) -> bytes:
    """Write JSON as a device may: with an integer that Python would refuse to print."""
    return json.dumps(tree).replace(f'"{HUGE}"', "1" + "0" * 4_400).encode()


class Bridge:
    """A flow with rules on trial, or without."""

    def __init__(
        self,
        trial: ShadowSection | None = TRIAL,
        *,
        chances: Iterator[float] | None = None,
        decode_again: Any = decode,
        **validation: Any,
    ) -> None:
        config = BridgeConfig(validation=ValidationSection(**validation), shadow=trial)
        self.registry = Registry()
        self.registry.replace({DEVICE: DeviceEntry(type="boiler")})
        self.faults: list[Exception] = []
        self.shadow = None
        on_trial = RuleSet.on_trial(config)
        if on_trial is not None and trial is not None:
            self.shadow = Shadow(
                today=RuleSet(config.validation),
                on_trial=on_trial,
                registry=self.registry,
                decode=decode_again,
                sample_ratio=trial.sample_ratio,
                chance=float if chances is None else chances.__next__,
                on_fault=self.faults.append,
            )
        window = DedupWindow(ttl_s=1e9, keys_max=10_000, keys_min=10)
        self.flow = Flow(
            routes=ROUTES,
            dead_letter_topic="telemetry-dlq",
            validation=config.validation,
            entropy=lambda size: b"\xff" * size,
            duplicates=Duplicates(window),
            policy=Policy.of(config.validation, self.registry),
            shadow=self.shadow,
        )

    def send(self, *packets: Inbound) -> list[Outcome]:
        return self.flow.process(packets, RECEIVED)

    def verdicts(self) -> dict[str, int]:
        """Name what was counted: change, reason and device type."""
        assert self.shadow is not None
        counts = self.shadow.differences.verdicts
        return {" ".join(labels): count for labels, count in counts.items() if count}


def reading(payload_of: str = DEVICE, *, retain: bool = False, **changes: object) -> Packet:
    topic = f"devices/{payload_of}/telemetry"
    return Packet(message(device_id=payload_of, **changes), topic, retain=retain)


def metrics(**values: object) -> Packet:
    return reading(metrics=values)


def batch(*readings: Mapping[str, Any]) -> Packet:
    whole = {"device_id": DEVICE, "batch_id": "b", "readings": readings}
    return Packet(dump(whole), BATCHES)


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        pytest.param(reading(), {"unchanged none boiler": 1}, id="passes both"),
        pytest.param(
            metrics(temperature=41), {"newly_fails out_of_range boiler": 1}, id="a narrower range"
        ),
        pytest.param(
            metrics(temperature=20, humidity=101),
            {"newly_passes out_of_range boiler": 1},
            id="a range that is gone",
        ),
        pytest.param(
            metrics(temperature=999), {"unchanged out_of_range boiler": 1}, id="fails for both"
        ),
        pytest.param(
            metrics(humidity=1), {"newly_fails schema_mismatch boiler": 1}, id="a metric is missing"
        ),
        pytest.param(
            reading(timestamp=WEEK_AGO), {"newly_passes timestamp_old boiler": 1}, id="older is let"
        ),
        pytest.param(
            reading(timestamp="2026-11-23T17:35:30Z"),
            {"newly_fails timestamp_future boiler": 1},
            id="five seconds ahead are too many",
        ),
        pytest.param(
            reading(timestamp=WEEK_AGO, metrics={"temperature": 41}),
            {"newly_passes timestamp_old boiler": 1, "newly_fails out_of_range boiler": 1},
            id="a letter of today has reasons that today hid",
        ),
        pytest.param(
            reading("dev-9"), {"unchanged device_unknown other": 1}, id="not in the registry"
        ),
        pytest.param(reading(timestamp="no time"), {}, id="a schema that no rule decides"),
        pytest.param(reading(timestamp=10**30), {}, id="a time beyond any calendar"),
        pytest.param(Packet(b"{"), {}, id="not decodable"),
        pytest.param(Packet(b"", "elsewhere"), {}, id="no route"),
        pytest.param(
            PoisonPublish(
                topic="devices/dev-0001/telemetry",
                payload=b"x",
                packet_id=1,
                is_too_large=True,
                detail="",
                payload_bytes=9,
                payload_sha256="",
            ),
            {},
            id="too large for the codec",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["forward", "dlq", "both"])
def test_each_reason_is_compared_wherever_flagged_messages_go(
    packet: Inbound, expected: dict[str, int], mode: str
) -> None:
    bridge = Bridge(semantic=mode, business=mode)

    bridge.send(packet)

    assert expected == bridge.verdicts()
    assert [] == bridge.faults


def test_the_readings_of_a_batch_are_compared_one_by_one() -> None:
    bridge = Bridge()
    good = {"timestamp": TIMESTAMP, "metrics": {"temperature": 20}}

    (outcome,) = bridge.send(
        batch(
            good,
            {**good, "metrics": {"temperature": 41}},
            {**good, "timestamp": WEEK_AGO},
            {**good, "metrics": []},
        )
    )

    assert isinstance(outcome, Readings)
    assert {
        "unchanged none boiler": 1,
        "newly_fails out_of_range boiler": 1,
        "newly_passes timestamp_old boiler": 1,
    } == bridge.verdicts()


def test_a_message_that_comes_again_is_judged_once() -> None:
    bridge = Bridge()

    first, second = bridge.send(metrics(temperature=41), metrics(temperature=41))

    assert not isinstance(first, Duplicate)
    assert isinstance(second, Duplicate)
    assert {"newly_fails out_of_range boiler": 1} == bridge.verdicts()


def test_no_time_is_judged_while_the_clock_of_the_host_is_doubted() -> None:
    bridge = Bridge()
    bridge.flow.trust_clock(is_trusted=False)

    bridge.send(reading(timestamp=WEEK_AGO), reading(timestamp="2026-11-23T18:35:30Z"))

    assert {"unchanged none boiler": 2} == bridge.verdicts()


def test_only_what_chance_draws_is_judged_and_the_rest_is_counted() -> None:
    trial = msgspec.structs.replace(TRIAL, sample_ratio=0.5)
    bridge = Bridge(trial, chances=iter([0.49, 0.5, 0.0, 0.99]))

    bridge.send(*(metrics(temperature=number) for number in range(4)), Packet(b"{"))

    assert {"unchanged none boiler": 2} == bridge.verdicts()
    assert bridge.shadow is not None
    assert 2 == bridge.shadow.left_out


def test_a_group_names_firmware_and_devices() -> None:
    bridge = Bridge()
    bridge.send(reading(metrics={"temperature": 41}, metadata={"firmware_version": "2.1\x1b"}))
    assert bridge.shadow is not None

    ((key, group),) = bridge.shadow.differences.groups()

    assert ("newly_fails", "out_of_range", "boiler", "2.1\\x1b") == key
    detail = "metrics.temperature is 41, above 40, the highest allowed (shadow.ranges)"
    assert {DEVICE: detail} == group.examples


# -------------------------------------------------------------------------- without effect


def broken(*_: object) -> None:
    raise RuntimeError("a bug of ours")


def traces(outcomes: Sequence[Outcome]) -> list[object]:
    """Give all that leaves the bridge of what was carried, in order."""
    found: list[object] = []
    for outcome in outcomes:
        if isinstance(outcome, Readings):
            found.append(traces(outcome.outcomes))
        elif isinstance(outcome, Several):
            found.append(traces(outcome.records))
        elif isinstance(outcome, Record):
            found.append(msgspec.structs.astuple(outcome))
        else:
            found.append((type(outcome).__name__, *msgspec.structs.astuple(outcome)))
    return [
        tuple(
            msgspec.structs.astuple(part) if type(part).__name__ == "DeadLetter" else part
            for part in each
        )
        if isinstance(each, tuple)
        else each
        for each in found
    ]


def test_a_bug_in_judging_is_counted_and_told_and_holds_no_message() -> None:
    bridge, plain = Bridge(decode_again=broken), Bridge(None)
    packets = [reading(timestamp=WEEK_AGO), reading()]

    assert traces(plain.send(*packets)) == traces(bridge.send(*packets))

    assert bridge.shadow is not None
    assert 1 == bridge.shadow.faults == len(bridge.faults)
    assert {"unchanged none boiler": 1} == bridge.verdicts()


def test_not_even_a_fault_that_cannot_be_told_holds_a_message() -> None:
    config = BridgeConfig(shadow=TRIAL)
    shadow = Shadow(
        today=RuleSet(config.validation),
        on_trial=RuleSet(config.validation),
        registry=Registry(),
        decode=broken,
        sample_ratio=1.0,
        chance=float,
        on_fault=broken,
    )
    flow = Flow(
        routes=ROUTES,
        dead_letter_topic="telemetry-dlq",
        validation=config.validation,
        entropy=bytes,
        policy=Policy.of(config.validation, Registry()),
        shadow=shadow,
    )

    (outcome,) = flow.process([reading(timestamp=WEEK_AGO)], RECEIVED)

    assert isinstance(outcome, Record)
    assert 1 == shadow.faults


SCALARS = st.one_of(
    st.integers(-200, 200), st.floats(), st.text(max_size=5), st.booleans(), st.none()
)
TIMES = st.sampled_from([TIMESTAMP, WEEK_AGO, "2026-11-23T17:35:30Z", "never", 0, 10**30])
BODIES = st.fixed_dictionaries(
    {"timestamp": TIMES},
    optional={
        "metrics": st.dictionaries(st.sampled_from(["temperature", "humidity", "x"]), SCALARS),
        "metadata": st.one_of(
            st.none(),
            st.dictionaries(
                st.sampled_from(["firmware_version", "signal_strength", "location"]),
                st.one_of(SCALARS, st.just(HUGE), st.just(["list"])),
            ),
        ),
        "warnings": st.just(["out_of_range: a lie"]),
    },
)


PACKETS = st.one_of(
    st.builds(
        lambda body, device, retain: Packet(
            dump({"device_id": device, **body}), f"devices/{device}/telemetry", retain=retain
        ),
        BODIES,
        st.sampled_from([DEVICE, "dev-2"]),
        st.booleans(),
    ),
    st.builds(lambda bodies: batch(*bodies), st.lists(BODIES, max_size=4)),
    st.builds(Packet, st.binary(max_size=8)),
)


@given(
    packets=st.lists(PACKETS, max_size=8),
    mode=st.sampled_from(["forward", "dlq", "both"]),
)
@settings(max_examples=150, deadline=None)
def test_records_headers_and_order_are_the_same_with_rules_on_trial_and_without(
    packets: list[Packet], mode: str
) -> None:
    plain, on_trial = (Bridge(trial, semantic=mode, business=mode) for trial in (None, TRIAL))

    assert traces(plain.send(*packets)) == traces(on_trial.send(*packets))
    assert traces(plain.send(*packets)) == traces(on_trial.send(*packets))

    assert [] == on_trial.faults
