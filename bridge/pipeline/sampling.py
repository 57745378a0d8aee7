"""Records that lie in Kafka, judged by two sets of rules: what a change would have made of them."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from bridge.config.sections import Route
from bridge.fleet.registry import Registry
from bridge.kafka.partitions import Place
from bridge.kafka.rows import rfc3339
from bridge.pipeline.batch import reopen_reading
from bridge.pipeline.decode import Decoding
from bridge.pipeline.differences import Differences
from bridge.pipeline.firmware import firmware_in
from bridge.pipeline.formats.json_text import decode_json
from bridge.pipeline.identity import AddressBook
from bridge.pipeline.letters.letter import Letter, message_of
from bridge.pipeline.rule_set import REJUDGED, RuleSet, behind_us_of, is_judgeable
from bridge.pipeline.timestamps import Timestamp, read_timestamp
from bridge.pipeline.validate import HOST_CLOCK_UNSYNCHRONISED

_REJUDGED: Final = frozenset(each.value for each in REJUDGED)


class Side(msgspec.Struct, frozen=True):
    """The rules of a configuration, and the registry that they are asked with."""

    rules: RuleSet
    registry: Registry


class Source(msgspec.Struct, kw_only=True):
    """What was found in one Kafka topic."""

    kafka_topic: str
    records: int = 0
    judged: int = 0
    first: str = ""
    last: str = ""
    """Times of receipt of what was judged."""


class Sampling:
    """Judges records and dead letters as they would be, each at its own time of receipt.

    Copies of flagged messages are left out, since their records are in the telemetry topic; so are
    letters whose reason no rule of the configuration decides, and whatever is no record of a
    bridge. Whoever wrote it, nothing in a record raises.
    """

    def __init__(
        self, today: Side, then: Side, *, routes: tuple[Route, ...], decoding: Decoding
    ) -> None:
        self.differences = Differences()
        self._today = today
        self._then = then
        self._addresses = AddressBook(routes)
        self._decoding = decoding

    def add_record(self, value: bytes, source: Source) -> None:
        """Judge a record of a telemetry topic."""
        source.records += 1
        message = decode_json(value)
        if not is_judgeable(message) or type(message.get("device_id")) is not str:
            return
        received = read_timestamp(message.get("server_received_at"))
        if type(received) is not Timestamp or received.text is None:
            return
        warnings = message.get("warnings")
        is_doubted = type(warnings) is list and HOST_CLOCK_UNSYNCHRONISED in warnings
        self._judge(
            message,
            message["device_id"],
            received.measured_at_us,
            source,
            is_time_judged=not is_doubted,
        )

    def add_letter(self, letter: Letter, source: Source) -> None:
        """Judge the message of a dead letter."""
        source.records += 1
        if letter.reason not in _REJUDGED or letter.is_copy or not letter.is_whole:
            return
        found = self._open(letter)
        if found is not None:
            self._judge(*found, letter.received.unix_us, source)

    def _open(self, letter: Letter) -> tuple[Any, str] | None:
        """Decode the payload of a letter; None where no route of today does."""
        address = self._addresses[letter.mqtt_topic]
        route, sent, batch = address.route, message_of(letter), letter.batch
        if route is None or route.kind != ("telemetry" if batch is None else "batch"):
            return None
        if batch is None:
            message = self._decoding.decode(sent.payload, sent.content_type, address)
            return message, address.device_id
        piece = reopen_reading(
            sent,
            address,
            self._then.registry,
            head=batch.head,
            written=batch.written,
            index=batch.index,
        )
        return piece.message, piece.address.device_id

    def _judge(
        self,
        message: Any,  # noqa: ANN401 - whatever lies in the topic
        device_id: str,
        received_us: int,
        source: Source,
        *,
        is_time_judged: bool = True,
    ) -> None:
        behind_us = behind_us_of(message, received_us) if is_judgeable(message) else None
        if behind_us is None:
            return
        judged_us = behind_us if is_time_judged else None
        said = [
            side.rules.find(message, device_id, side.registry.look_up(device_id), judged_us)
            for side in (self._today, self._then)
        ]
        registry = self._then.registry
        device_type = registry.label(registry.look_up(device_id))
        source.judged += 1
        received = rfc3339(received_us)
        source.first = min(source.first or received, received)
        source.last = max(source.last, received)
        if not said[0] and not said[1]:
            self.differences.pass_both(device_type)
            return
        self.differences.note(
            *said, device_type=device_type, device_id=device_id, firmware=firmware_in(message)
        )


def shares(available: Mapping[Place, int], count: int) -> dict[Place, int]:
    """Deal a number of records to partitions evenly; what one lacks the others give.

    A fleet is spread over the partitions by its device ids, so an even share of each is the last
    records of all, without reading `count` from everyone.
    """
    dealt: dict[Place, int] = {}
    left = count
    ordered = sorted(available, key=lambda place: (available[place], place))
    for index, place in enumerate(ordered):
        # Rounded up, so that a count below the number of partitions is not lost.
        dealt[place] = min(available[place], -(-left // (len(ordered) - index)))
        left -= dealt[place]
    return dealt
