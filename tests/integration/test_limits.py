"""Limits on the real way: a backlog passes, a device that floods does not, whatever its clock."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.scene import Scene, report
from tests.support.devices import DeviceMessage
from tests.support.kafka_client import ConsumedRecord

DEVICES = 50
LIMITS = {"per_device_per_s": 10.0, "burst": 20}
PUBLISH_S = 600.0
NOISY = "noisy"
NOISY_PER_S = 500
OTHERS = 999


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


@pytest.mark.parametrize(
    ("per_s", "span_s"), [(1, 60), (8, 60), pytest.param(8, 600, marks=pytest.mark.long)]
)
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

    devices.publish(backlog(per_s, span_s, ends_at=now), timeout_s=PUBLISH_S)
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


def share_out(seconds: int, *, others: int = OTHERS) -> Iterator[DeviceMessage]:
    """Let one device speak 500 times a second beside others that speak once."""
    began_at = datetime.now(UTC)
    for number in range(seconds * (NOISY_PER_S + others)):
        second, turn = divmod(number, NOISY_PER_S + others)
        # Each third message is of the noisy one; what its clock says is what it does.
        is_noisy = turn % 3 == 0 and turn // 3 < NOISY_PER_S
        at = began_at + timedelta(seconds=second + turn / (NOISY_PER_S + others))
        device_id = NOISY if is_noisy else f"device-{turn - min(turn // 3 + 1, NOISY_PER_S)}"
        yield said_at(device_id, number, at)


def test_one_device_at_500_a_second_is_limited_and_none_of_999_at_one_a_second(
    scene: Scene,
) -> None:
    seconds = 15
    scene.create_topics()
    bridge = scene.start(limits=LIMITS)
    devices = scene.devices(window=1_000)

    devices.start(share_out(seconds), rate_per_s=NOISY_PER_S + OTHERS)
    devices.wait(PUBLISH_S)
    reckoning = scene.reckon_when_quiet(bridge)
    found = scene.read()

    reckoning.assert_holds()
    took = Counter(each.key for each in found.telemetry)
    letters = Counter((each.key, each.header("dlq.reason")) for each in found.dead_letters)
    noisy = took.pop(NOISY.encode())
    assert {(NOISY.encode(), b"rate_limited"): seconds * NOISY_PER_S - noisy} == letters
    took.pop(b"probe")
    assert {f"device-{number}".encode(): seconds for number in range(OTHERS)} == took
    span_s = received_span_s([each for each in found.telemetry if each.key == NOISY.encode()])
    report(f"{noisy} of {seconds * NOISY_PER_S} taken; they arrived over {span_s:.2f} s")
    assert 20 < noisy <= may_be_taken(max(span_s, seconds))


def may_be_taken(span_s: float) -> int:
    """Give the burst and the rate; one more, since a span is read from the wall clock here."""
    return 20 + int(10 * span_s) + 1


def received_span_s(records: list[ConsumedRecord]) -> float:
    """Give the time that the bridge took to read them, by its own clock."""
    at = [json.loads(each.value or b"")["server_received_at"] for each in records]
    first, last = (datetime.fromisoformat(each) for each in (min(at), max(at)))
    return (last - first).total_seconds()


@pytest.mark.parametrize(
    ("ahead_s", "device_span_s"),
    [
        pytest.param(lambda _: 0.0, 0.0, id="constant"),
        pytest.param(lambda number: -0.002 * number, 0.0, id="backward"),
        pytest.param(lambda number: 0.1 * (number // 50), 9.9, id="in steps of 100 ms"),
    ],
)
def test_500_a_second_get_the_larger_of_both_spans_and_a_burst_whatever_the_timestamps(
    scene: Scene, ahead_s: Callable[[int], float], device_span_s: float
) -> None:
    count = 10 * NOISY_PER_S
    scene.create_topics()
    bridge = scene.start(limits=LIMITS)
    devices = scene.devices(window=500)
    now = datetime.now(UTC)

    devices.start(
        (said_at(NOISY, each, now + timedelta(seconds=ahead_s(each))) for each in range(count)),
        rate_per_s=NOISY_PER_S,
    )
    devices.wait(PUBLISH_S)
    reckoning = scene.reckon_when_quiet(bridge)
    taken = [each for each in scene.read().telemetry if each.key == NOISY.encode()]

    reckoning.assert_holds()
    assert count == len(taken) + limited(scene)
    arrival_span_s = received_span_s(taken)
    report(f"{len(taken)} taken over {arrival_span_s:.2f} s, {device_span_s} s by its own clock")
    assert 20 < len(taken) <= may_be_taken(max(arrival_span_s, device_span_s))
