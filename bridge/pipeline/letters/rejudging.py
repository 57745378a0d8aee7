"""Dead letters through today's rules: what each becomes, and what says that it was replayed."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from bridge.config.sections import BridgeConfig, Route
from bridge.fleet.dedup_window import DedupWindow
from bridge.fleet.duplicates import Duplicates
from bridge.fleet.registry import Registry
from bridge.kafka.properties import headers_bytes, value_bytes_max
from bridge.kafka.record import Instant, Record
from bridge.pipeline.decode import Decoding
from bridge.pipeline.flow import Flow, Outcome
from bridge.pipeline.identity import AddressBook
from bridge.pipeline.letters.letter import Letter, message_of
from bridge.pipeline.letters.selection import LeftOut
from bridge.pipeline.policy import Policy
from bridge.pipeline.stages import Stages
from bridge.pipeline.validate import TimeBounds, validate
from bridge.pipeline.verdict import (
    Duplicate,
    Passed,
    Readings,
    Reason,
    Rejected,
    Several,
    Single,
    Verdict,
)

COPIES_KEYS_MAX: Final = 100_000
"""Copies of one run that are told from each other: several may be of one message."""
_NO_AGE_US: Final = 1 << 62
_ATTEMPTS_MAX: Final = 1_000_000


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one letter."""

    letter: Letter
    left_out: LeftOut | None = None
    """Set: it stays where it is, and there are no records."""
    records: Sequence[Record] = ()
    failed: Record | None = None
    """Of the records, the first that is a dead letter again."""

    @property
    def is_replayed(self) -> bool:
        """Tell whether any of it is telemetry now."""
        return any(each.dead_letter is None for each in self.records)


class Rejudging:
    """Judges letters as their messages would be judged today, in the order they are given.

    Invariant: a message whose key the window knows as telemetry, or that came once in this run, is
    made no second record of. A copy is of a message that was forwarded, so it is measured against
    the other copies alone.
    """

    def __init__(
        self,
        config: BridgeConfig,
        *,
        decoding: Decoding,
        registry: Registry,
        entropy: Callable[[int], bytes],
        window: DedupWindow | None,
    ) -> None:
        self._addresses = AddressBook(config.route)
        self._value_bytes_max = value_bytes_max(config.kafka)
        self._now = Instant(unix_us=0, monotonic_s=0.0, rfc3339="")
        copies = DedupWindow(ttl_s=float("inf"), keys_max=COPIES_KEYS_MAX, keys_min=0)
        policy = Policy.of(config.validation, registry)

        def make_flow(duplicates: Duplicates) -> Flow:
            return Flow(
                routes=config.route,
                dead_letter_topic=config.dead_letter.kafka_topic,
                validation=config.validation,
                entropy=entropy,
                duplicates=duplicates,
                policy=policy,
                stages=Stages(decode=decoding.decode, validate=self._validate),
            )

        self._duplicates, self._copies = Duplicates(window), Duplicates(copies)
        self._flow, self._flow_of_copies = make_flow(self._duplicates), make_flow(self._copies)

    def begin(self, now: Instant) -> None:
        """Begin a batch of letters."""
        self._now = now
        self._duplicates.begin(now.monotonic_s)
        self._copies.begin(now.monotonic_s)

    def find_route(self, letter: Letter) -> Route | None:
        """Find the route of today for a letter; a reading needs one of batches."""
        route = self._addresses[letter.mqtt_topic].route
        if route is None or (letter.batch is not None and route.kind != "batch"):
            return None
        return route

    def judge(self, letter: Letter) -> Judged:
        """Say what becomes of a letter; `settle` follows once Kafka has it."""
        if self.find_route(letter) is None:
            return Judged(letter=letter, left_out=LeftOut.NO_ROUTE)
        _, outcome = self.carry(letter)
        records = [
            _as_replayed(record, letter)
            for single in (outcome.outcomes if isinstance(outcome, Readings) else [outcome])
            for record in _records_of(single)
        ]
        if not records:
            return Judged(letter=letter, left_out=LeftOut.KNOWN)
        return Judged(letter=letter, records=records, failed=_first_failed(records))

    def carry(self, letter: Letter) -> tuple[Verdict | Passed, Outcome]:
        """Carry the message of a letter whose route there is; the verdict is for who explains."""
        flow = self._flow_of_copies if letter.is_copy else self._flow
        message, batch = message_of(letter), letter.batch
        received = msgspec.structs.replace(letter.received, monotonic_s=self._now.monotonic_s)
        if batch is None:
            return flow.carry(message, received)
        return flow.carry_reading(
            message, received, head=batch.head, written=batch.written, index=batch.index
        )

    def refuse(self, judged: Judged, refused: Record, *, error: str) -> Judged:
        """Put a dead letter in the place of a record that Kafka will never take, or cut a letter.

        The cut is by half each time, down to none: a letter may be what the topic refuses.
        """
        letter = judged.letter
        flow = self._flow_of_copies if letter.is_copy else self._flow
        room = self._value_bytes_max - headers_bytes(letter.headers)
        if refused.dead_letter is not None:
            room = min(room, len(refused.value) // 2)
        successor = flow.refuse(refused, error=error, value_bytes_max=room)
        records: list[Record] = []
        for each in judged.records:
            if each is not refused:
                records.append(each)
            elif not isinstance(successor, Duplicate):
                is_new = refused.dead_letter is None
                records.append(_as_replayed(successor, letter) if is_new else successor)
        if not records:
            return Judged(letter=letter, left_out=LeftOut.KNOWN)
        return Judged(letter=letter, records=records, failed=_first_failed(records))

    def settle(self, judged: Sequence[Judged]) -> None:
        """Note that Kafka has what became of these letters."""
        for each in judged:
            duplicates = self._copies if each.letter.is_copy else self._duplicates
            duplicates.confirm(record.dedup_key for record in each.records)

    def _validate(
        self,
        message: Any,  # noqa: ANN401 - whatever JSON can hold
        device_id: str,
        received_us: int,
        bounds: TimeBounds,
    ) -> Verdict:
        """Judge by the time of receipt, but ask today's clock whether the future has come."""
        verdict = validate(message, device_id, received_us, bounds)
        if isinstance(verdict, Rejected) and verdict.reason is Reason.TIMESTAMP_FUTURE:
            ahead = msgspec.structs.replace(bounds, behind_us=_NO_AGE_US)
            now_us = max(self._now.unix_us, received_us)
            return validate(message, device_id, now_us, ahead)
        return verdict


def _records_of(single: Single) -> Sequence[Record]:
    if isinstance(single, Record):
        return (single,)
    return single.records if isinstance(single, Several) else ()


def _first_failed(records: Sequence[Record]) -> Record | None:
    return next(
        (each for each in records if each.dead_letter and not each.dead_letter.is_copy), None
    )


def _as_replayed(record: Record, letter: Letter) -> Record:
    """Write into a record which letter it is of; into a letter also which attempt it was."""
    replay_of = ("dlq.replay-of", letter.place.encode())
    if record.dead_letter is None:
        headers = [*record.headers, replay_of]
    else:
        headers = []
        for name, value in record.headers:
            if name == "dlq.attempt":
                attempt = str(min(letter.attempt, _ATTEMPTS_MAX) + 1).encode()
                headers += [(name, attempt), replay_of]
            else:
                headers.append((name, value))
    return msgspec.structs.replace(record, headers=headers)
