"""The broker's own count of messages that it dropped, and what a new value of it says."""

from typing import Final

import msgspec

MQTT_TOPIC: Final = "$SYS/broker/publish/messages/dropped"
"""Mosquitto's name of it; it counts for all clients together."""
_DIGITS_MAX: Final = 20


class DropNews(msgspec.Struct, frozen=True):
    """What changed with one report of the counter."""

    dropped: int
    """Messages dropped since the value before; 0 where there was none."""
    is_reset: bool
    """It counts from 0 again: the broker was restarted."""


class DropCount:
    """The last value known, which a restart of the bridge outlives in the session memory."""

    def __init__(self, count: int | None = None) -> None:
        self.count = count

    def note(self, count: int) -> DropNews:
        """Take a new value; the first one ever is where counting begins."""
        before, self.count = self.count, count
        if before is None:
            return DropNews(0, is_reset=False)
        if count < before:
            return DropNews(count, is_reset=True)
        return DropNews(count - before, is_reset=False)


def parse(payload: bytes) -> int | None:
    """Read the counter; None for what is no number."""
    return int(payload) if len(payload) <= _DIGITS_MAX and payload.isdigit() else None
