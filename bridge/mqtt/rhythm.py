"""When to read the socket again: where packets trickle in, a little later and several at once."""

from typing import Final

PACKETS_MIN: Final = 3
"""So many packets must be expected in a rest, or it costs more time than it saves."""
FULL: Final = 256
FULL_BYTES: Final = 65_536
"""A read with so many, or so large, costs nothing that reading later would save. A socket is read
by 256 KiB at most: with a rest after each, a backlog of large messages would never be caught up."""


class Rhythm:
    """Tell how long to rest after a read.

    A read costs some 300 us whatever is in it, and at 2,000 messages a second there would be one
    for every three of them; in a rest a message waits for half of it on average. Nothing rests
    after a read that is full, and nothing while the MQTT broker may wait for PUBACKs: a rest would
    make it wait longer. Two reads running must be dense, so that at a few hundred messages a
    second, which come as they like, hardly anything rests.
    """

    def __init__(self, rest_s: float) -> None:
        """Take how long a rest is, seconds; with 0.0 there is none."""
        self._rest_s = rest_s
        self._last_s = float("-inf")
        self._was_dense = False

    def rest_s(self, packets: int, size_bytes: int, *, may_broker_wait: bool, now: float) -> float:
        """Say how long to rest after a read of so many PUBLISHes, seconds; 0.0 for not at all.

        `now` is the monotonic clock. A read without a PUBLISH, or with a part of one, says nothing
        of their pace.
        """
        if not packets:
            return 0.0
        since_s, self._last_s = now - self._last_s, now
        is_dense = packets * self._rest_s >= PACKETS_MIN * since_s
        was_dense, self._was_dense = self._was_dense, is_dense
        if packets >= FULL or size_bytes >= FULL_BYTES or may_broker_wait:
            return 0.0
        return self._rest_s if was_dense and is_dense else 0.0
