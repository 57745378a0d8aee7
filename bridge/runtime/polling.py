"""How often librdkafka is asked for delivery reports while some are owed."""

from typing import Final

POLL_MIN_S: Final = 0.001
POLL_CALM_S: Final = 0.005
"""What `mqtt.rest_ms` is unless it is set; it does not follow, or 0 would ask without a pause."""
POLL_MAX_S: Final = 0.020
_SLOWER: Final = 1.25


class Polling:
    """Nobody waits for a PUBACK but a MQTT broker whose small window is full: for that the fastest.

    Slower, step by step, while Kafka says nothing.
    """

    def __init__(self) -> None:
        self.pause_s = POLL_MIN_S
        """Until the next question."""

    def asked(self, *, was_answered: bool, is_puback_urgent: bool) -> None:
        """Set the pause by what the last question brought."""
        if not was_answered:
            self.pause_s = min(self.pause_s * _SLOWER, POLL_MAX_S)
        elif is_puback_urgent:
            self.pause_s = POLL_MIN_S
        else:
            self.pause_s = POLL_CALM_S
