"""What knows the fleet over time goes on under another configuration."""

import io
from pathlib import Path

import pytest

from bridge.config.sections import BridgeConfig, LimitsSection, ValidationSection
from bridge.fleet.host_clock import Doubt
from bridge.fleet.limits import Limit
from bridge.fleet.registry import Registry
from bridge.observe.catalogue.entry import Level
from bridge.observe.counters import Counters
from bridge.observe.lines import StreamLines
from bridge.observe.log import EventLog, render_json
from bridge.runtime.fleet_parts import FleetParts
from tests.runtime.gap_stand import Producer
from tests.simulation.clock import SimClock

HOUR_S = 3_600.0
NOW_UNIX_S = 1.8e9


def made(config: BridgeConfig, state: Path) -> FleetParts:
    log = EventLog(level=Level.INFO, lines=StreamLines(io.StringIO()), renderer=render_json)
    return FleetParts(
        config,
        registry=Registry(),
        producer=Producer(),
        counters=Counters(),
        log=log,
        clock=SimClock(),
        state=state,
        on_trust=lambda _: None,
        on_bug=lambda _: None,
    )


@pytest.mark.parametrize(
    ("future_max_s", "doubt"), [(300, Doubt.FLEET_DISAGREES), (2 * HOUR_S, None)]
)
def test_the_clock_of_the_host_is_doubted_by_the_bounds_that_messages_are_judged_by(
    tmp_path: Path, future_max_s: float, doubt: Doubt | None
) -> None:
    parts = made(BridgeConfig(validation=ValidationSection(timestamp_future_max_s=900)), tmp_path)
    validation = ValidationSection(timestamp_future_max_s=future_max_s)

    parts.follow(BridgeConfig(validation=validation))
    host = parts.attendance.host
    host.note([(b"d%d" % number, -HOUR_S) for number in range(5)], 0.0)
    host.look(unix_s=NOW_UNIX_S, is_kept=False, now_s=0.0)

    assert doubt is host.doubt


async def test_limits_that_a_reload_turned_on_are_kept_for_the_next_process(
    tmp_path: Path,
) -> None:
    unlimited = BridgeConfig(limits=LimitsSection(per_device_per_s=0))
    before = made(unlimited, tmp_path)
    before.follow(BridgeConfig())
    assert before.limits is not None
    limit = Limit.of(10.0, 20)
    assert limit is not None
    before.limits.admit(b"d", limit, 1_000_000, 1.0)
    await before.state.close(is_settled=True)

    after = made(BridgeConfig(), tmp_path)
    await after.state.load()
    await after.state.close(is_settled=True)

    assert after.limits is not None
    assert 1 == after.limits.devices
