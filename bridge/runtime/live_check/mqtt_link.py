"""One MQTT connection of the check, on paho: slow, strict about nothing, and not the bridge's own.

It is driven by hand, without a thread: whoever waits turns the loop.
"""

import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from msgspec import Struct
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from bridge.config.sections import MqttSection
from bridge.errors import UnavailableError
from bridge.runtime.tls import client_context

ANSWER_S: Final = 10.0
"""How long TCP and TLS, CONNACK, SUBACK or PUBACK may take."""
IN_FLIGHT_MAX: Final = 500
"""Messages of our own without a PUBACK; who sends minds the broker's Receive Maximum too."""
_TURN_S: Final = 0.1
_FIRST_ERROR: Final = 0x80
_WRONG_VERSION: Final = 0x84
_RETAIN_HANDLING: Final = 1
"""As the bridge: retained messages come only with a new subscription."""


class MqttRefusedError(UnavailableError):
    """The MQTT broker is not there, refuses, or went away; the message says which."""


class Greeting(Struct, frozen=True, kw_only=True):
    """CONNACK Success; None where the broker left a property out."""

    session_present: bool
    session_expiry_s: int | None = None
    server_keep_alive_s: int | None = None
    maximum_qos: int = 2
    retain_available: bool = True
    wildcards_available: bool = True
    shared_available: bool = True
    receive_maximum: int = 65_535
    assigned_client_id: str = ""
    server_reference: str = ""


class Arrival(Struct, frozen=True):
    """One PUBLISH that came."""

    topic: str
    payload: bytes
    qos: int
    packet_id: int


class Ask(Struct, frozen=True, kw_only=True):
    """What CONNECT asks for."""

    client_id: str
    session_expiry_s: int
    receive_maximum: int


class _Named:
    """A TLS context that expects the name we were told, not the host we connect to."""

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self._context = context
        self._server_name = server_name
        self.check_hostname = context.check_hostname

    def wrap_socket(self, sock: Any, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401  paho's call
        return self._context.wrap_socket(sock, **{**options, "server_hostname": self._server_name})


class MqttLink:
    """One Network Connection; nothing that comes is acknowledged unless we are told to."""

    def __init__(self, section: MqttSection, ask: Ask, *, password: str | None) -> None:
        self._section = section
        self._ask = ask
        self._paho = Client(
            CallbackAPIVersion.VERSION2,
            ask.client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        self._paho.connect_timeout = ANSWER_S
        self._paho.max_inflight_messages_set(IN_FLIGHT_MAX)
        if section.username is not None:
            self._paho.username_pw_set(section.username, password)
        self._paho.on_connect = self._on_connect
        self._paho.on_disconnect = self._on_disconnect
        self._paho.on_subscribe = self._on_subscribe
        self._paho.on_publish = self._on_publish
        self._paho.on_message = self._on_message
        self._connack: tuple[Any, Any, Any] | None = None
        self._subacks: dict[int, list[int]] = {}
        self._end = ""
        self.pubacks: dict[int, int] = {}
        """Reason code of each PUBACK, by Packet Identifier."""
        self.arrivals: list[Arrival] = []
        self.server_certificate: bytes | None = None
        self.tls_version = ""

    # ------------------------------------------------------------------ callbacks

    def _on_connect(self, _: Client, __: Any, *answer: Any) -> None:  # noqa: ANN401
        self._connack = (answer[0], answer[1], answer[2])

    def _on_disconnect(self, _: Client, __: Any, flags: Any, *rest: Any) -> None:  # noqa: ANN401
        code, properties = rest
        said = f"DISCONNECT {code}" if flags.is_disconnect_packet_from_server else "closed"
        self._end = f"{said} {getattr(properties, 'ReasonString', '')}".strip()

    def _on_subscribe(self, _: Client, __: Any, mid: int, codes: Any, ___: Any) -> None:  # noqa: ANN401
        self._subacks[mid] = [code.value for code in codes]

    def _on_publish(self, _: Client, __: Any, mid: int, code: Any, ___: Any) -> None:  # noqa: ANN401
        self.pubacks[mid] = code.value

    def _on_message(self, _: Client, __: Any, message: MQTTMessage) -> None:  # noqa: ANN401
        self.arrivals.append(
            Arrival(message.topic, bytes(message.payload), message.qos, int(message.mid))
        )

    # ------------------------------------------------------------------ ours

    def connect(self) -> Greeting:
        """Open the connection, Clean Start 0 so that no session is lost by it, without a will.

        Raises:
            MqttRefusedError: With the reason.
        """
        section, ask = self._section, self._ask
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = ask.session_expiry_s
        properties.ReceiveMaximum = ask.receive_maximum
        try:
            if section.tls is not None:
                named = _Named(client_context(section.tls), section.tls.server_name or section.host)
                self._paho.tls_set_context(cast("ssl.SSLContext", named))
            self._paho.connect(
                section.host,
                section.port,
                section.keep_alive_s,
                clean_start=False,
                properties=properties,
            )
        except ssl.SSLCertVerificationError as error:
            raise MqttRefusedError(
                f"the broker's certificate was not accepted: {error.verify_message}"
            ) from error
        except OSError as error:
            raise MqttRefusedError(str(error) or type(error).__name__) from error
        self._note_tls()
        self.wait(lambda: self._connack is not None, "CONNACK")
        assert self._connack is not None, "it was waited for"
        return _greeting(*self._connack)

    def _note_tls(self) -> None:
        socket = self._paho.socket()
        if isinstance(socket, ssl.SSLSocket):
            self.server_certificate = socket.getpeercert(binary_form=True)
            self.tls_version = socket.version() or ""

    def subscribe(self, topic_filters: Sequence[str], *, qos: int) -> list[int]:
        """Subscribe; return the reason code of each filter."""
        options = SubscribeOptions(qos=qos, retainHandling=_RETAIN_HANDLING)
        _, mid = self._paho.subscribe([(each, options) for each in topic_filters])
        if mid is None:
            raise MqttRefusedError("the connection ended before SUBSCRIBE")
        self.wait(lambda: mid in self._subacks, "SUBACK")
        codes = self._subacks[mid]
        return [*codes, *[_FIRST_ERROR] * (len(topic_filters) - len(codes))]

    def unsubscribe(self, topic_filter: str) -> None:
        """Take a subscription out of a session that stays."""
        self._paho.unsubscribe(topic_filter)

    def send(self, topic: str, payload: bytes) -> int:
        """Publish with QoS 1; return the Packet Identifier, whose PUBACK comes later."""
        return int(self._paho.publish(topic, payload, qos=1).mid)

    def acknowledge(self, arrival: Arrival) -> None:
        """Send PUBACK."""
        self._paho.ack(arrival.packet_id, arrival.qos)

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        """Turn the loop until it holds.

        Raises:
            MqttRefusedError: It did not within `ANSWER_S`, or the connection ended.
        """
        if not self.holds_within(ANSWER_S, holds):
            raise MqttRefusedError(f"no {what} within {ANSWER_S:.0f} s")

    def holds_within(self, timeout_s: float, holds: Callable[[], bool]) -> bool:
        """Turn the loop until it holds or the time is over; return whether it held.

        Raises:
            MqttRefusedError: The connection ended, or the broker broke the protocol.
        """
        ends_at = time.monotonic() + timeout_s
        while not holds():
            left_s = ends_at - time.monotonic()
            if left_s <= 0:
                return False
            try:
                code = self._paho.loop(min(left_s, _TURN_S))
            except Exception as error:  # Whatever paho makes of bytes that are no MQTT.
                raise MqttRefusedError(f"the broker broke the protocol: {error!r}") from error
            if code != MQTTErrorCode.MQTT_ERR_SUCCESS and not holds():
                why = self._end or "closed"
                raise MqttRefusedError(f"the broker ended the connection: {why}")
        return True

    def close(self, *, session_expiry_s: int | None) -> None:
        """Send DISCONNECT; a number replaces the session's expiry, and 0 removes it."""
        properties = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
        if session_expiry_s is not None:
            properties.SessionExpiryInterval = session_expiry_s
        self._paho.disconnect(properties=properties)


def _greeting(flags: Any, code: Any, properties: Any) -> Greeting:  # noqa: ANN401  paho's types
    """Read CONNACK.

    Raises:
        MqttRefusedError: It is no Success.
    """

    def given(name: str, default: Any) -> Any:  # noqa: ANN401
        return getattr(properties, name, default)

    if code.value == _WRONG_VERSION:
        raise MqttRefusedError("the broker refused MQTT 5")
    if code.value >= _FIRST_ERROR:
        raise MqttRefusedError(f"CONNACK {code}: {given('ReasonString', '')}".rstrip(": "))
    return Greeting(
        session_present=bool(flags.session_present),
        session_expiry_s=given("SessionExpiryInterval", None),
        server_keep_alive_s=given("ServerKeepAlive", None),
        maximum_qos=given("MaximumQoS", 2),
        retain_available=bool(given("RetainAvailable", 1)),
        wildcards_available=bool(given("WildcardSubscriptionAvailable", 1)),
        shared_available=bool(given("SharedSubscriptionAvailable", 1)),
        receive_maximum=given("ReceiveMaximum", 65_535),
        assigned_client_id=given("AssignedClientIdentifier", ""),
        server_reference=given("ServerReference", ""),
    )
