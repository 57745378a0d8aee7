"""Which CONNACK properties differ from what was asked for, and what follows from each."""

from typing import TYPE_CHECKING

from bridge.mqtt.codec import ConnAck
from bridge.mqtt.events import Finding

if TYPE_CHECKING:
    from bridge.mqtt.session import SessionSettings


def findings_of(packet: ConnAck, settings: "SessionSettings") -> tuple[Finding, ...]:
    """Report every property that changes something; honouring them is the session's part."""
    found: list[Finding] = []
    keep_alive = packet.server_keep_alive
    if keep_alive is not None and keep_alive != settings.keep_alive_s:
        found.append(
            Finding(
                "server_keep_alive",
                str(settings.keep_alive_s),
                str(keep_alive),
                "the broker's value is used [MQTT-3.1.2-21]"
                if keep_alive
                else "the broker does not watch; the bridge still pings to find a dead link",
            )
        )
    expiry = packet.session_expiry_interval
    if expiry is not None and expiry < settings.session_expiry_s:
        found.append(
            Finding(
                "session_expiry_interval",
                str(settings.session_expiry_s),
                str(expiry),
                "an outage longer than this loses what queued at the broker",
            )
        )
    if int(packet.max_qos) < 1:
        found.append(
            Finding(
                "maximum_qos",
                "1",
                str(int(packet.max_qos)),
                "nothing can be acknowledged: the promise cannot be kept with this broker",
                is_fatal_to_promise=True,
            )
        )
    if not packet.retain_available:
        found.append(
            Finding("retain_available", "1", "0", "status and will are sent without retain")
        )
    if not packet.wildcard_subscription_available:
        found.append(
            Finding(
                "wildcard_subscription_available",
                "1",
                "0",
                "topic filters with + will be refused",
            )
        )
    if packet.assigned_client_id is not None:
        found.append(
            Finding(
                "assigned_client_identifier",
                settings.client_id,
                packet.assigned_client_id,
                "the session hangs on a name that was not asked for",
                is_fatal_to_promise=True,
            )
        )
    if packet.server_reference is not None:
        found.append(
            Finding("server_reference", "", packet.server_reference, "noted, never followed")
        )
    return tuple(found)
