"""What follows from what the MQTT broker said: points, and nothing is asked here."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from bridge.config.paths import quoted
from bridge.config.sections import MqttSection
from bridge.mqtt.broker_drops import MQTT_TOPIC as DROPPED_TOPIC, parse
from bridge.mqtt.topics import TopicFilter
from bridge.runtime.live_check.mqtt_link import Arrival, Greeting
from bridge.runtime.live_check.points import Group, Point, Scribe, whole
from bridge.runtime.live_check.wanted import Later

SAY: Final = Scribe(Group.MQTT)
_GRANTED_QOS_1: Final = 1
_FIRST_ERROR: Final = 0x80
_REASONS: Final[Mapping[int, str]] = {
    0x00: "QoS 0 granted",
    0x80: "refused, 0x80",
    0x83: "refused, implementation specific",
    0x87: "refused, not authorized",
    0x8F: "refused, filter not valid",
    0x97: "refused, quota exceeded",
    0x9E: "refused, no shared subscriptions",
    0xA2: "refused, no wildcards",
}
_EXCLUSIVE: Final = "stop the bridge, then add --exclusive"


def identity_in_use(section: MqttSection, common_name: str) -> str | None:
    """Say why a connection might take the session of a running bridge over; None: it cannot.

    Mosquitto with `use_username_as_clientid` names the session by one of these.
    """
    if common_name and common_name == section.client_id:
        return f"the certificate's Common Name {quoted(common_name)}"
    if section.username is not None and section.username == section.client_id:
        return f"mqtt.username {quoted(section.username)}"
    return None


def not_connected(identity: str) -> Point:
    """Say that nothing was asked, since asking might disturb."""
    return SAY.not_looked_at(
        "connection",
        f"not tried: {identity} is the client id too, and where the MQTT broker names sessions by"
        " it (use_username_as_clientid) a second connection ends that of a running bridge",
        _EXCLUSIVE,
    )


def judge_client_id(section: MqttSection, common_name: str, *, is_exclusive: bool) -> Point:
    """A fixed name is what the session hangs on; production.conf wants the certificate's."""
    name = quoted(section.client_id)
    if common_name and common_name != section.client_id:
        return SAY.warn(
            "client id",
            f"{name}, but the certificate's Common Name is {quoted(common_name)}",
            "an MQTT broker with use_username_as_clientid names the session by the certificate:"
            f" write mqtt.client_id = {quoted(common_name)}",
        )
    same = ", equal to the certificate's Common Name" if common_name else ""
    used = "" if is_exclusive else "; that no other client uses it shows only with --exclusive"
    return SAY.ok("client id", f"{name}, fixed{same}{used}")


def judge_greeting(greeting: Greeting, section: MqttSection, later: Later) -> Iterator[Point]:
    """Compare each CONNACK property with what the bridge asks for."""
    yield SAY.ok("MQTT version", "5")
    asked = section.session_expiry_s
    granted = asked if greeting.session_expiry_s is None else greeting.session_expiry_s
    if granted < asked:
        yield SAY.wrong(
            "session expiry",
            f"{granted} s granted of {asked} s asked: after a longer outage the session is gone"
            " with all that queued in it",
            "raise the MQTT broker's limit (Mosquitto: persistent_client_expiration), or lower"
            " mqtt.session_expiry_s to what is true",
        )
    else:
        yield SAY.ok("session expiry", f"{granted} s, as asked, as far as the broker says")
    keep_alive = greeting.server_keep_alive_s
    imposed = keep_alive is not None and keep_alive != section.keep_alive_s
    yield SAY.ok(
        "keep alive",
        f"{keep_alive} s, imposed by the broker and honoured"
        if imposed
        else f"{section.keep_alive_s} s, as asked",
    )
    if greeting.maximum_qos < 1:
        yield SAY.refused(
            "maximum QoS",
            "0: nothing is acknowledged, so every cut loses messages",
            "allow QoS 1 (Mosquitto: max_qos 1)",
        )
    else:
        yield SAY.ok("maximum QoS", str(greeting.maximum_qos))
    if greeting.retain_available:
        yield SAY.ok("retain", "available")
    else:
        yield SAY.warn(
            "retain",
            "not available: the bridge's status is not kept for who subscribes later",
            "allow it (Mosquitto: retain_available true)",
        )
    if not greeting.wildcards_available:
        yield SAY.refused(
            "wildcard subscriptions", "not available", "allow them: each route's filter has a +"
        )
    if greeting.assigned_client_id:
        yield SAY.refused(
            "client id",
            f"the broker assigned {quoted(greeting.assigned_client_id)} instead",
            "have it accept the client id that is asked for: the session hangs on it",
        )
    if later.share_group:
        yield from _judge_share_group(greeting, later)


def _judge_share_group(greeting: Greeting, later: Later) -> Iterator[Point]:
    name = f"share group {quoted(later.share_group)}"
    if not greeting.shared_available:
        yield SAY.refused(name, "shared subscriptions are not available", "remove mqtt.share_group")
        return
    yield SAY.warn(
        name,
        "void with it: order; no duplicates across members; limits hold per instance; what the"
        " broker deals to a member that never returns. Not joined by this check",
        "better one instance for each disjoint filter, each with its own client id",
    )


def judge_grants(topic_filters: Sequence[str], codes: Sequence[int]) -> Iterator[Point]:
    """QoS 1 for each filter, or the promise does not begin."""
    for topic_filter, code in zip(topic_filters, codes, strict=False):
        name = f"subscription {whole(topic_filter)}"
        if code == _GRANTED_QOS_1:
            yield SAY.ok(name, "QoS 1 granted")
        else:
            yield SAY.refused(
                name,
                _REASONS.get(code, f"refused, {code:#04x}"),
                "grant the bridge's user QoS 1 on this filter, in the MQTT broker's ACL",
            )


class CanaryFate(Struct, frozen=True):
    """What became of the canary of one filter."""

    reason_code: int
    """Of its PUBACK."""
    back: Arrival | None


def judge_reading(
    topic_filter: str, arrivals: Sequence[Arrival], canary: CanaryFate | str
) -> Point:
    """SUBACK proves nothing (Mosquitto grants what its ACL denies); a message does.

    `canary` is a text where none was sent: what has to be done so that one can be.
    """
    name = f"reading {whole(topic_filter)}"
    matches = TopicFilter(topic_filter).matches
    back = None if isinstance(canary, str) else canary.back
    live = [each for each in arrivals if matches(each.topic) and each is not back]
    at_qos_0 = sum(each.qos == 0 for each in live)
    if at_qos_0:
        return SAY.warn(
            name,
            f"proven, but {at_qos_0} of {len(live)} messages came with QoS 0, which nobody keeps"
            " through a cut",
            "have the devices publish with QoS 1",
        )
    if live:
        return SAY.ok(name, f"proven by {len(live)} messages that came")
    if back is not None:
        return SAY.ok(name, "proven by a canary that came back")
    if isinstance(canary, str):
        why = "no message came, so an ACL may deny what SUBACK grants"
        return SAY.not_proven(name, why, f"{canary}, or listen longer (--listen)")
    if canary.reason_code >= _FIRST_ERROR:
        return SAY.not_proven(
            name,
            f"the canary was refused, PUBACK {canary.reason_code:#04x}",
            "grant write on the topic of mqtt.canary_device_id to the bridge's user",
        )
    return SAY.refused(
        name,
        "SUBACK granted it, but a canary that the broker took did not come back",
        "grant read on this filter in the MQTT broker's ACL (Mosquitto: topic read FILTER)",
    )


def judge_dropped(arrivals: Sequence[Arrival], *, is_granted: bool) -> Point:
    """Mosquitto's only trace of what its full queues dropped."""
    name = "dropped counter"
    said = [parse(each.payload) for each in arrivals if each.topic == DROPPED_TOPIC]
    count = said[-1] if said else None
    if count is None:
        why = "no value came" if is_granted else "refused"
        return SAY.not_proven(
            name,
            f"{DROPPED_TOPIC}: {why}",
            "grant read on it to the bridge's user; brokers other than Mosquitto may not have it",
        )
    if count:
        return SAY.warn(
            name,
            f"{count} messages dropped since the broker started, for whichever of its clients",
            "raise max_queued_messages and max_queued_bytes, and see who was away",
        )
    return SAY.ok(name, "0 messages dropped since the broker started")


def judge_window(asked: int, arrived: int, *, were_more: bool) -> Point:
    """How many PUBLISHes came unacknowledged, of a queue that held more or did not."""
    name = "effective window"
    if arrived >= asked:
        return SAY.ok(name, f"{arrived} PUBLISHes came unacknowledged, {asked} asked")
    if were_more:
        return SAY.warn(
            name,
            f"{arrived} PUBLISHes came unacknowledged of {asked} asked: the rate is at most that"
            " for each round trip to Kafka",
            "raise the MQTT broker's limit (Mosquitto: max_inflight_messages)",
        )
    return SAY.not_proven(
        name,
        f"{asked} asked, {arrived} came, no more were there",
        f"--fill with more than {asked} measures it",
    )


def still_running(listen: str) -> Point:
    """Say that --exclusive is not true."""
    return SAY.not_looked_at(
        "connection",
        f"not tried: something answers on ops.listen {quoted(listen)}, so the bridge is running",
        "stop the bridge, or leave --exclusive out",
    )


def not_filled(identity: str) -> Point:
    """Say that a session of the check's own may be none."""
    return SAY.not_proven(
        "broker queue",
        f"not filled: the MQTT broker may name sessions by {identity}, and then the queue that is"
        " filled is the bridge's own",
        "measure with a user or certificate of another name and the same rights",
    )
