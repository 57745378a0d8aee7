"""A backlog of large messages: the bridge takes what it can hold, and no more."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.scene import Scene, report
from tests.support.devices import DeviceMessage, telemetry
from tests.support.kafka_cluster import KafkaProcess

MESSAGES = 2_000
PAYLOAD_BYTES = 250_000
DEVICES = 20
RESIDENT_BYTES_MAX = 250_000_000


def large_messages() -> Iterator[DeviceMessage]:
    envelope = len(telemetry("device-00", 1_000, filler="").payload)
    filler = "x" * (PAYLOAD_BYTES - envelope)
    for number in range(MESSAGES):
        yield telemetry(f"device-{number % DEVICES:02}", number, filler=filler)


def peak_resident_bytes(pid: int) -> int:
    """Return VmHWM: the most that was ever resident, whenever one looks."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(each for each in status.splitlines() if each.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


@pytest.mark.slow
def test_two_thousand_messages_of_250_kb_are_drained_within_250_mb(
    victim_scene: Scene, victim: KafkaProcess
) -> None:
    scene = victim_scene
    scene.create_topics()
    bridge = scene.start()
    assert 0 == bridge.stop()
    ledger = scene.devices(window=50).publish(large_messages(), timeout_s=120.0)
    assert MESSAGES == len(ledger.acknowledged)

    victim.freeze()  # So that the bounds are what ends the reading, and not a quick Kafka.
    bridge.start()
    paused = bridge.wait_for_event("reading_paused")
    held = peak_resident_bytes(bridge.pid)
    victim.thaw()
    scene.await_quiet(bridge)

    peak = peak_resident_bytes(bridge.pid)
    report(
        f"paused by {paused['cause']} at {paused['unsettled']} messages,"
        f" {paused['unsettled_bytes'] / 1e6:.0f} MB; resident memory: {held / 1e6:.0f} MB then,"
        f" {peak / 1e6:.0f} MB at its peak, {bridge.rss_bytes / 1e6:.0f} MB when drained"
    )
    scene.reckon(bridge).assert_holds()
    assert "unsettled_bytes_max" == paused["cause"]
    assert peak < RESIDENT_BYTES_MAX
