"""Limits on the real way: a backlog passes, a device that floods does not, whatever its clock."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.scene import Scene, report
from tests.support.devices import DeviceMessage

DEVICES = 50
LIMITS = {"per_device_per_s": 10.0, "burst": 20}


def said_at(device_id: str, number: int, at: datetime) -> DeviceMessage:
    body = {
        "device_id": device_id,
        "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "metrics": {"sequence": number, "temperature": 21.5},
    }
    return DeviceMessage(topic=f"devices/{device_id}/telemetry", payload=json.dumps(body).encode())


def backlog(per_s: int, span_s: int, *, ends_at: datetime) -> Iterator[DeviceMessage]:
    """Give what devices have to say of this time, now that somebody listens."""
    for number in range(per_s * span_s):
        at = ends_at - timedelta(seconds=span_s - number / per_s)
        for device in range(DEVICES):
            yield said_at(f"device-{device}", number, at)


def limited(scene: Scene) -> int:
    letters = scene.read().dead_letters
    return sum(each.header("dlq.reason") == b"rate_limited" for each in letters)


@pytest.mark.parametrize(("per_s", "span_s"), [(1, 60), (8, 60)])
def test_what_the_bridge_did_not_hear_for_a_minute_is_not_limited_when_it_is_back(
    scene: Scene, per_s: int, span_s: int
) -> None:
    scene.create_topics()
    bridge = scene.start(limits=LIMITS)
    devices = scene.devices(window=500)
    now = datetime.now(UTC)
    devices.publish(backlog(per_s, 2, ends_at=now - timedelta(seconds=span_s)))
    scene.await_nothing_in_flight(bridge)
    assert 0 == bridge.stop()

    devices.publish(backlog(per_s, span_s, ends_at=now))
    bridge.start()
    reckoning = scene.reckon_when_quiet(bridge)

    report(reckoning)
    assert 0 == limited(scene)
    reckoning.assert_holds()


def test_a_device_that_floods_with_one_timestamp_is_limited_and_counted(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start(limits={**LIMITS, "on_exceed": "drop"})
    devices = scene.devices()
    now = datetime.now(UTC)

    devices.publish(said_at("noisy", number, now) for number in range(500))
    devices.publish([said_at("quiet", 0, now)])
    scene.await_nothing_in_flight(bridge)
    scene.client.consume_all(scene.telemetry, until=21)
    dropped = bridge.metric("bridge_messages_dropped_total", reason="rate_limited")
    settled = bridge.metric("bridge_messages_settled_total", outcome="dropped")

    assert dropped == settled
    assert 501 == dropped + len(scene.read().telemetry)
    assert dropped > 400, "500 in less than ten seconds"
    assert 0 == bridge.metric("bridge_conservation_residue")
