"""Rules on trial, judged on live traffic: what they would change is counted, and nothing more.

Theory of operation. The flow calls once a batch, when every message is judged and every record is
written. What the rules of today say stands in the verdicts: the warnings of telemetry name the
flags. What was rejected by a rule is decoded once more, since it may pass by the rules on trial;
that is rare, and `sample_ratio` bounds it as all of it. Duplicates, and what a limit refused, are
not judged: no rule decided about them.

Nothing here may cost a message anything: records are written before, messages are only read, and
whatever is raised is counted and told to `on_fault`.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from bridge.fleet.registry import Registry
from bridge.kafka.record import Instant, Record
from bridge.mqtt.packets import Inbound, PoisonPublish, Publish
from bridge.pipeline.batch import open_batch
from bridge.pipeline.differences import Differences
from bridge.pipeline.firmware import firmware_in
from bridge.pipeline.identity import Address, AddressBook
from bridge.pipeline.roll import Carried
from bridge.pipeline.rule_set import (
    NOTHING_FOUND,
    REJUDGED,
    RuleSet,
    behind_us_of,
    is_judgeable,
)
from bridge.pipeline.verdict import (
    Passed,
    Readings,
    Reason,
    Rejected,
    Several,
    Single,
    Telemetry,
    Verdict,
)

Decode = Callable[[bytes, str | None, Address], Any]
_NEW: Final = frozenset((Record, Several))
"""Of a message that is a duplicate, or was dropped, no record was made."""
_REASONS: Final = {str(each): each for each in REJUDGED}


class Shadow:
    """Compares what the rules on trial say with what was said."""

    def __init__(  # noqa: PLR0913 - all named
        self,
        *,
        today: RuleSet,
        on_trial: RuleSet,
        registry: Registry,
        decode: Decode,
        sample_ratio: float,
        chance: Callable[[], float],
        on_fault: Callable[[Exception], None],
    ) -> None:
        """`chance` gives numbers from 0 to 1, below 1."""
        self.differences = Differences()
        self.sample_ratio = sample_ratio
        self.left_out = 0
        """Readings that were not drawn."""
        self.faults = 0
        """Readings, or batches of them, that a bug of ours kept from being judged."""
        self._today = today
        self._on_trial = on_trial
        self._registry = registry
        self._decode = decode
        self._chance = chance
        self._on_fault = on_fault

    def call(
        self,
        packets: Sequence[Inbound],
        carried: Sequence[Carried],
        addresses: AddressBook,
        received: Instant,
        *,
        is_time_judged: bool,
    ) -> None:
        """Judge what was carried. Never raises."""
        for packet, (verdict, outcome) in zip(packets, carried, strict=True):
            try:
                if type(outcome) is Readings:
                    self._judge_batch(packet, outcome, addresses, received, is_time_judged)
                elif type(outcome) in _NEW and self._is_drawn(verdict):
                    self._judge_single(packet, verdict, addresses, received, is_time_judged)
            except Exception as error:  # noqa: BLE001 - the messages are judged, and are to go on
                self.faults += 1
                with suppress(Exception):
                    self._on_fault(error)

    def _is_drawn(self, verdict: Verdict | Passed) -> bool:
        """Tell whether a rule decided about it, and chance wants it judged."""
        if type(verdict) is not Telemetry and (
            type(verdict) is not Rejected or verdict.reason not in REJUDGED
        ):
            return False
        if self.sample_ratio < 1 and self._chance() >= self.sample_ratio:
            self.left_out += 1
            return False
        return True

    def _judge_single(
        self,
        packet: Inbound,
        verdict: Verdict | Passed,
        addresses: AddressBook,
        received: Instant,
        is_time_judged: bool,  # noqa: FBT001 - named at the door
    ) -> None:
        if type(verdict) is Telemetry:
            self._judge_telemetry(verdict, received, is_time_judged)
        elif not isinstance(packet, PoisonPublish):
            address = addresses[packet.topic]
            message = self._decode(packet.payload, packet.content_type, address)
            self._judge_rejected(message, address.device_id, received, is_time_judged)

    def _judge_batch(
        self,
        packet: Inbound,
        readings: Readings,
        addresses: AddressBook,
        received: Instant,
        is_time_judged: bool,  # noqa: FBT001 - named at the door
    ) -> None:
        pieces: Any = None
        each: Single
        for index, (verdict, each) in enumerate(
            zip(readings.verdicts, readings.outcomes, strict=True)
        ):
            if type(each) not in _NEW or not self._is_drawn(verdict):
                continue
            if type(verdict) is Telemetry:
                self._judge_telemetry(verdict, received, is_time_judged)
                continue
            if pieces is None:
                assert not isinstance(packet, PoisonPublish), "a poison was taken apart"
                pieces = self._open(packet, addresses)
            piece = pieces[index]
            self._judge_rejected(piece.message, piece.address.device_id, received, is_time_judged)

    def _open(self, packet: Publish, addresses: AddressBook) -> Any:  # noqa: ANN401 - as open_batch
        return open_batch(packet, addresses[packet.topic], self._registry)

    def _judge_telemetry(
        self,
        telemetry: Telemetry,
        received: Instant,
        is_time_judged: bool,  # noqa: FBT001 - named at the door
    ) -> None:
        message = telemetry.message
        device_id = message["device_id"]
        registry = self._registry
        entry = registry.look_up(device_id)
        behind_us = received.unix_us - telemetry.measured_at_us if is_time_judged else None
        then = self._on_trial.find(message, device_id, entry, behind_us)
        today = _flagged_for(telemetry.warnings) if telemetry.warnings else NOTHING_FOUND
        if not then and not today:
            self.differences.pass_both(registry.label(entry))
            return
        self.differences.note(
            today,
            then,
            device_type=registry.label(entry),
            device_id=device_id,
            firmware=firmware_in(message),
        )

    def _judge_rejected(
        self,
        message: Any,  # noqa: ANN401 - decoded, or Rejected
        device_id: str,
        received: Instant,
        is_time_judged: bool,  # noqa: FBT001 - named at the door
    ) -> None:
        """Judge by both sets: the letter names one reason, and there may be more."""
        if not is_judgeable(message):
            return
        behind_us = behind_us_of(message, received.unix_us)
        if behind_us is None:
            return
        entry = self._registry.look_up(device_id)
        judged_us = behind_us if is_time_judged else None
        today = self._today.find(message, device_id, entry, judged_us)
        then = self._on_trial.find(message, device_id, entry, judged_us)
        device_type = self._registry.label(entry)
        if today is NOTHING_FOUND and then is NOTHING_FOUND:
            self.differences.pass_both(device_type)  # The registry changed in between.
            return
        self.differences.note(
            today,
            then,
            device_type=device_type,
            device_id=device_id,
            firmware=firmware_in(message),
        )


def _flagged_for(warnings: Sequence[str]) -> Mapping[Reason, str]:
    """Read the flags out of the warnings of a record: `reason: detail`, or another word."""
    found: dict[Reason, str] = {}
    for warning in warnings:
        name, _, detail = warning.partition(": ")
        reason = _REASONS.get(name)
        if reason is not None:
            found.setdefault(reason, detail)
    return found
