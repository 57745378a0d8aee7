"""A start with a million keys in the dedup window: read from disk, not from Kafka."""

import os
import time
from pathlib import Path

import pytest

from bridge.runtime.kafka_tail import Tail, Window
from bridge.runtime.window_files import WindowFiles
from tests.integration.scene import QUIET_DEADLINE_S, Scene, report
from tests.support.devices import fleet
from tests.support.eventually import eventually

KEYS = 1_000_000
WINDOW = Window(ttl_s=3_600.0, keys_max=KEYS, keys_min=40_000)
"""As the defaults of [dedup] and mqtt.unsettled_max have it."""


def fill_journal(directory: Path, client_id: str) -> None:
    """Write a million keys behind what the bridge wrote, at the checkpoint where it stopped."""
    files = WindowFiles(directory, window=WINDOW, client_id=client_id)
    content = files.load()
    assert content.ends is not None, "the stop left no checkpoint"
    files.begin(Tail(chunks=[], ends=content.ends), is_anew=False)
    now_ms = int(time.time() * 1_000)
    for _ in range(100):
        files.append(os.urandom(16 * KEYS // 100), now_ms, content.ends)
    files.close()


@pytest.mark.slow
def test_a_million_known_keys_are_back_before_the_first_puback(scene: Scene) -> None:
    scene.create_topics()
    bridge = scene.start()
    devices = scene.devices()
    devices.publish(fleet(10, 1_000))
    scene.await_nothing_in_flight(bridge)
    assert 0 == bridge.stop()
    fill_journal(bridge.directory / "state", scene.client_id)
    devices.publish(fleet(10, 2_000))

    began_s = time.monotonic()
    bridge.start()
    eventually(
        lambda: bridge.metric("bridge_pubacks_sent_total"),
        lambda sent: sent > 0,
        what="the first PUBACK",
        deadline_s=QUIET_DEADLINE_S,
        poll_s=0.01,
    )
    took_s = time.monotonic() - began_s
    read = bridge.events("window_journal_read")[-1]
    reckoning = scene.reckon_when_quiet(bridge)

    report(f"first PUBACK {took_s:.2f} s after the start; {read}; {reckoning}")
    assert read["keys"] >= KEYS
    reckoning.assert_holds()
    reckoning.assert_nothing_doubled()
