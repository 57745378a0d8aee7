"""An MQTT 5 broker of one session, in bytes, with a network that cuts them anywhere.

It reuses a Packet Identifier as soon as it is free, sends again only on a new connection, and
forgets what a broker forgets: back to a snapshot, or the whole session.
"""

import random
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import mqtt5
import msgspec

from tests.simulation.clock import SimClock, SimTimer
from tests.simulation.messages import Message
from tests.support.hostile_broker import PINGRESP, connack, duplicate, puback, publish, suback

CHUNK_BYTES_MAX = 3_000


class Client(Protocol):
    """The bridge's end of a connection."""

    def data_received(self, data: bytes) -> None: ...

    def connection_lost(self) -> None: ...


class SessionState(msgspec.Struct):
    """What a persistent session is: a queue, and what is under way by Packet Identifier."""

    queue: deque[Message] = msgspec.field(default_factory=deque[Message])
    inflight: dict[int, Message] = {}

    def copy(self) -> "SessionState":
        return SessionState(self.queue.copy(), self.inflight.copy())

    def messages(self) -> list[Message]:
        return [*self.inflight.values(), *self.queue]

    def free_id(self) -> int:
        return next(each for each in range(1, 65_536) if each not in self.inflight)


class Connection:
    """Two pipes of bytes, each in its own time; whatever is in them when it is cut is gone."""

    def __init__(self, broker: "Broker", client: Client) -> None:
        self.is_open = True
        self.owed: deque[tuple[int, Message]] = deque()
        """What was sent here and has no PUBACK yet, in order."""
        self.receive_maximum = 0
        self._broker = broker
        self._client = client
        self._down = bytearray()
        self._up = bytearray()
        self._unread = b""
        self._down_timer: SimTimer | None = None
        self._up_timer: SimTimer | None = None
        self._is_paused = False
        self._is_ending = False

    # ------------------------------------------------------------------ the bridge's end

    def write(self, data: bytes) -> None:
        """Take what the bridge writes; its PUBACKs are judged now, not when they arrive."""
        if not self.is_open:
            return
        for packet in _packets_in(data):
            if isinstance(packet, mqtt5.PubAckPacket):
                self._judge_puback(packet.packet_id)
        self._up += data
        self._schedule_up()

    def _judge_puback(self, packet_id: int) -> None:
        assert self.owed, f"PUBACK out of order: {packet_id} while none is owed"
        owed_id, message = self.owed.popleft()
        assert owed_id == packet_id, f"PUBACK out of order: {packet_id} instead of {owed_id}"
        self._broker.on_puback(message)

    def pause(self) -> None:
        self._is_paused = True

    def resume(self) -> None:
        self._is_paused = False
        self._schedule_down()

    def finish(self) -> None:
        """Close after what was written has arrived."""
        self._is_ending = True
        self._schedule_up()

    def cut(self) -> None:
        """End it now; both sides notice."""
        if self.is_open:
            self.is_open = False
            self._broker.on_connection_ended(self)
            self._client.connection_lost()

    # ------------------------------------------------------------------ the broker's end

    def say(self, data: bytes) -> None:
        self._down += data
        self._schedule_down()

    def _schedule_down(self) -> None:
        if self._down_timer is None and self._down and not self._is_paused:
            delay_s = self._broker.delay_s()
            self._down_timer = self._broker.clock.call_later(delay_s, self._deliver_down)

    def _deliver_down(self) -> None:
        self._down_timer = None
        if not self.is_open or self._is_paused or self._is_ending:
            return
        size = self._chunk(len(self._down))
        data = bytes(self._down[:size])
        del self._down[:size]
        self._schedule_down()
        self._client.data_received(data)

    def _schedule_up(self) -> None:
        if self._up_timer is None and (self._up or self._is_ending):
            delay_s = self._broker.delay_s()
            self._up_timer = self._broker.clock.call_later(delay_s, self._deliver_up)

    def _deliver_up(self) -> None:
        self._up_timer = None
        if not self.is_open:
            return
        size = self._chunk(len(self._up))
        self._unread += self._up[:size]
        del self._up[:size]
        self._read()
        if self._is_ending and not self._up:
            self.cut()
        else:
            self._schedule_up()

    def _chunk(self, size: int) -> int:
        if self._broker.chance.random() < 0.6:
            return min(size, CHUNK_BYTES_MAX)
        return self._broker.chance.randint(1, max(1, min(size, CHUNK_BYTES_MAX)))

    def _read(self) -> None:
        at = 0
        view = memoryview(self._unread)
        while at < len(view) and self.is_open:
            try:
                packet, size = mqtt5.read(view[at:])
            except IndexError:
                break
            at += size
            self._broker.on_packet(self, packet)
        self._unread = self._unread[at:]

    def is_idle(self) -> bool:
        return not (self._down or self._up or self.owed)


class Broker:
    """One broker with one client; the publishers' side is `take`."""

    def __init__(
        self, clock: SimClock, chance: random.Random, *, on_puback: Callable[[Message], None]
    ) -> None:
        self.clock = clock
        self.chance = chance
        self.on_puback = on_puback
        self.is_up = True
        self.refusal = 0
        """The reason code of every CONNACK, while it is not 0."""
        self.slowness_s = 0.01
        self.session: SessionState | None = None
        self.connection: Connection | None = None
        self.duplicates_sent = 0
        self._is_subscribed = False

    def delay_s(self) -> float:
        return self.chance.random() * self.slowness_s

    # ------------------------------------------------------------------ publishers

    def take(self, message: Message) -> None:
        """Take what a publisher sends and acknowledge it; without a subscription it is lost."""
        if self.session is None or not self._is_subscribed:
            message.is_lost = True
            return
        self.session.queue.append(message)
        self._send_more()

    # ------------------------------------------------------------------ the one client

    def connect(self, client: Client) -> Connection | None:
        if not self.is_up:
            return None
        if self.connection is not None:
            self.connection.cut()
        self.connection = Connection(self, client)
        return self.connection

    def on_connection_ended(self, connection: Connection) -> None:
        if self.connection is connection:
            self.connection = None

    def on_packet(self, connection: Connection, packet: Any) -> None:
        if connection is not self.connection:
            return
        match packet:
            case mqtt5.ConnectPacket():
                self._accept(connection, packet)
            case mqtt5.SubscribePacket():
                codes = [int(each.max_qos) for each in packet.topic_filters]
                connection.say(suback(packet.packet_id, codes))
                self._is_subscribed = True
            case mqtt5.PublishPacket() if packet.packet_id is not None:
                connection.say(puback(packet.packet_id))
            case mqtt5.PubAckPacket():
                self._acknowledged(packet.packet_id)
            case mqtt5.PingReqPacket():
                connection.say(PINGRESP)
            case mqtt5.DisconnectPacket():
                code = int(packet.reason_code)
                assert code == 0, f"the bridge left with reason code {code:#x}"
                connection.cut()
            case _:
                pass

    def _accept(self, connection: Connection, packet: mqtt5.ConnectPacket) -> None:
        if self.refusal:
            connection.say(connack(self.refusal))
            return
        connection.receive_maximum = packet.receive_max
        is_present = self.session is not None
        connection.say(connack(session_present=is_present))
        if self.session is None:
            self.session = SessionState()
            self._is_subscribed = False
        for packet_id, message in self.session.inflight.items():
            self._send(connection, packet_id, message, is_again=True)
        self._send_more()

    def _send_more(self) -> None:
        connection, session = self.connection, self.session
        if connection is None or session is None:
            return
        while session.queue and len(session.inflight) < connection.receive_maximum:
            message = session.queue.popleft()
            packet_id = session.free_id()
            session.inflight[packet_id] = message
            self._send(connection, packet_id, message, is_again=False)

    def _send(
        self, connection: Connection, packet_id: int, message: Message, *, is_again: bool
    ) -> None:
        content = message.content
        frame = publish(content.mqtt_topic, content.payload, packet_id=packet_id)
        connection.owed.append((packet_id, message))
        self.duplicates_sent += is_again
        connection.say(duplicate(frame) if is_again else frame)

    def _acknowledged(self, packet_id: int) -> None:
        assert self.session is not None
        message = self.session.inflight.pop(packet_id)
        message.is_acknowledged = True
        self._send_more()

    # ------------------------------------------------------------------ what befalls a broker

    def cut(self) -> None:
        if self.connection is not None:
            self.connection.cut()

    def snapshot(self) -> SessionState | None:
        return None if self.session is None else self.session.copy()

    def restore(self, snapshot: SessionState | None, *, is_requeued: bool) -> None:
        """Go back to an older state; what was under way goes again, as new or as sent before."""
        self.cut()
        before = [] if self.session is None else self.session.messages()
        self.session = None if snapshot is None else snapshot.copy()
        if self.session is not None and is_requeued:
            self.session.queue.extendleft(reversed(self.session.inflight.values()))
            self.session.inflight = {}
        kept = set() if self.session is None else set(self.session.messages())
        for message in before:
            message.is_lost |= message not in kept

    def is_idle(self) -> bool:
        session, connection = self.session, self.connection
        return (
            session is not None
            and not session.messages()
            and connection is not None
            and connection.is_idle()
        )


def _packets_in(data: bytes) -> list[Any]:
    found: list[Any] = []
    view = memoryview(data)
    while view:
        packet, size = mqtt5.read(view)
        found.append(packet)
        view = view[size:]
    return found
