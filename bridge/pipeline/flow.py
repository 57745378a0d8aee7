"""The stages in order: a packet goes in, exactly one record comes out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from bridge.config.sections import Route, ValidationSection
from bridge.kafka.record import Instant, Record
from bridge.mqtt.packets import Inbound, PoisonPublish, Publish
from bridge.pipeline.dead_letter import DeadLetters
from bridge.pipeline.decode import decode
from bridge.pipeline.enrich import NO_PROPERTIES, enrich, read_properties
from bridge.pipeline.identity import DEVICE_ID_RULE, NOWHERE, Address, AddressBook
from bridge.pipeline.route import write_telemetry
from bridge.pipeline.validate import TimeBounds, validate
from bridge.pipeline.verdict import Layer, Reason, Rejected, Telemetry, Verdict
from bridge.pipeline.wording import quote

# Once looked up: three enum members a message would be 0.1 us.
_PROTOCOL, _SCHEMA = Layer.PROTOCOL, Layer.SCHEMA


class Stages(NamedTuple):
    """The steps of the way; a test may put a double in the place of one."""

    decode: Callable[[bytes, str | None, Route], Any] = decode
    validate: Callable[[Any, str, int, TimeBounds], Verdict] = validate
    enrich: Callable[[Telemetry, Instant], None] = enrich
    write: Callable[[Telemetry, Publish, Address, Mapping[str, str], Instant], Record] = (
        write_telemetry
    )


_STAGES = Stages()


class Flow:
    """Carries packets through the stages; no packet can make it raise.

    One packet that stopped the bridge would stop it again after every restart, since the MQTT
    broker sends it until it is acknowledged. So a fault of ours in one stage costs one message a
    detour through the dead letter topic, as `internal_error`, and no more.
    """

    def __init__(
        self,
        *,
        routes: Sequence[Route],
        dead_letter_topic: str,
        validation: ValidationSection,
        entropy: Callable[[int], bytes],
        stages: Stages = _STAGES,
    ) -> None:
        self._addresses = AddressBook(routes)
        self._bounds = TimeBounds.of(validation)
        self._dead_letters = DeadLetters(kafka_topic=dead_letter_topic, entropy=entropy)
        self._decode, self._validate, self._enrich, self._write = stages

    def process(self, packets: Sequence[Inbound], received: Instant) -> list[Record]:
        """Give one record for each packet, in their order."""
        carry = self.carry
        return [carry(packet, received)[1] for packet in packets]

    def refuse(self, record: Record, *, error: str, value_bytes_max: int) -> Record:
        """Give the dead letter of a record that Kafka will never take, cut to fit."""
        return self._dead_letters.refuse(record, error=error, value_bytes_max=value_bytes_max)

    def carry(self, packet: Inbound, received: Instant) -> tuple[Verdict, Record]:
        """Carry one packet; the verdict names the layer that spoke, for whoever explains."""
        address, properties, layer = NOWHERE, NO_PROPERTIES, _PROTOCOL
        try:
            address = self._addresses[packet.topic]
            if isinstance(packet, PoisonPublish):
                return self._reject(packet, _judge_poison(packet), address, properties, received)
            if packet.user_properties:
                properties = read_properties(packet.user_properties, address.route)
            if not address.is_valid or address.route is None:
                rejected = _judge_address(address, packet.topic)
                return self._reject(packet, rejected, address, properties, received)
            message = self._decode(packet.payload, packet.content_type, address.route)
            if type(message) is Rejected:
                return self._reject(packet, message, address, properties, received)
            layer = _SCHEMA
            verdict = self._validate(message, address.device_id, received.unix_us, self._bounds)
            if type(verdict) is Rejected:
                return self._reject(packet, verdict, address, properties, received)
            self._enrich(verdict, received)
            return verdict, self._write(verdict, packet, address, properties, received)
        except Exception as error:  # noqa: BLE001 - the class docstring says why
            rejected = Rejected(Reason.INTERNAL_ERROR, layer, _describe(error))
            return self._reject(packet, rejected, address, properties, received)

    def _reject(
        self,
        packet: Inbound,
        rejected: Rejected,
        address: Address,
        properties: Mapping[str, str],
        received: Instant,
    ) -> tuple[Verdict, Record]:
        return rejected, self._dead_letters.write(packet, rejected, address, properties, received)


def _judge_poison(packet: PoisonPublish) -> Rejected:
    reason = Reason.TOO_LARGE if packet.is_too_large else Reason.MALFORMED_PACKET
    return Rejected(reason, _PROTOCOL, packet.detail)


def _judge_address(address: Address, topic: str) -> Rejected:
    if address.route is None:
        detail = f"MQTT topic {quote(topic)} matches the filter of no route"
    else:
        detail = (
            f"device id {quote(address.device_id)} in the MQTT topic, expected {DEVICE_ID_RULE}"
        )
    return Rejected(Reason.DEVICE_ID_INVALID, _PROTOCOL, detail)


def _describe(error: Exception) -> str:
    """Name the fault and the line that raised it: the letter is all that is left of it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = (
        f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
    )
    return f"{type(error).__name__} at {where}: {error}"
