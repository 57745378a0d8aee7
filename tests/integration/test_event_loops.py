"""The promise on either event loop: asyncio's own, and uvloop where it is installed."""

import pytest

from tests.integration.scene import Scene, await_owed, await_received, report
from tests.support.devices import fleet


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_kill_and_a_stop_under_load_lose_double_and_reorder_nothing(
    scene: Scene, loop: str
) -> None:
    scene.create_topics()
    # A name with two addresses, and nobody listens at the first.
    bridge = scene.spawn(mqtt={"host": "localhost"}, kafka={"properties": {"linger.ms": 100}})
    bridge.kill()
    bridge.env = {**bridge.env, "BRIDGE_EVENT_LOOP": loop}
    bridge.start()
    bridge.wait_ready()
    devices = scene.devices(window=1_000)
    devices.start(fleet(100), rate_per_s=2_000.0)

    await_received(bridge, 2_000)
    await_owed(bridge, 50)
    bridge.kill()
    bridge.start()
    bridge.wait_ready()
    await_received(bridge, 2_000)
    assert 0 == bridge.stop()
    bridge.start()
    bridge.wait_ready()
    await_received(bridge, 2_000)
    devices.stop()
    reckoning = scene.reckon_when_quiet(bridge)

    report(reckoning)
    reckoning.assert_holds()
    assert 0 == reckoning.duplicates
    assert {loop} == {each["event_loop"] for each in bridge.events("bridge_started")[-3:]}
