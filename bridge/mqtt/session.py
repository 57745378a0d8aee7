"""The MQTT 5 session as a state machine without I/O.

Theory of operation. One `Session` lives as long as the process; each Network Connection begins
with `connect`, which drops the old ledger whole and starts a new one:

    IDLE --connect--> CONNECTING --CONNACK--> CONNECTED --SUBACK--> SUBSCRIBED
      ^                   |                       |                     |
      +---- closed -------+-----------------------+---------------------+

Bytes go in through `receive_data`, facts come out as its result, bytes to write wait in
`data_to_send`. `now` is the monotonic clock in seconds. PUBLISHes are taken from CONNACK on, since
a resumed session delivers before our SUBSCRIBE is answered. SUBSCRIBE follows every CONNACK, also
with Session Present, because some brokers lose subscriptions of a session they keep. What is not
telemetry (canaries, the broker's count of drops) is the part of `errands.py`.
"""

import enum
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import structs

from bridge.errors import PeerError
from bridge.mqtt import codec
from bridge.mqtt.ack_ledger import AckLedger
from bridge.mqtt.canary import Canary
from bridge.mqtt.connack import findings_of
from bridge.mqtt.errands import Errands
from bridge.mqtt.events import (
    CanariesTaken,
    Connected,
    Disconnected,
    Event,
    Received,
    Refused,
    TimedOut,
    VersionRefused,
    Violated,
)
from bridge.mqtt.subscriptions import Subscriptions

CONNECT_TIMEOUT_S: Final = 10.0
"""How long CONNACK or SUBACK may take."""
RELEASED_S: Final = 0.002
"""What comes so soon behind PUBACKs may have waited for them."""
WINDOW_PART: Final = 4
"""Where so great a part of the Receive Maximum is owed, the broker may be held back by that."""
WINDOW_LARGE: Final = 256
"""So many in a window are 50,000 a second, even if their PUBACKs take 5 ms more."""
WINDOW_USED_S: Final = 0.025
"""How long a window that was full is taken for one that is: a few of Kafka's answers."""

_GREETINGS: Final = (0x20, 0xE0, 0xF0)
"""CONNACK, DISCONNECT, AUTH: what an MQTT broker may answer CONNECT with."""
_STATUS_ID: Final = 2
_FIRST_ERROR: Final = 0x80
_UNSUPPORTED_PROTOCOL_VERSION: Final = 0x84
_RETAIN_NOT_SUPPORTED: Final = 0x9A
_QOS_NOT_SUPPORTED: Final = 0x9B

_PATIENCE_REASONS: Final = frozenset(
    {
        0x85,  # Client Identifier not valid
        0x86,  # Bad User Name or Password
        0x87,  # Not authorized
        0x89,  # Server busy
        0x8A,  # Banned
        0x8C,  # Bad authentication method
        0x8E,  # Session taken over
        0x93,  # Receive Maximum exceeded
        0x96,  # Message rate too high
        0x97,  # Quota exceeded
        0x98,  # Administrative action
        0x9C,  # Use another server
        0x9D,  # Server moved
        0x9F,  # Connection rate exceeded
    }
)


class Phase(enum.Enum):
    """How far the current Network Connection has come."""

    IDLE = enum.auto()
    CONNECTING = enum.auto()
    CONNECTED = enum.auto()
    SUBSCRIBED = enum.auto()


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What CONNECT and SUBSCRIBE ask for."""

    client_id: str
    topic_filters: tuple[str, ...]
    username: str | None = None
    session_expiry_s: int
    receive_maximum: int
    keep_alive_s: int
    packet_bytes_max: int

    @property
    def status_topic(self) -> str:
        """Topic Name of the retained `online` or `offline`."""
        return f"bridge/{self.client_id}/status"


class Session:
    """One MQTT session over many Network Connections; see the module for the states.

    Invariant: PUBACKs are taken from the ledger of the current connection only, so a delivery
    report of an older one acknowledges nothing (Packet Identifiers are reused at once).
    """

    def __init__(
        self,
        settings: SessionSettings,
        *,
        canary: Canary | None = None,
        is_session_expected: bool = False,
        left_filters: Iterable[str] = (),
    ) -> None:
        """`left_filters` are those that the session had before and that are wanted no more."""
        self.settings = settings
        self.phase = Phase.IDLE
        self.ledger = AckLedger()
        self.subscriptions = Subscriptions(settings.topic_filters, left=left_filters)
        self.is_promise_kept = True
        """False while a CONNACK property makes the promise impossible (Maximum QoS 0)."""
        self.has_acknowledged = False
        """A PUBACK was sent on this connection, or on the last one while there is none."""
        self.last_heard: float | None = None
        """When anything last came from the broker."""
        self._decoder = codec.Decoder(packet_bytes_max=settings.packet_bytes_max)
        self._errands = Errands(canary)
        self._out = bytearray()
        self._had_session = is_session_expected
        self._retain_available = True
        self._will_qos = 1
        self._is_retain_refused = False
        """Once 0x9A: no retain from then on, whatever a CONNACK says of it."""
        self._keep_alive_s = float(settings.keep_alive_s)
        self._last_sent = 0.0
        self._last_received = 0.0
        self._is_ping_owed = False
        self._is_reading_paused = False
        self._is_greeting_due = False
        self._is_leaving = False
        """A stop has begun: nothing new is asked of the broker."""
        self._answer_due: float | None = None
        self._window_used_at = self._acknowledged_at = float("-inf")

    # ------------------------------------------------------------------ connection

    def connect(self, *, now: float, password: str | None = None) -> None:
        """Start a new Network Connection: CONNECT is in the buffer, the old ledger is gone."""
        settings = self.settings
        self.phase = Phase.CONNECTING
        self.has_acknowledged = False
        self.ledger = AckLedger()
        self._window_used_at = self._acknowledged_at = float("-inf")
        self.subscriptions.begin_connection()
        self._decoder = codec.Decoder(packet_bytes_max=settings.packet_bytes_max)
        self._out.clear()
        self._keep_alive_s = float(settings.keep_alive_s)
        self._is_ping_owed = False
        self._is_reading_paused = False
        self._is_greeting_due = True
        self._last_received = now
        self._answer_due = now + CONNECT_TIMEOUT_S
        self._errands.begin_connection()
        self._send(
            codec.encode_connect(
                client_id=settings.client_id,
                username=settings.username,
                password=password,
                session_expiry_s=settings.session_expiry_s,
                receive_maximum=settings.receive_maximum,
                keep_alive_s=settings.keep_alive_s,
                will=codec.Will(
                    settings.status_topic, b"offline", self._will_qos, self._retain_available
                ),
            ),
            now,
        )

    def closed(self) -> None:
        """Note that the Network Connection is gone; what it received is still on its way."""
        self.phase = Phase.IDLE
        self._out.clear()
        self._answer_due = None
        self.subscriptions.again_at = None
        self._errands.end_connection()

    def say_offline(self, *, now: float) -> None:
        """Publish the retained `offline`: the first word of a stop, while PUBACKs still flow."""
        self._is_leaving = True
        if self.phase in (Phase.CONNECTED, Phase.SUBSCRIBED):
            self._publish_status(b"offline", now)

    def disconnect(self, *, now: float) -> None:
        """Send DISCONNECT, keeping the session; nothing may be sent after it [MQTT-3.14.4-1]."""
        if self.phase in (Phase.CONNECTED, Phase.SUBSCRIBED):
            self._send(codec.encode_disconnect(), now)
        self.phase = Phase.IDLE

    # ------------------------------------------------------------------ bytes

    def data_to_send(self) -> bytes:
        """Remove and return what is to be written to the socket now."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive_data(self, data: bytes, *, now: float) -> list[Event]:
        """Take bytes from the socket; return what they meant: the PUBLISHes last, each in order."""
        self._note_heard(now)
        decoder = self._decoder
        violation: PeerError | None = None
        if self._is_greeting_due:
            self._is_greeting_due = False
            if data[0] & 0xF0 not in _GREETINGS:
                head = bytes(data[:32])
                detail = f"the peer answered CONNECT with {head!r}"
                return [Refused(0, "not_mqtt", detail, is_patience_due=True)]
        try:
            decoder.feed(data)
        except PeerError as error:
            violation = error
        events: list[Event] = []
        closing: list[Event] = []
        if decoder.controls:
            controls, decoder.controls = decoder.controls, []
            for packet in controls:
                if not closing:
                    self._receive_control(packet, events, closing, now)
        if decoder.publishes:
            self._receive_publishes(events, now)
        if violation is not None and not closing:
            closing.append(self._violated(violation, now))
        if closing:
            events.append(closing[0])
        return events

    def _note_heard(self, now: float) -> None:
        self._last_received = self.last_heard = now
        self._is_ping_owed = False
        if self._answer_due is not None and self.phase is Phase.CONNECTED:
            # The SUBACK comes behind what the session holds, and that may be hundreds of megabytes.
            self._answer_due = now + CONNECT_TIMEOUT_S

    def _receive_publishes(self, events: list[Event], now: float) -> None:
        decoder = self._decoder
        packets, decoder.publishes = decoder.publishes, []
        receipts = self.ledger.open_all([packet.packet_id for packet in packets])
        used = min(self.ledger.most_owed, self.settings.receive_maximum // WINDOW_PART + 1)
        if len(self.ledger) >= used and now - self._acknowledged_at < RELEASED_S:
            self._window_used_at = now
        received, canaries = self._errands.sift(
            Received(packets, receipts), self.ledger, events, now
        )
        if canaries:  # Settled already, so nobody else sees to their PUBACKs.
            events.append(CanariesTaken(canaries, self.acknowledge(now=now)))
        if received.packets:
            events.append(received)

    def acknowledge(self, *, now: float) -> int:
        """Put the PUBACKs that are due into the buffer; return how many."""
        ready = self.ledger.take_ready()
        if ready and self.phase in (Phase.CONNECTED, Phase.SUBSCRIBED):
            self.has_acknowledged = True
            self._acknowledged_at = now
            self._send(codec.encode_pubacks(ready), now)
            return len(ready)
        return 0

    def may_broker_wait(self, *, now: float) -> bool:
        """Tell whether the MQTT broker may wait for PUBACKs before it sends more.

        Its own window may be smaller than the Receive Maximum, and is not told to us. So it may be
        full where as much was owed as ever on this connection, or a quarter of what may be, by what
        came right behind PUBACKs; and, since it is filled and emptied time and again, a moment
        later.
        """
        return now - self._window_used_at < WINDOW_USED_S

    def is_puback_urgent(self, *, now: float) -> bool:
        """Tell whether it may wait, and its window is so small that milliseconds count."""
        return self.ledger.most_owed < WINDOW_LARGE and self.may_broker_wait(now=now)

    def _send(self, data: bytes, now: float) -> None:
        self._out += data
        self._last_sent = now

    # ------------------------------------------------------------------ packets

    def _receive_control(
        self, packet: codec.Control, events: list[Event], closing: list[Event], now: float
    ) -> None:
        match packet:
            case codec.PubAck():
                events += self._errands.acknowledged(packet, now)
                self._publish_canaries(now)  # There is room for one more.
            case codec.PingResp():
                pass  # The broker is there: nothing follows.
            case codec.ConnAck() if self.phase is Phase.CONNECTING:
                self._receive_connack(packet, events, closing, now)
            case codec.Mqtt3ConnAck() if self.phase is Phase.CONNECTING:
                closing.append(
                    VersionRefused(
                        f"the broker answered as MQTT 3.1.1, return code {packet.return_code}"
                    )
                )
            case codec.SubAck() if self.subscriptions.is_answer(packet):
                self._answer_due = None
                events += self.subscriptions.answered(packet, now)
                self._note_granted(now)
            case codec.UnsubAck() if self.subscriptions.is_farewell(packet):
                told, more = self.subscriptions.left(packet)
                events += told
                self._ask(more, now)
            case codec.SubAck() if self._errands.is_drops_answer(packet):
                events += self._errands.drops_answered(packet)
            case codec.Disconnect():
                closing.append(self._disconnected(packet))
            case _:
                unexpected = PeerError(
                    f"{type(packet).__name__} is not expected while {self.phase.name.lower()}",
                    reason_code=codec.PROTOCOL_ERROR,
                )
                closing.append(self._violated(unexpected, now))

    def _disconnected(self, packet: codec.Disconnect) -> Disconnected:
        code = int(packet.reason_code)
        # The next CONNECT goes without what this broker cannot do.
        self._is_retain_refused = self._is_retain_refused or code == _RETAIN_NOT_SUPPORTED
        return Disconnected(
            reason_code=code,
            reason=packet.reason_code.name.lower(),
            detail=packet.reason_str or packet.server_reference or "",
            is_patience_due=code in _PATIENCE_REASONS,
        )

    def _receive_connack(
        self, packet: codec.ConnAck, events: list[Event], closing: list[Event], now: float
    ) -> None:
        code = int(packet.reason_code)
        if code >= _FIRST_ERROR:
            closing.append(self._refused(packet, code))
            return
        settings = self.settings
        self._retain_available = packet.retain_available and not self._is_retain_refused
        self._will_qos = min(1, int(packet.max_qos))
        findings = findings_of(packet, settings)
        self.is_promise_kept = not any(each.is_fatal_to_promise for each in findings)
        if packet.server_keep_alive:
            self._keep_alive_s = float(packet.server_keep_alive)
        self.phase = Phase.CONNECTED
        events.append(
            Connected(
                session_present=packet.session_present,
                is_session_lost=self._had_session and not packet.session_present,
                keep_alive_s=int(self._keep_alive_s),
                findings=findings,
            )
        )
        self._had_session = True
        self._errands.accepted(packet)
        self._answer_due = None
        self._ask(self.subscriptions.connected(session_present=packet.session_present), now)
        self._publish_status(b"online", now)

    def _refused(self, packet: codec.ConnAck, code: int) -> Refused | VersionRefused:
        if code == _UNSUPPORTED_PROTOCOL_VERSION:
            return VersionRefused("the broker refused MQTT 5 (0x84)")
        # The next CONNECT leaves out what this broker cannot do for the will.
        if code == _RETAIN_NOT_SUPPORTED:
            self._is_retain_refused = True
            self._retain_available = False
        if code == _QOS_NOT_SUPPORTED:
            self._will_qos = 0
        return Refused(
            reason_code=code,
            reason=packet.reason_code.name.lower(),
            detail=packet.reason_str or packet.server_reference or "",
            is_patience_due=code in _PATIENCE_REASONS,
        )

    def change_filters(self, topic_filters: tuple[str, ...], *, now: float) -> None:
        """Subscribe to what came and unsubscribe from what went; the answers are events."""
        self.settings = structs.replace(self.settings, topic_filters=topic_filters)
        self._errands.change_filters(topic_filters)
        is_connected = self.phase in (Phase.CONNECTED, Phase.SUBSCRIBED)
        self._ask(self.subscriptions.change(topic_filters, is_connected=is_connected), now)
        if is_connected:
            self.phase = Phase.SUBSCRIBED if self.subscriptions.is_whole else Phase.CONNECTED

    def _note_granted(self, now: float) -> None:
        if self.subscriptions.is_whole:
            self.phase = Phase.SUBSCRIBED
        self._ask(self.subscriptions.ask_for_missing(), now)
        if errand := self._errands.subscribed(self.subscriptions.granted, now):
            self._send(errand, now)
        self._publish_canaries(now)

    def _publish_canaries(self, now: float) -> None:
        if not self._is_leaving and (canaries := self._errands.publish_due(now)):
            self._send(canaries, now)

    def _ask(self, packets: bytes, now: float) -> None:
        if packets:
            self._send(packets, now)
        if self.subscriptions.is_answer_due and self._answer_due is None:
            self._answer_due = now + CONNECT_TIMEOUT_S

    def _publish_status(self, payload: bytes, now: float) -> None:
        """Publish with QoS 1, but never two at once: a broker may take only one at a time."""
        is_promised = self._will_qos > 0 and self._errands.take_packet_id(_STATUS_ID)
        self._send(
            codec.encode_publish(
                self.settings.status_topic,
                payload,
                packet_id=_STATUS_ID if is_promised else None,
                retain=self._retain_available,
            ),
            now,
        )

    def _violated(self, error: PeerError, now: float) -> Violated:
        self._send(codec.encode_disconnect(error.reason_code), now)
        self.phase = Phase.IDLE  # So that no PUBACK follows the DISCONNECT [MQTT-3.14.4-1].
        return Violated(error.reason_code, str(error))

    # ------------------------------------------------------------------ time

    def pause_reading(self) -> None:
        """Note that the socket is not read: silence now says nothing about the broker."""
        self._is_reading_paused = True

    def resume_reading(self, *, now: float) -> None:
        """Note that the socket is read again; the broker's silence counts from here."""
        self._is_reading_paused = False
        self._is_ping_owed = False
        self._last_received = now
        if self._answer_due is not None:
            self._answer_due = now + CONNECT_TIMEOUT_S

    def next_timer(self) -> float | None:
        """Tell when `on_timer` is due, on the clock of `now`; None when nothing is awaited."""
        if self.phase is Phase.IDLE:
            return None
        # The answer may lie in the socket that is not read, so it is not missed yet.
        answer_due = None if self._is_reading_paused else self._answer_due
        due = [each for each in (answer_due, self.subscriptions.again_at) if each is not None]
        if self.phase is not Phase.CONNECTING:
            due.append(self._ping_due())
            canary_due = None if self._is_leaving else self._errands.next_timer()
            if canary_due is not None:
                due.append(canary_due)
        return min(due, default=None)

    def _ping_due(self) -> float:
        """Ping after three quarters of Keep Alive without a word from either side.

        Silence of the broker alone is reason enough: our own PUBACKs keep the broker content, but
        do not tell us that it is there. A paused reader hears nothing and only keeps it content.
        """
        interval = self._keep_alive_s * 0.75
        if self._is_reading_paused:
            return self._last_sent + interval
        if self._is_ping_owed:
            return self._last_received + self._keep_alive_s * 1.25
        return min(self._last_sent, self._last_received) + interval

    def on_timer(self, *, now: float) -> list[Event]:
        """Do what is due by `now`: PINGREQ, SUBSCRIBE again, or give the broker up."""
        if self.phase is Phase.IDLE:
            return []
        if not self._is_reading_paused and self._answer_due is not None and now >= self._answer_due:
            waited_for = "CONNACK" if self.phase is Phase.CONNECTING else "SUBACK"
            return [TimedOut(waited_for, CONNECT_TIMEOUT_S)]
        again_at = self.subscriptions.again_at
        if again_at is not None and now >= again_at:
            self._ask(self.subscriptions.ask_again(), now)
        if self.phase is Phase.CONNECTING:
            return []
        events: list[Event] = []
        if not self._is_leaving:
            # What is not acknowledged, or not read, may be what the canary waits behind.
            is_excused = self._is_reading_paused or len(self.ledger) > 0
            events += self._errands.judge(now, is_excused=is_excused)
            self._publish_canaries(now)
        if now < self._ping_due():
            return events
        if self._is_ping_owed and not self._is_reading_paused:
            return [*events, TimedOut("PINGRESP", self._keep_alive_s * 1.25)]
        self._send(codec.PINGREQ, now)
        self._is_ping_owed = not self._is_reading_paused
        return events
