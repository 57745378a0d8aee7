"""The stages in order: a packet goes in; a record, with its copies, or a duplicate comes out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from bridge.config.sections import Route, ValidationSection
from bridge.fleet.dedup_window import Kind, Knowledge, compact, compact_copy
from bridge.fleet.duplicates import Duplicates
from bridge.fleet.registry import Registry
from bridge.kafka.record import Instant, Reading, Record
from bridge.mqtt.packets import Inbound, PoisonPublish, Publish
from bridge.pipeline.batch import Piece, newest_of, open_batch, reopen_reading
from bridge.pipeline.dead_letter import DeadLetters
from bridge.pipeline.decode import is_of_routes, too_large
from bridge.pipeline.enrich import (
    IDEMPOTENCY_KEY,
    NO_PROPERTIES,
    Identity,
    identify,
    of_reading,
    read_properties,
)
from bridge.pipeline.identity import NOWHERE, Address, AddressBook
from bridge.pipeline.judge import NO_FLAGS, warnings_of
from bridge.pipeline.policy import Policy
from bridge.pipeline.refusals import (
    describe_fault,
    judge_address,
    judge_poison,
    rejected_by,
)
from bridge.pipeline.roll import Roll
from bridge.pipeline.route import write_opaque
from bridge.pipeline.shadow import Shadow
from bridge.pipeline.stages import USUAL_STAGES, Stages
from bridge.pipeline.together import SECOND_READING, Together
from bridge.pipeline.trace_context import TraceTally
from bridge.pipeline.validate import NOT_JUDGED, TimeBounds
from bridge.pipeline.verdict import (
    Dropped,
    Duplicate,
    Flag,
    Layer,
    Passed,
    Readings,
    Reason,
    Rejected,
    Said,
    Several,
    Single,
    Telemetry,
    Verdict,
)

# Once looked up: three enum members a message would be 0.1 us.
_PROTOCOL, _SCHEMA = Layer.PROTOCOL, Layer.SCHEMA
_SAME, _UNDER_WAY, _OTHER_CONTENT = (
    Knowledge.SAME,
    Knowledge.UNDER_WAY,
    Knowledge.OTHER_CONTENT,
)


_PASSED = Passed()


Outcome: TypeAlias = Single | Readings
"""What becomes of a packet."""


class Flow:
    """Carries packets through the stages; no packet can make it raise.

    One packet that stopped the bridge would stop it again after every restart, since the MQTT
    broker sends it until it is acknowledged. So a fault of ours in one stage costs one message a
    detour through the dead letter topic, as `internal_error`, and no more.
    """

    def __init__(  # noqa: PLR0913 - all named, most have one value in a test
        self,
        *,
        routes: Sequence[Route],
        dead_letter_topic: str,
        validation: ValidationSection,
        entropy: Callable[[int], bytes],
        duplicates: Duplicates | None = None,
        policy: Policy | None = None,
        registry: Registry | None = None,
        stages: Stages = USUAL_STAGES,
        roll: Roll | None = None,
        traces: TraceTally | None = None,
        shadow: Shadow | None = None,
    ) -> None:
        """Without a policy `registry` still says which devices a gateway may speak for."""
        self._addresses = AddressBook(routes)
        self._own_bounds = self._bounds = TimeBounds.of(validation)
        self._roll = roll
        self._traces = traces or TraceTally()
        self._shadow = shadow
        self._dead_letters = DeadLetters(kafka_topic=dead_letter_topic, entropy=entropy)
        self._duplicates = duplicates or Duplicates(None)
        self._policy = policy
        self._registry = registry if policy is None else policy.registry
        self._decode, self._validate, self._enrich, self._write = stages
        self._together: Together | None = None
        if stages[1:] == USUAL_STAGES[1:] and is_of_routes(stages.decode):
            self._together = Together(self._addresses, self._duplicates, self)

    def process(self, packets: Sequence[Inbound], received: Instant) -> list[Outcome]:
        """Say what becomes of each packet, in their order."""
        self._duplicates.begin(received.monotonic_s)
        together = self._together
        if together is None:
            carried = [self.carry(packet, received) for packet in packets]
        else:
            carried = together.carry(packets, received, self._bounds)
        if self._roll is not None:
            self._roll.call(packets, carried, self._addresses)
        if self._shadow is not None:
            is_judged = self._bounds.is_judged
            self._shadow.call(packets, carried, self._addresses, received, is_time_judged=is_judged)
        return [outcome for _, outcome in carried]

    def succeed(self, before: "Flow") -> None:
        """Go on where another flow was: what it remembers of copies, and whom it trusts.

        Copies are remembered anew where their interval changed.
        """
        if before._bounds is NOT_JUDGED:  # noqa: SLF001  another of our own
            self._bounds = NOT_JUDGED
        theirs = before._policy  # noqa: SLF001
        if self._policy is None or theirs is None:
            return
        if self._policy.copies.interval_s == theirs.copies.interval_s:
            self._policy = self._policy._replace(copies=theirs.copies)

    def trust_clock(self, *, is_trusted: bool) -> None:
        """Judge timestamps by the host's clock, or let them pass with a warning."""
        self._bounds = self._own_bounds if is_trusted else NOT_JUDGED

    def refuse(self, record: Record, *, error: str, value_bytes_max: int) -> Record | Duplicate:
        """Give the dead letter of a record that Kafka will never take, cut to fit.

        A duplicate is that letter where it is known already: the message came again.
        """
        letter = self._dead_letters.refuse(record, error=error, value_bytes_max=value_bytes_max)
        if letter.dedup_key == record.dedup_key:
            return letter
        if record.dedup_key:
            knowledge = self._duplicates.rename(
                record.dedup_key, letter.dedup_key, now_s=record.received.monotonic_s
            )
        else:
            knowledge = self._duplicates.judge(letter.dedup_key)
        if knowledge is _SAME or knowledge is _UNDER_WAY:
            return Duplicate(letter.dedup_key, knowledge is _UNDER_WAY)
        return letter

    def shorten(self, letter: Record, *, value_bytes_max: int) -> Record:
        """Cut a dead letter to fit; it stays the same letter."""
        return self._dead_letters.refuse(letter, error="", value_bytes_max=value_bytes_max)

    def salvage(
        self, row: bytes, *, key: bytes, kafka_topic: str, error: str, received: Instant
    ) -> Record:
        """Give a dead letter of a row of the spool that cannot be read: its bytes, as they are."""
        return self._dead_letters.salvage(
            row, key=key, kafka_topic=kafka_topic, error=error, received=received
        )

    def carry(self, packet: Inbound, received: Instant) -> tuple[Verdict | Passed, Outcome]:
        """Carry one packet; the verdict names the layer that spoke, for whoever explains."""
        address, properties = NOWHERE, NO_PROPERTIES
        try:
            address = self._addresses[packet.topic]
            if type(packet) is PoisonPublish:
                return self._reject(packet, judge_poison(packet), address, properties, received)
            if packet.user_properties:
                properties = read_properties(packet.user_properties, address.route, self._traces)
            route = address.route
            if not address.is_valid or route is None:
                rejected = judge_address(address, packet.topic)
                return self._reject(packet, rejected, address, properties, received)
            if route.kind != "telemetry":
                carry = self._carry_batch if route.kind == "batch" else self._carry_opaque
                return carry(packet, address, properties, received)
            message = self._decode(packet.payload, packet.content_type, address)
        except Exception as error:  # noqa: BLE001 - the class docstring says why
            rejected = Rejected(Reason.INTERNAL_ERROR, _PROTOCOL, describe_fault(error))
            return self._reject(packet, rejected, address, properties, received)
        return self.carry_message(message, packet, address, properties, received)

    def carry_reading(
        self,
        packet: Publish,
        received: Instant,
        *,
        head: Mapping[str, Any],
        written: bytes,
        index: int,
    ) -> tuple[Verdict, Single]:
        """Carry one reading whose batch was taken apart before, and which came back alone."""
        address = self._addresses[packet.topic]
        properties = read_properties(packet.user_properties, address.route, self._traces)
        try:
            piece = reopen_reading(
                packet, address, self._registry, head=head, written=written, index=index
            )
        except Exception as error:  # noqa: BLE001 - the class docstring says why
            rejected = Rejected(Reason.INTERNAL_ERROR, _PROTOCOL, describe_fault(error))
            return self._reject(packet, rejected, address, properties, received)
        message, reading, sender = piece.message, piece.reading, piece.address
        return self.carry_message(message, reading, sender, properties, received, is_limited=False)

    def carry_message(  # noqa: PLR0913 - what the flow knows
        self,
        message: Any,  # noqa: ANN401 - decoded, or Rejected
        packet: Publish | Reading,
        address: Address,
        properties: Mapping[str, str],
        received: Instant,
        *,
        is_limited: bool = True,
    ) -> tuple[Verdict, Single]:
        """Carry one decoded message, or one reading of a batch, which was counted as a whole."""
        try:
            if type(message) is Rejected:
                return self._reject(packet, message, address, properties, received)
            verdict = self._validate(message, address.device_id, received.unix_us, self._bounds)
            if type(verdict) is Rejected:
                return self._reject(packet, verdict, address, properties, received)
            identity = identify(
                address.device_id, properties, verdict.timestamp, packet.payload, Kind.TELEMETRY
            )
        except Exception as error:  # noqa: BLE001 - the class docstring says why
            rejected = Rejected(Reason.INTERNAL_ERROR, _SCHEMA, describe_fault(error))
            return self._reject(packet, rejected, address, properties, received)
        return self._carry_valid(
            verdict,
            identity,
            packet,
            address,
            properties,
            received,
            is_limited=is_limited and not packet.retain,
        )

    def _carry_valid(  # noqa: PLR0913, PLR0917 - what the flow knows
        self,
        verdict: Telemetry,
        identity: Identity,
        packet: Publish | Reading,
        address: Address,
        properties: Mapping[str, str],
        received: Instant,
        *,
        is_limited: bool = True,
    ) -> tuple[Verdict, Single]:
        """Carry one message that passed layers 1 and 2."""
        key = identity.key
        knowledge = self._duplicates.judge(key)
        if knowledge is _SAME or knowledge is _UNDER_WAY:
            return verdict, Duplicate(key, knowledge is _UNDER_WAY)
        if knowledge is _OTHER_CONTENT:
            verdict.warnings = [*(verdict.warnings or ()), SECOND_READING]
        try:
            said = self.ask(verdict, address, received, is_limited=is_limited)
        except Exception as error:  # noqa: BLE001 - the class docstring says why
            said = Rejected(Reason.INTERNAL_ERROR, _SCHEMA, describe_fault(error))
        return self.carry_said(said, verdict, identity, packet, address, properties, received)

    def carry_said(  # noqa: PLR0913, PLR0917 - what the flow knows
        self,
        said: Said,
        verdict: Telemetry,
        identity: Identity,
        packet: Publish | Reading,
        address: Address,
        properties: Mapping[str, str],
        received: Instant,
    ) -> tuple[Verdict, Single]:
        """Carry one message that is new by what was said of it.

        The key of which no record will be is new again, so that a letter may have it.
        """
        try:
            outcome = self._forward(said, verdict, packet, address, properties, received, identity)
        except Exception as error:  # noqa: BLE001 - the class docstring says why
            outcome = Rejected(Reason.INTERNAL_ERROR, _SCHEMA, describe_fault(error))
        if type(outcome) is not Rejected and type(outcome) is not Dropped:
            return verdict, outcome
        self._duplicates.abandon(identity.key)
        if type(outcome) is Dropped:
            return verdict, outcome
        return self._reject(packet, outcome, address, properties, received)

    def _carry_batch(
        self, packet: Publish, address: Address, properties: Mapping[str, str], received: Instant
    ) -> tuple[Verdict | Passed, Outcome]:
        """Carry the readings of a batch one by one; what it costs its sender, it costs once."""
        pieces = open_batch(packet, address, self._registry)
        if type(pieces) is Rejected:
            return self._reject(packet, pieces, address, properties, received)
        excess = self._limit_batch(pieces, packet, address, properties, received)
        if type(excess) is Rejected:
            return self._reject(packet, excess, address, properties, received)
        if excess is not None:
            return _PASSED, excess
        carried = [
            self.carry_message(
                piece.message,
                piece.reading,
                piece.address,
                of_reading(properties, piece.reading.index),
                received,
                is_limited=False,
            )
            for piece in pieces
        ]
        outcomes, verdicts = [each for _, each in carried], [each for each, _ in carried]
        return _PASSED, Readings(outcomes, verdicts, [each.address.key for each in pieces])

    def _limit_batch(
        self,
        pieces: Sequence[Piece],
        packet: Publish,
        address: Address,
        properties: Mapping[str, str],
        received: Instant,
    ) -> Rejected | Dropped | None:
        """Ask whether the sender may send one more; what is known already costs nothing."""
        policy = self._policy
        if policy is None or policy.allowance is None or packet.retain:
            return None
        duplicates = self._duplicates

        def is_known(piece: Piece, timestamp: str) -> bool:
            own = of_reading(properties, piece.reading.index)
            device_id, payload = piece.address.device_id, piece.reading.payload
            key = identify(device_id, own, timestamp, payload, Kind.TELEMETRY).key
            return duplicates.is_known(key)

        is_new, newest_us = newest_of(pieces, received, self._bounds, is_known)
        if not is_new:
            return None
        entry = policy.registry.look_up(address.device_id)
        return policy.allowance.judge(address, entry, received, measured_at_us=newest_us)

    def _carry_opaque(
        self, packet: Publish, address: Address, properties: Mapping[str, str], received: Instant
    ) -> tuple[Verdict | Passed, Outcome]:
        """Carry bytes as they are; they are recognised only by a key that the publisher gives."""
        route, policy = address.route, self._policy
        assert route is not None, "a message without a route"
        if len(packet.payload) > route.payload_bytes_max:
            rejected = too_large(packet.payload, route)
            return self._reject(packet, rejected, address, properties, received)
        identity = None
        if properties.get(IDEMPOTENCY_KEY):
            identity = identify(address.device_id, properties, None, packet.payload, Kind.TELEMETRY)
            knowledge = self._duplicates.judge(identity.key)
            if knowledge is _SAME or knowledge is _UNDER_WAY:
                return _PASSED, Duplicate(identity.key, knowledge is _UNDER_WAY)
        excess = None
        try:
            if policy is not None and policy.allowance is not None and not packet.retain:
                entry = policy.registry.look_up(address.device_id)
                excess = policy.allowance.judge(address, entry, received)
            if excess is None:
                return _PASSED, write_opaque(packet, address, properties, received, identity)
        except Exception:
            self._duplicates.abandon(identity.key if identity else b"")
            raise
        self._duplicates.abandon(identity.key if identity else b"")
        if type(excess) is Dropped:
            return _PASSED, excess
        return self._reject(packet, excess, address, properties, received)

    def ask(
        self, verdict: Telemetry, address: Address, received: Instant, *, is_limited: bool = True
    ) -> Said:
        """Ask whether a message is one too many, and what layers 3 and 4 say of it."""
        policy = self._policy
        if policy is None:
            return NO_FLAGS
        entry = policy.registry.look_up(address.device_id)
        if policy.allowance is not None and is_limited:
            excess = policy.allowance.judge(
                address,
                entry,
                received,
                measured_at_us=verdict.measured_at_us if self._bounds.is_judged else None,
                timestamp=verdict.timestamp,
            )
            if excess is not None:
                return excess
        return policy.judge.judge(verdict.message, address.device_id, entry)

    def ask_all(
        self, verdicts: Sequence[Telemetry], addresses: Sequence[Address], received: Instant
    ) -> Sequence[Said]:
        """Do the same for many; none of them was received as retained."""
        if self._policy is None or self._policy.is_idle:
            return [NO_FLAGS] * len(verdicts)
        return self._policy.ask_all(verdicts, addresses, received)

    def _forward(  # noqa: PLR0913, PLR0917 - what the flow knows of the message
        self,
        said: Said,
        verdict: Telemetry,
        packet: Publish | Reading,
        address: Address,
        properties: Mapping[str, str],
        received: Instant,
        identity: Identity,
    ) -> Record | Several | Rejected | Dropped:
        """Make of a message what was said of it."""
        if not said:
            self._enrich(verdict, received)
            return self._write(verdict, packet, address, properties, received, identity)
        if type(said) is Rejected or type(said) is Dropped:
            return said
        flags, policy = said, self._policy
        assert policy is not None, "flagged without a policy"
        for flag in flags:
            if policy.modes[flag.layer] == "dlq":
                return rejected_by(flag, verdict)
        verdict.warnings = [*(verdict.warnings or ()), *warnings_of(flags)]
        self._enrich(verdict, received)
        record = self._write(verdict, packet, address, properties, received, identity)
        copies = self._copies(flags, verdict, packet, address, properties, received)
        return Several([record, *copies]) if copies else record

    def _copies(  # noqa: PLR0913, PLR0917 - what the flow knows of the message
        self,
        flags: Sequence[Flag],
        verdict: Telemetry,
        packet: Publish | Reading,
        address: Address,
        properties: Mapping[str, str],
        received: Instant,
    ) -> list[Record]:
        """Write the copies of a flagged message that are due: one for each of its reasons."""
        policy = self._policy
        assert policy is not None, "flagged without a policy"
        copies: list[Record] = []
        by_reason = {each.reason: each for each in reversed(flags)}
        for flag in by_reason.values():
            if policy.modes[flag.layer] != "both":
                continue
            left_out = policy.copies.admit(address.device_id, flag.reason, received.monotonic_s)
            if left_out is None:
                continue
            rejected = rejected_by(flag, verdict)
            header = self._dead_letters.identify(packet, rejected, address, properties).header
            identity = Identity(header, compact_copy(header, flag.reason.encode()))
            copies.append(
                self._dead_letters.write(
                    packet, rejected, address, properties, received, identity, left_out
                )
            )
        return copies

    def _reject(
        self,
        packet: Inbound | Reading,
        rejected: Rejected,
        address: Address,
        properties: Mapping[str, str],
        received: Instant,
    ) -> tuple[Verdict, Record | Duplicate]:
        identity = self._dead_letters.identify(packet, rejected, address, properties)
        if self._duplicates.is_on:
            # Accepted once and rejected by today's rules, its time for instance: it is in Kafka.
            as_telemetry = compact(identity.header, Kind.TELEMETRY)
            if self._duplicates.is_known(as_telemetry):
                identity = Identity(identity.header, as_telemetry)
            knowledge = self._duplicates.judge(identity.key)
            if knowledge is _SAME or knowledge is _UNDER_WAY:
                return rejected, Duplicate(identity.key, knowledge is _UNDER_WAY)
        letter = self._dead_letters.write(packet, rejected, address, properties, received, identity)
        return rejected, letter
