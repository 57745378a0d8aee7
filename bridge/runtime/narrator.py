"""What the MQTT session reports, told to the log and the counters in their words."""

from typing import TYPE_CHECKING, Final, assert_never

from bridge.mqtt.events import (
    BrokerDropsReported,
    BrokerDropsUnreadable,
    CanariesTaken,
    CanaryMissed,
    CanaryRefused,
    CanaryReturned,
    Connected,
    Disconnected,
    Event,
    Received,
    Refused,
    SubscribedAll,
    SubscriptionRefused,
    TimedOut,
    Unsubscribed,
    VersionRefused,
    Violated,
)
from bridge.observe.counters import (
    CanaryOutcome,
    ConnectionReason,
    Counters,
    protocol_error_kind,
)
from bridge.observe.log import EventLog

if TYPE_CHECKING:
    from collections.abc import Callable

_TAKEN_OVER: Final = 0x8E
_CONNACK_REMEDIES: Final = {
    "bad_user_name_or_password": "correct mqtt.username and mqtt.password",
    "not_authorized": "allow the client in the MQTT broker's access rules",
    "client_id_not_valid": "choose another mqtt.client_id",
    "banned": "ask the operator of the MQTT broker",
    "server_busy": "none needed: the bridge comes back by itself",
    "not_mqtt": "point mqtt.host and mqtt.port at an MQTT broker",
    "retain_not_supported": "none needed: the next try leaves retain out",
    "quality_not_supported": "none needed: the next try lowers the will's QoS",
}
_OTHER_REMEDY: Final = "see the log of the MQTT broker"


class Narrator:
    """Turn each fact of the session into one event, and remember why the last connection ended."""

    def __init__(self, log: EventLog, counters: Counters, *, address: str, client_id: str) -> None:
        self._refusal = ""
        self._unreadable: dict[str, None] = {}
        """Filters whose canary did not come back; a new SUBACK does not mend that."""
        self._lack = ""
        """What this broker cannot do and the promise needs; granted filters do not mend it."""
        self._log = log
        self._counters = counters
        self._address = address
        self._client_id = client_id
        self._reason = ConnectionReason.FIRST
        self._tell_end: Callable[[float], None] | None = None
        self._attempt = 0

    @property
    def refusal(self) -> str:
        """Why the MQTT broker refuses us; empty while it does not."""
        if self._refusal or not self._unreadable:
            return self._refusal
        filters = ", ".join(self._unreadable)
        return f"reading forbidden: no canary came back through {filters}"

    def tell(self, event: Event, *, receive_maximum: int, session_expiry_s: int) -> None:
        """Write one event of the session; the end of a connection waits for its delay."""
        match event:
            case Connected():
                self._tell_connected(event, receive_maximum, session_expiry_s)
            case SubscribedAll():
                self._refusal = self._lack
                self._log.emit("mqtt_subscribed", filters=list(event.topic_filters), qos=1)
            case SubscriptionRefused():
                self._refusal = f"topic filter {event.topic_filter!r}: {event.reason}"
                self._log.emit(
                    "mqtt_subscription_refused",
                    filter=event.topic_filter,
                    reason_code=event.reason_code,
                    reason=event.reason,
                    remedy="allow the bridge to subscribe with QoS 1 in the MQTT broker's rules",
                )
            case Refused() | VersionRefused():
                self._note_refused(event)
            case Disconnected():
                self._note_disconnected(event)
            case Violated():
                self._note_violated(event)
            case TimedOut():
                self._note_timed_out(event)
            case Received() | BrokerDropsReported():
                pass  # Never a line for a good message; drops are the gap finder's.
            case _:
                self._tell_errand(event)

    def tell_connect_failed(self, reason: str, *, retry_in_s: float) -> None:
        """Write that no connection could be made."""
        self._attempt += 1
        self._log.emit(
            "mqtt_connect_failed",
            address=self._address,
            reason=reason,
            attempt=self._attempt,
            retry_in_s=round(retry_in_s, 2),
        )

    def tell_ended(self, *, unsettled: int, retry_in_s: float) -> None:
        """Write why the connection ended, now that it is known when the next is tried."""
        delay_s = round(retry_in_s, 2)
        if self._tell_end is not None:
            self._tell_end(delay_s)
            self._tell_end = None
            return
        self._reason = ConnectionReason.NETWORK
        self._log.emit(
            "mqtt_disconnected",
            reason="network",
            detail="the Network Connection was closed without DISCONNECT",
            unsettled=unsettled,
            retry_in_s=delay_s,
        )

    def note_renewal(self) -> None:
        """Note that we end the connection ourselves, to make it with new credentials."""
        self._reason = ConnectionReason.RENEWED
        self._tell_end = lambda _: self._log.emit("mqtt_connection_renewed")

    # ------------------------------------------------------------------ one event each

    def _tell_connected(
        self, event: Connected, receive_maximum: int, session_expiry_s: int
    ) -> None:
        self._attempt = 0
        self._lack = ""
        self._counters.mqtt_connections[self._reason] += 1
        self._log.emit(
            "mqtt_connected",
            address=self._address,
            client_id=self._client_id,
            session_present=event.session_present,
            receive_maximum=receive_maximum,
            keep_alive_s=event.keep_alive_s,
            session_expiry_s=session_expiry_s,
            reason=str(self._reason),
        )
        if event.session_present:
            self._log.emit("session_resumed", client_id=self._client_id)
        elif not event.is_session_lost:  # That one is the gap finder's to tell.
            self._log.emit(
                "session_started", client_id=self._client_id, session_expiry_s=session_expiry_s
            )
        for finding in event.findings:
            if finding.is_fatal_to_promise:
                self._lack = f"{finding.name} {finding.given}: {finding.consequence}"
            self._log.emit(
                "mqtt_property_reported",
                property=finding.name,
                asked=finding.asked,
                given=finding.given,
                consequence=finding.consequence,
            )
        self._refusal = self._lack

    def _tell_errand(
        self,
        event: (
            CanariesTaken
            | CanaryReturned
            | CanaryMissed
            | CanaryRefused
            | BrokerDropsUnreadable
            | Unsubscribed
        ),
    ) -> None:
        counters = self._counters
        match event:
            case CanariesTaken():
                counters.canaries_received += event.packets
                counters.pubacks_sent += event.pubacks
            case CanaryReturned():
                counters.canaries[CanaryOutcome.RETURNED] += 1
                self._unreadable.pop(event.topic_filter, None)
            case CanaryMissed():
                counters.canaries[CanaryOutcome.MISSED] += 1
                self._unreadable[event.topic_filter] = None
            case CanaryRefused():
                counters.canaries[CanaryOutcome.REFUSED] += 1
                self._log.emit(
                    "canary_refused",
                    filter=event.topic_filter,
                    reason_code=event.reason_code,
                    reason=event.reason,
                    remedy="allow the bridge to publish to the canary's topic, and to no other",
                )
            case Unsubscribed():
                self._log.emit(
                    "mqtt_unsubscribed",
                    filters=list(event.topic_filters),
                    refused=list(event.refused),
                )
                for topic_filter in event.topic_filters:
                    self._unreadable.pop(topic_filter, None)
            case BrokerDropsUnreadable():
                self._log.emit("broker_drops_unreadable", reason=event.reason)
            case _:
                assert_never(event)

    def _note_refused(self, event: Refused | VersionRefused) -> None:
        self._reason = ConnectionReason.REFUSED
        if isinstance(event, VersionRefused):
            self._refusal = event.detail
            self._tell_end = lambda delay_s: self._log.emit(
                "mqtt_version_refused",
                address=self._address,
                remedy=f"{event.detail}: use an MQTT broker with MQTT 5",
                retry_in_s=delay_s,
            )
            return
        self._refusal = event.reason
        remedy = _CONNACK_REMEDIES.get(event.reason, _OTHER_REMEDY)
        self._tell_end = lambda delay_s: self._log.emit(
            "mqtt_connection_refused",
            address=self._address,
            reason_code=event.reason_code,
            reason=event.reason,
            detail=event.detail,
            remedy=remedy,
            retry_in_s=delay_s,
        )

    def note_takeover_suspected(self) -> None:
        """Let the end of the connection be told as a takeover: the broker did not say why."""
        self._note_taken_over("probable: several young connections were closed without a word; ")

    def _note_taken_over(self, prefix: str) -> None:
        self._reason = ConnectionReason.SESSION_TAKEN_OVER
        self._tell_end = lambda delay_s: self._log.emit(
            "session_taken_over",
            client_id=self._client_id,
            remedy=f"{prefix}give each instance its own mqtt.client_id",
            retry_in_s=delay_s,
        )

    def _note_disconnected(self, event: Disconnected) -> None:
        if event.reason_code == _TAKEN_OVER:
            self._note_taken_over("")
            return
        self._reason = ConnectionReason.BROKER_DISCONNECT
        self._tell_end = lambda delay_s: self._log.emit(
            "mqtt_disconnected",
            reason=event.reason,
            reason_code=event.reason_code,
            detail=event.detail,
            retry_in_s=delay_s,
        )

    def _note_violated(self, event: Violated) -> None:
        kind = protocol_error_kind(event.reason_code)
        self._reason = ConnectionReason.PEER_ERROR
        self._counters.protocol_errors[kind] += 1
        self._tell_end = lambda delay_s: self._log.emit(
            "mqtt_protocol_violated",
            kind=str(kind),
            reason_code=event.reason_code,
            detail=event.detail,
            retry_in_s=delay_s,
        )

    def _note_timed_out(self, event: TimedOut) -> None:
        if event.waited_for == "PINGRESP":
            self._reason = ConnectionReason.KEEP_ALIVE
            self._tell_end = lambda _: self._log.emit(
                "mqtt_keep_alive_timed_out", silent_s=event.after_s
            )
            return
        self._reason = ConnectionReason.CONNECT_TIMEOUT
        self._tell_end = lambda delay_s: self._log.emit(
            "mqtt_disconnected",
            reason="connect_timeout",
            detail=f"no {event.waited_for} within {event.after_s:.0f} s",
            retry_in_s=delay_s,
        )
