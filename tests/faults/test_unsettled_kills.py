"""SIGKILL of the bridge while it carries: each kill finds messages that are owed."""

import random
import secrets

import pytest

from tests.faults.stage import Stage
from tests.faults.test_outages import Length
from tests.integration.scene import await_in_flight, await_received, report
from tests.support.devices import fleet
from tests.support.eventually import let_last

DEVICES = 200
RATE_PER_S = 2_000.0


@pytest.mark.slow
def test_kills_each_with_messages_unsettled_lose_double_and_reorder_nothing(
    stage: Stage, length: Length
) -> None:
    kills, seed = int(length(8, 100)), secrets.randbelow(1_000_000)
    chance = random.Random(seed)  # noqa: S311  moments, no secrets
    # Linger keeps a part of the flow unsettled though Kafka takes all of it.
    bridge = stage.start(kafka={"properties": {"linger.ms": 100}})
    devices = stage.lean()
    devices.start(fleet(DEVICES), rate_per_s=RATE_PER_S)
    unsettled: list[int] = []

    for _ in range(kills):
        await_received(bridge, 200)
        let_last(chance.uniform(0.0, 1.0))
        unsettled.append(await_in_flight(bridge, 1))
        bridge.kill()
        bridge.start()
    await_received(bridge, 2_000)
    devices.stop()
    reckoning = stage.prove(bridge)

    report(
        f"seed {seed}: {kills} kills, unsettled just before each: least {min(unsettled)},"
        f" most {max(unsettled)}; {reckoning}"
    )
    assert kills == len(unsettled)
