"""What `watch` makes of the alerts: the last word on each device, and nothing of what is none."""

from datetime import UTC, datetime

import pytest

from bridge.fleet.listening import Told
from bridge.runtime.watch_reader import read_told

HEARD_S = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
SILENT = b'{"type":"device_silence","device_id":"d","last_heard_at":"2026-01-02T03:04:05Z"}'
FLEET_SILENT = b'{"type":"fleet_silence","client_id":"watch"}'


def test_what_was_said_last_of_each_device_counts() -> None:
    back = SILENT.replace(b"device_silence", b"device_recovered").replace(b'"d"', b'"e"')

    told = read_told(
        [SILENT, SILENT.replace(b'"d"', b'"e"'), back, FLEET_SILENT],
        group="watch",
        is_ours=lambda _: True,
    )

    assert ({b"d": Told(HEARD_S, is_offline=False)}, True) == told


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param(None, id="a tombstone"),
        pytest.param(b"no alert", id="no JSON"),
        pytest.param(b'{"type":"\xff"}', id="no text"),
        pytest.param(b'{"new":' + b"[" * 3_000 + b"]" * 3_000 + b"}", id="deep"),
        pytest.param(SILENT.replace(b"2026-01-02T03:04:05Z", b"yesterday"), id="no time"),
        pytest.param(SILENT.replace(b"2026-01-02T03:04:05Z", b"0001-01-01"), id="no year"),
    ],
)
def test_a_record_of_somebody_else_is_passed_over(foreign: bytes | None) -> None:
    told = read_told([SILENT, FLEET_SILENT, foreign], group="watch", is_ours=lambda _: True)

    assert ({b"d": Told(HEARD_S, is_offline=False)}, True) == told
