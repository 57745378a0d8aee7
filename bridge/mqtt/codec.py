"""Bytes to packets and back: the only module that knows mqtt5, and the guard around it.

mqtt5 reads a PUBLISH in 0.4 us, but it leaves four holes, each closed here: it panics (a
BaseException) on ill-formed UTF-8; it accepts Packet Identifier 0; it calls a declared 256 MB
packet merely incomplete; and it knows MQTT 5 only, so that the CONNACK of a 3.1.1 broker looks
malformed.
"""

import hashlib
import struct
from typing import Final, TypeAlias

import mqtt5
from msgspec import Struct

from bridge.errors import PeerError
from bridge.mqtt.packets import Inbound, PoisonPublish

ConnAck: TypeAlias = mqtt5.ConnAckPacket
SubAck: TypeAlias = mqtt5.SubAckPacket
UnsubAck: TypeAlias = mqtt5.UnsubAckPacket
PubAck: TypeAlias = mqtt5.PubAckPacket
PingResp: TypeAlias = mqtt5.PingRespPacket
Disconnect: TypeAlias = mqtt5.DisconnectPacket


class Mqtt3ConnAck(Struct, frozen=True):
    """What a broker that speaks only MQTT 3.1.1 answers to our CONNECT."""

    return_code: int


Control: TypeAlias = (
    ConnAck | SubAck | UnsubAck | PubAck | PingResp | Disconnect | Mqtt3ConnAck | mqtt5.Packet
)

MALFORMED_PACKET: Final = 0x81
PROTOCOL_ERROR: Final = 0x82
PACKET_TOO_LARGE: Final = 0x95
QOS_NOT_SUPPORTED: Final = 0x9B

POISON_HEAD_BYTES: Final = 65_536
"""How much of a payload that is too large is kept: the first 64 KiB go into the dead letter."""

_SKIP_HEAD_BYTES: Final = 5 + 2 + 65_535 + 2 + 65_536 + POISON_HEAD_BYTES
"""Enough of a packet to hold its longest Topic Name, 64 KiB of properties and the kept payload."""

PROPERTIES_BYTES_MAX: Final = 65_536
"""A large PUBLISH with more is skipped: 2 MB of the smallest User Properties took 72 ms of the
loop and 39 MB of memory. A packet that comes in one read has at most 256 KB of them, 9 ms."""
_PUBLISH: Final = 0x30
_TYPE_MASK: Final = 0xF0
_QOS_MASK: Final = 0x06
_QOS_2: Final = 0x04
_QOS_3: Final = 0x06
_CONNACK: Final = 0x20
_FIXED_HEADER_BYTES_MAX: Final = 5


class Decoder:
    """Turn the bytes of one Network Connection into packets, however they are cut.

    `publishes` and `controls` grow with each `feed`; the session takes and clears them. A
    PeerError leaves in them what came before the violation, so nothing received is forgotten.
    At most one incomplete packet of `packet_bytes_max` is buffered; the body of a larger PUBLISH
    is hashed and skipped as it streams by.
    """

    def __init__(self, *, packet_bytes_max: int) -> None:
        self._packet_bytes_max = packet_bytes_max
        self._pending = bytearray()
        self._need = 0
        self._skip: _Skip | None = None
        self.publishes: list[Inbound] = []
        self.controls: list[Control] = []

    def feed(self, data: bytes) -> None:
        """Decode what is complete.

        Raises:
            PeerError: The framing is lost or a packet rule is broken; the connection must end.
        """
        if self._skip is not None:
            data = self._continue_skip(self._skip, data)
            if not data:
                return
        if not self._pending:
            used = self._decode(data)
            self._pending += data[used:]
            return
        self._pending += data
        if len(self._pending) < self._need:
            return
        # A copy, since a bytearray with a live view cannot shrink; it is bounded by one packet.
        whole = bytes(self._pending)
        self._pending.clear()
        used = self._decode(whole)
        self._pending += whole[used:]

    def _decode(self, data: bytes) -> int:  # noqa: C901 - a call a packet would be 0.1 us
        """Decode the complete packets at the start of `data`; return how many bytes they took."""
        view = memoryview(data)
        end = len(data)
        offset = 0
        read = mqtt5.read
        publishes = self.publishes
        packet_bytes_max = self._packet_bytes_max
        self._need = 0
        while offset < end:
            first = data[offset]
            try:
                packet, size = read(view[offset:])
            except IndexError:
                return self._incomplete(view, offset, end)
            except Exception as error:  # noqa: BLE001  ValueError today; any refusal is one.
                offset, is_waiting = self._refused(view, offset, error)
                if is_waiting:
                    return offset
                continue
            except BaseException as error:
                if type(error).__name__ != "PanicException":
                    raise
                panic = ValueError("text that is not well-formed UTF-8")
                offset, is_waiting = self._refused(view, offset, panic)
                if is_waiting:
                    return offset
                continue
            if first & _TYPE_MASK != _PUBLISH:
                self.controls.append(packet)
            elif size > packet_bytes_max:
                self._begin_skip(view, offset, end, size)
            else:
                # The rules that mqtt5 leaves out, here without a call; `_check` says which it was.
                if (
                    first & _QOS_2
                    or packet.packet_id == 0  # type: ignore[union-attr]  # the nibble said PUBLISH
                    or packet.topic_alias is not None  # type: ignore[union-attr]
                    or not packet.topic  # type: ignore[union-attr]
                ):
                    _check(first, packet)  # type: ignore[arg-type]
                publishes.append(packet)  # type: ignore[arg-type]
            offset += size
        return end

    def _incomplete(self, view: memoryview, offset: int, end: int) -> int:
        """Remember how much is missing; a PUBLISH over the bound is skipped from here on."""
        size = _frame_bytes(view[offset:])
        if size is None:
            self._need = 0
            return offset
        is_publish = view[offset] & _TYPE_MASK == _PUBLISH
        if size <= self._packet_bytes_max:
            properties = (
                _properties_bytes(view[offset:])
                if is_publish and size > PROPERTIES_BYTES_MAX
                else 0
            )
            if properties is None or properties <= PROPERTIES_BYTES_MAX:
                self._need = 0 if properties is None else size
                return offset
        if not is_publish:
            raise PeerError(
                f"packet type {view[offset] >> 4} declares {size} bytes,"
                f" over packet_bytes_max {self._packet_bytes_max}",
                reason_code=PACKET_TOO_LARGE,
            )
        self._begin_skip(view, offset, end, size)
        return end

    def _refused(self, view: memoryview, offset: int, error: BaseException) -> tuple[int, bool]:
        """Deal with a packet that mqtt5 does not take: (next offset, whether more must come)."""
        size = _frame_bytes(view[offset:])
        first = view[offset]
        if size is None:
            return offset, True
        if first & _TYPE_MASK == _CONNACK and size == 4 and len(view) - offset >= size:  # noqa: PLR2004
            self.controls.append(Mqtt3ConnAck(view[offset + 3]))
            return offset + size, False
        if first & _TYPE_MASK != _PUBLISH or first & _QOS_MASK == _QOS_3:
            raise PeerError(
                f"packet type {first >> 4} is malformed: {error}", reason_code=MALFORMED_PACKET
            )
        if size > self._packet_bytes_max:
            self._begin_skip(view, offset, len(view), size)
            return min(offset + size, len(view)), False
        if len(view) - offset < size:
            self._need = size
            return offset, True
        self.publishes.append(_poison(view[offset : offset + size], str(error)))
        return offset + size, False

    def _begin_skip(self, view: memoryview, offset: int, end: int, size: int) -> None:
        detail = f"packet of {size} bytes, over packet_bytes_max {self._packet_bytes_max}"
        if size <= self._packet_bytes_max:
            detail = f"properties of more than {PROPERTIES_BYTES_MAX} bytes"
        skip = _Skip(size, detail)
        self._skip = skip
        self._continue_skip(skip, bytes(view[offset : min(end, offset + size)]))

    def _continue_skip(self, skip: "_Skip", data: bytes) -> bytes:
        """Pass `data` by; return what follows the skipped packet."""
        rest = skip.feed(data)
        if skip.is_done:
            self._skip = None
            self.publishes.append(skip.poison())
        return rest


class _Skip:
    """A PUBLISH over the bound, streaming by: its head is kept, its payload is hashed."""

    def __init__(self, size: int, detail: str) -> None:
        self._size = size
        self._detail = detail
        self._missing = size
        self._head = bytearray()
        self._head_bytes = min(size, _SKIP_HEAD_BYTES)
        self._hash = hashlib.sha256()
        self._publish: _PublishHead | None = None

    @property
    def is_done(self) -> bool:
        return self._missing == 0

    def feed(self, data: bytes) -> bytes:
        ours, rest = data[: self._missing], data[self._missing :]
        self._missing -= len(ours)
        if self._publish is None:
            self._head += ours
            if len(self._head) >= self._head_bytes:
                self._publish = _read_head(memoryview(bytes(self._head)), self._size)
                self._hash.update(self._head[self._publish.payload_at :])
                del self._head[self._publish.payload_at + POISON_HEAD_BYTES :]
        else:
            self._hash.update(ours)
        return rest

    def poison(self) -> PoisonPublish:
        publish = self._publish
        assert publish is not None, "a skipped packet ended before its head was read"
        return PoisonPublish(
            topic=publish.topic,
            payload=bytes(self._head[publish.payload_at :]),
            packet_id=publish.packet_id,
            is_too_large=True,
            detail=self._detail,
            payload_bytes=self._size - publish.payload_at,
            payload_sha256=self._hash.hexdigest(),
            retain=publish.retain,
        )


class _PublishHead(Struct, frozen=True):
    topic: str
    packet_id: int | None
    payload_at: int
    """Offset of the Application Message in the packet."""
    retain: bool


def _check(first: int, packet: mqtt5.PublishPacket) -> None:
    """Hold a PUBLISH to the rules that mqtt5 leaves out; each breach loses the connection."""
    if packet.packet_id == 0:
        raise PeerError(
            "PUBLISH with Packet Identifier 0 [MQTT-2.2.1-3]", reason_code=MALFORMED_PACKET
        )
    if packet.topic_alias is not None:
        raise PeerError(
            "PUBLISH with a Topic Alias, none was allowed [MQTT-3.3.2-9]",
            reason_code=MALFORMED_PACKET,
        )
    if not packet.topic:
        raise PeerError("PUBLISH without a Topic Name [MQTT-3.3.2-8]", reason_code=PROTOCOL_ERROR)
    if first & _QOS_MASK == _QOS_2:
        raise PeerError(
            "PUBLISH with QoS 2, only 1 was subscribed [MQTT-3.8.4-8]",
            reason_code=QOS_NOT_SUPPORTED,
        )


def _frame_bytes(view: memoryview) -> int | None:
    """Tell the size of a whole packet from its fixed header; None while that is incomplete."""
    remaining = _variable_integer(view, 1)
    if remaining is not None:
        return remaining[0] + remaining[1]
    if len(view) < _FIXED_HEADER_BYTES_MAX:
        return None
    raise PeerError("Remaining Length is longer than four bytes", reason_code=MALFORMED_PACKET)


def _read_head(view: memoryview, size: int) -> _PublishHead:
    """Read topic, packet id and start of the payload by hand, trusting nothing but the frame.

    Raises:
        PeerError: Not even these can be found, the Packet Identifier is 0, or the QoS is not ours.
    """
    first = view[0]
    if first & _QOS_MASK >= _QOS_2:
        raise PeerError(
            "PUBLISH with QoS 2 or 3, only 1 was subscribed [MQTT-3.8.4-8]",
            reason_code=QOS_NOT_SUPPORTED,
        )
    at = 1
    while view[at] & 0x80:
        at += 1
    at += 1
    if at + 2 > size:
        raise PeerError("PUBLISH ends before its Topic Name", reason_code=MALFORMED_PACKET)
    topic_bytes = int.from_bytes(view[at : at + 2], "big")
    at += 2
    topic = bytes(view[at : at + topic_bytes])
    at += topic_bytes
    packet_id = None
    if first & _QOS_MASK:
        packet_id = int.from_bytes(view[at : at + 2], "big") if at + 2 <= size else 0
        at += 2
    if at > size or packet_id == 0:
        raise PeerError(
            "PUBLISH has no Packet Identifier that can be acknowledged",
            reason_code=MALFORMED_PACKET,
        )
    return _PublishHead(
        topic=topic.decode("utf-8", "backslashreplace"),
        packet_id=packet_id,
        payload_at=_skip_properties(view, at, size),
        retain=bool(first & 0x01),
    )


def _skip_properties(view: memoryview, at: int, size: int) -> int:
    """Find the payload behind the properties; where their length lies, all of it is payload."""
    length = _variable_integer(view, at)
    if length is None:
        return at
    value, behind = length
    # Beyond the view only on a skipped packet whose properties exceed what is kept.
    return behind + value if behind + value <= min(size, len(view)) else at


def _properties_bytes(view: memoryview) -> int | None:
    """Tell the declared length of a PUBLISH's properties; None while that has not come."""
    remaining = _variable_integer(view, 1)
    assert remaining is not None, "called with a complete fixed header"
    at = remaining[1]
    if at + 2 > len(view):
        return None
    at += 2 + int.from_bytes(view[at : at + 2], "big") + (2 if view[0] & _QOS_MASK else 0)
    length = _variable_integer(view, at)
    return None if length is None else length[0]


def _variable_integer(view: memoryview, at: int) -> tuple[int, int] | None:
    """Read a Variable Byte Integer: (value, offset behind it); None where it is cut or too long."""
    value = 0
    for position in range(at, min(at + 4, len(view))):
        byte = view[position]
        value |= (byte & 0x7F) << (7 * (position - at))
        if not byte & 0x80:
            return value, position + 1
    return None


def _poison(frame: memoryview, detail: str) -> PoisonPublish:
    head = _read_head(frame, len(frame))
    payload = bytes(frame[head.payload_at :])
    return PoisonPublish(
        topic=head.topic,
        payload=payload,
        packet_id=head.packet_id,
        is_too_large=False,
        detail=f"the MQTT codec refused the packet: {detail}",
        payload_bytes=len(payload),
        payload_sha256=hashlib.sha256(payload).hexdigest(),
        retain=head.retain,
    )


PINGREQ: Final = b"\xc0\x00"


def encode_pubacks(packet_ids: list[int]) -> bytes:
    """Join the PUBACKs (Success, no properties) of a batch; 4 bytes each [MQTT 3.4.2.1]."""
    return struct.pack(f">{len(packet_ids)}I", *[0x40020000 | each for each in packet_ids])


class Will(Struct, frozen=True):
    """The message that the broker publishes when we vanish."""

    topic: str
    payload: bytes
    qos: int
    retain: bool


def encode_connect(  # noqa: PLR0913  one argument for each field of the packet
    *,
    client_id: str,
    username: str | None,
    password: str | None,
    session_expiry_s: int,
    receive_maximum: int,
    keep_alive_s: int,
    will: Will,
) -> bytes:
    """Encode CONNECT with Clean Start 0: the session is what carries the promise over a cut."""
    return mqtt5.ConnectPacket(
        client_id,
        username=username,
        password=None if password is None else password.encode(),
        clean_start=False,
        will=mqtt5.Will(
            will.topic, payload=will.payload, qos=mqtt5.QoS(will.qos), retain=will.retain
        ),
        keep_alive=keep_alive_s,
        session_expiry_interval=session_expiry_s,
        receive_max=receive_maximum,
    ).write()


def encode_subscribe(packet_id: int, topic_filters: list[str]) -> bytes:
    """Encode SUBSCRIBE at QoS 1; retained messages come only with a new subscription."""
    return mqtt5.SubscribePacket(
        packet_id,
        [
            mqtt5.TopicFilter(
                topic_filter,
                max_qos=mqtt5.QoS.AT_LEAST_ONCE,
                no_local=False,
                retain_as_published=False,
                retain_handling=mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
            )
            for topic_filter in topic_filters
        ],
    ).write()


def encode_unsubscribe(packet_id: int, topic_filters: list[str]) -> bytes:
    """Encode UNSUBSCRIBE; what is queued for these filters is delivered all the same."""
    return mqtt5.UnsubscribePacket(packet_id, topic_filters).write()


def encode_subscribe_best_effort(packet_id: int, mqtt_topic: str) -> bytes:
    """Encode SUBSCRIBE at QoS 0 for one retained value, which is to come each time."""
    wanted = mqtt5.TopicFilter(
        mqtt_topic, max_qos=mqtt5.QoS.AT_MOST_ONCE, retain_handling=mqtt5.RetainHandling.SEND_ALWAYS
    )
    return mqtt5.SubscribePacket(packet_id, [wanted]).write()


def encode_publish(topic: str, payload: bytes, *, packet_id: int | None, retain: bool) -> bytes:
    """Encode a PUBLISH of our own, QoS 1 with a packet id, else QoS 0."""
    qos = mqtt5.QoS.AT_MOST_ONCE if packet_id is None else mqtt5.QoS.AT_LEAST_ONCE
    return mqtt5.PublishPacket(topic, payload, qos=qos, packet_id=packet_id, retain=retain).write()


def encode_disconnect(reason_code: int = 0) -> bytes:
    """Encode DISCONNECT without a Session Expiry Interval: the session stays as it was."""
    return mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode(reason_code)).write()
