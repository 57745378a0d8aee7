"""The part that judges rules on trial, as a bridge makes it."""

import io
import json

from bridge.config.sections import BridgeConfig, ShadowSection
from bridge.fleet.registry import DeviceEntry, Registry
from bridge.kafka.record import Record
from bridge.observe.catalogue.entry import Level
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.pipeline.decode import decoding_of
from bridge.pipeline.flow import Flow
from bridge.pipeline.policy import Policy
from bridge.runtime.shadow_part import make_shadow
from tests.pipeline.given import RECEIVED, Packet, message

TRIAL = ShadowSection(ranges={"temperature": (0.0, 1.0)})


class Broken(Registry):
    """A registry with a bug that only a trial meets."""

    def label(self, entry: DeviceEntry | None) -> str:
        raise LookupError(f"no label for {entry}\x1b")


def make_log() -> tuple[EventLog, io.StringIO]:
    stream = io.StringIO()
    log = EventLog(
        level=Level.DEBUG,
        lines=StreamLines(stream),
        renderer=render_json,
        monotonic_now=lambda: 0.0,
    )
    return log, stream


def test_without_a_section_there_is_no_part() -> None:
    config = BridgeConfig()

    assert make_shadow(config, Registry(), decoding_of(config), make_log()[0]) is None


def test_a_bug_in_a_trial_is_logged_and_its_repetitions_are_suppressed() -> None:
    config = BridgeConfig(shadow=TRIAL)
    log, stream = make_log()
    shadow = make_shadow(config, Broken(), decoding_of(config), log)
    assert shadow is not None
    flow = Flow(
        routes=config.route,
        dead_letter_topic="telemetry-dlq",
        validation=config.validation,
        entropy=bytes,
        policy=Policy.of(config.validation, Registry()),
        shadow=shadow,
    )
    packets = [Packet(message(metrics={"temperature": number % 100})) for number in range(40)]

    outcomes = flow.process(packets, RECEIVED)

    assert {Record} == set(map(type, outcomes))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {("shadow_failed", "error")} == {(each["event"], each["level"]) for each in events}
    assert (40, 10, 30) == (shadow.faults, len(events), log.lines_suppressed)
    assert "LookupError" in events[0]["error"]
    assert "\x1b" not in events[0]["error"]
    assert "test_shadow_part.py:" in events[0]["where"]
