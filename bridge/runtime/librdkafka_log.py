"""What librdkafka says while it works, by way of its log."""

import logging
import re
from collections.abc import Callable
from typing import Final

from bridge.kafka.properties import Properties

_DEBUG: Final = "debug"
_CONTEXT: Final = "eos"
"""What it is asked to speak of: it says nothing while records pass, and some lines in trouble."""

# rdkafka_idempotence.c, rd_kafka_idemp_drain_epoch_bump0(): the first of a bump, not the others.
_BUMP: Final = re.compile(r"in state Assigned for .* epoch bump for .*: (?P<reason>[^:]+)\Z")
# rd_kafka_idemp_drain_done(): all was answered or given up, and is numbered anew from here.
_BUMPED: Final = "All partitions drained, bumped epoch to "
# rd_kafka_idemp_drain_toppar(), the first time until all of the partition is answered or given up:
# an answer was lost, or was an error that is tried again, or is missing while the leader moves.
_DRAIN: Final = re.compile(r"(?P<partition>\S+ \[\d+\]) beginning partition drain: ")
# rd_kafka_handle_OutOfOrderSequence(), just before the line of that retry: Kafka has none of it.
_OUT_OF_SEQUENCE: Final = re.compile(
    r"ProduceRequest for (?P<partition>\S+ \[\d+\]) with .* due to skipped sequence numbers "
)
_GAP: Final = "message sequence gap"
"""The reason of the bump after a record that Kafka refused for good."""
_LOGGER: Final = logging.getLogger("librdkafka")
_LEVELS: Final = (
    *3 * (logging.CRITICAL,),
    logging.ERROR,
    logging.WARNING,
    *2 * (logging.INFO,),
    logging.DEBUG,
)
"""As confluent-kafka gives them for those of syslog, 0 to 7."""
_LEVEL_BY_DEFAULT: Final = 6


class LogListener:
    """A logger for librdkafka that hears when it numbers its records anew.

    An idempotent producer that bumps its epoch numbers what it has from 0 again, so Kafka no
    longer recognises what it has already. Nothing else says so: librdkafka goes on by itself.
    """

    def __init__(self, properties: Properties, on_epoch_bumped: Callable[[str], None]) -> None:
        """Take whom to tell, with the reason that librdkafka gives.

        Of the other lines those go on that `log_level` allows: `debug` lets librdkafka forget it.
        """
        self._level = _level_of(str(properties.get("log_level", _LEVEL_BY_DEFAULT)))
        self._on_epoch_bumped = on_epoch_bumped
        self._harmless: str | None = None
        """Why the bump under way was begun, where by then every answer had been heard."""
        self._out_of_sequence: set[str] = set()
        """Partitions with a request refused for its place alone, until the bump is over."""
        self.is_in_doubt = False
        """Whether something was to be tried again; who polls clears it with nothing under way."""

    def log(self, level: int, text: str, *arguments: str) -> None:
        """Take a line: its level as logging has it, and facility, client and line as arguments."""
        if level >= self._level:
            _LOGGER.log(level, text, *arguments)
        if level == logging.DEBUG:
            self._hear(arguments[-1])

    def _hear(self, line: str) -> None:
        if refused := _OUT_OF_SEQUENCE.search(line):
            self._out_of_sequence.add(refused["partition"])
        elif drain := _DRAIN.search(line):
            if drain["partition"] not in self._out_of_sequence:
                self._doubt()
        elif bump := _BUMP.search(line):
            if self.is_in_doubt or bump["reason"] != _GAP:
                self._on_epoch_bumped(bump["reason"])
            else:
                self._harmless = bump["reason"]
        elif _BUMPED in line:
            # Whatever was in doubt has been told, and goes out as if for the first time.
            self._harmless, self.is_in_doubt = None, False
            self._out_of_sequence.clear()

    def _doubt(self) -> None:
        self.is_in_doubt = True
        if self._harmless is not None:
            self._on_epoch_bumped(self._harmless)
            self._harmless = None


def _level_of(log_level: str) -> int:
    """Translate a level of syslog; what is none, librdkafka itself refuses."""
    is_one = log_level.isdecimal() and int(log_level) < len(_LEVELS)
    return _LEVELS[int(log_level) if is_one else _LEVEL_BY_DEFAULT]


def with_debug(properties: Properties) -> Properties:
    """Return the properties of a producer that says what its listener is to hear."""
    contexts = [str(properties[_DEBUG])] if properties.get(_DEBUG) else []
    return {**properties, _DEBUG: ",".join((*contexts, _CONTEXT))}
