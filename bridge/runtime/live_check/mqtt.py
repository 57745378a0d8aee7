"""The MQTT broker, asked what it grants: with sessions of the check's own, gone afterwards."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from bridge.config.paths import quoted
from bridge.config.sections import BridgeConfig, MqttSection
from bridge.mqtt.broker_drops import MQTT_TOPIC as DROPPED_TOPIC
from bridge.mqtt.canary import KEY_BYTES, Canary
from bridge.mqtt.topics import TopicFilter
from bridge.runtime.live_check import mqtt_points
from bridge.runtime.live_check.mqtt_link import Arrival, Ask, Greeting, MqttLink, MqttRefusedError
from bridge.runtime.live_check.mqtt_points import SAY, CanaryFate
from bridge.runtime.live_check.points import Point
from bridge.runtime.live_check.wanted import Later, Wishes

_LISTENING_EXPIRY_S: Final = 60
"""A check that is killed leaves a session that queues; not for longer than this."""
_CANARY_S: Final = 5.0
"""How long a canary may be on its way back."""


class MqttCheck:
    """Everything that is asked of one MQTT broker; `points` grows even where it breaks off."""

    def __init__(
        self,
        config: BridgeConfig,
        wishes: Wishes,
        later: Later,
        *,
        password: str | None,
        canary_key: bytes | None,
    ) -> None:
        self._config = config
        self._section: MqttSection = config.mqtt
        self._wishes = wishes
        self._later = later
        self._password = password
        self._canary_key = canary_key
        self.points: list[Point] = []
        self.server_certificate: bytes | None = None
        self.can_go_on = False
        """It answered, and gave us a session of our own."""

    def open(self, suffix: str, session_expiry_s: int) -> MqttLink:
        """Make a connection with a name of our own, not yet connected."""
        name = f"{self._section.client_id}-check-{self._wishes.nonce}{suffix}"
        return self._link(name, session_expiry_s)

    def _link(self, client_id: str, session_expiry_s: int) -> MqttLink:
        ask = Ask(
            client_id=client_id,
            session_expiry_s=session_expiry_s,
            receive_maximum=self._section.receive_maximum,
        )
        return MqttLink(self._section, ask, password=self._password)

    def run(self) -> None:
        """Ask; whatever ends a connection ends the asking, with a point that says why."""
        try:
            if self._wishes.is_exclusive:
                self._ask_as_the_bridge()
            else:
                self._ask_as_a_stranger()
        except MqttRefusedError as error:
            self.can_go_on = False
            self.points.append(
                SAY.refused("connection", f"{self._where()}: {error}", _remedy(str(error)))
            )

    def _where(self) -> str:
        return f"{self._section.host} port {self._section.port}"

    # ------------------------------------------------------------------ two ways to ask

    def _ask_as_a_stranger(self) -> None:
        """Ask for the long session with no subscription, then subscribe with a short one."""
        link = self.open("", self._section.session_expiry_s)
        greeting = link.connect()
        if self._is_somebody_elses(link, greeting):
            return
        link.close(session_expiry_s=0)
        self._judge_greeting(link, greeting)

        link = self.open("", _LISTENING_EXPIRY_S)
        if self._is_somebody_elses(link, link.connect()):
            return
        try:
            self._listen(link, greeting)
        finally:
            link.close(session_expiry_s=0)
        self.can_go_on = greeting.maximum_qos > 0

    def _is_somebody_elses(self, link: MqttLink, greeting: Greeting) -> bool:
        """Leave a session that was there before us as it was: our name is new, so it is no name."""
        if not greeting.session_present:
            return False
        link.close(session_expiry_s=self._section.session_expiry_s)
        self.points.append(
            SAY.not_looked_at(
                "session of its own",
                "a name never used before met a session: the MQTT broker names sessions by user or"
                " certificate, and a running bridge was interrupted for a moment (nothing is lost)",
                "stop the bridge, then add --exclusive",
            )
        )
        return True

    def _ask_as_the_bridge(self) -> None:
        """Take the bridge's own session, acknowledge nothing in it, and leave it there."""
        link = self._link(self._section.client_id, self._section.session_expiry_s)
        greeting = link.connect()
        try:
            self._judge_greeting(link, greeting)
            self._listen(link, greeting)
            link.unsubscribe(DROPPED_TOPIC)  # The bridge subscribes to it when it wants it.
            waits = "waits at the broker" if greeting.session_present else "is new (a first start?)"
            self.points.append(SAY.ok("session", f"{waits}, nobody else took it meanwhile"))
        except MqttRefusedError as error:
            self.points.append(
                SAY.refused(
                    "session", f"lost while we had it: {error}", "stop whoever uses the client id"
                )
            )
        finally:
            link.close(session_expiry_s=None if greeting.session_present else 0)

    def _judge_greeting(self, link: MqttLink, greeting: Greeting) -> None:
        self.server_certificate = link.server_certificate
        by = link.tls_version or "no TLS"
        self.points.append(SAY.ok("connection", f"{self._where()}, {by}"))
        self.points += mqtt_points.judge_greeting(greeting, self._section, self._later)

    # ------------------------------------------------------------------ one session that listens

    def _listen(self, link: MqttLink, greeting: Greeting) -> None:
        filters = [route.filter for route in self._config.route]
        codes = link.subscribe(filters, qos=1)
        self.points += mqtt_points.judge_grants(filters, codes)
        granted = [each for each, code in zip(filters, codes, strict=False) if code == 1]
        is_dropped_granted = link.subscribe([DROPPED_TOPIC], qos=0)[0] == 0
        why_none = self._why_no_canary() if greeting.maximum_qos > 0 else "allow QoS 1"
        canaries = {} if why_none else release(self._canary(granted), granted, link)

        link.holds_within(
            _CANARY_S if canaries else self._wishes.listen_s,
            lambda: all(_came_through(each, link.arrivals) for each in granted),
        )
        link.holds_within(
            self._wishes.listen_s,
            lambda: (
                not is_dropped_granted or any(each.topic == DROPPED_TOPIC for each in link.arrivals)
            ),
        )
        for each in granted:
            fate = canaries[each].fate(link) if canaries else why_none
            self.points.append(mqtt_points.judge_reading(each, link.arrivals, fate))
        if not self._wishes.is_fill:
            owed = sum(each.qos > 0 for each in link.arrivals)
            asked = self._section.receive_maximum
            self.points.append(mqtt_points.judge_window(asked, owed, were_more=False))
        self.points.append(mqtt_points.judge_dropped(link.arrivals, is_granted=is_dropped_granted))
        if self._wishes.is_exclusive:
            self._swallow(canaries, link)

    def _why_no_canary(self) -> str:
        """A running bridge swallows only canaries made with its own key; others are messages."""
        if not self._section.canary_device_id:
            return "set mqtt.canary_device_id"
        if self._canary_key is None and not self._wishes.is_exclusive:
            return (
                "run the check where the bridge has run, as its user and with its STATE_DIRECTORY:"
                " without the key kept there the bridge takes a canary for a message"
            )
        return ""

    def _canary(self, topic_filters: Sequence[str]) -> Canary:
        return Canary(
            topic_filters,
            device_id=self._section.canary_device_id,
            key=self._canary_key or secrets.token_bytes(KEY_BYTES),
            run=self._wishes.nonce,
        )

    @staticmethod
    def _swallow(canaries: Mapping[str, "Released"], link: MqttLink) -> None:
        """Acknowledge what is ours in the bridge's own session, and no message before it."""
        ours = {each.payload for each in canaries.values()}
        for arrival in link.arrivals:
            if arrival.qos > 0:
                if arrival.payload not in ours:
                    return  # PUBACKs leave in order [MQTT-4.6.0-2]; the bridge will swallow it.
                link.acknowledge(arrival)


class Released(Struct, frozen=True):
    """A canary on its way."""

    packet_id: int
    payload: bytes

    def fate(self, link: MqttLink) -> CanaryFate:
        """Tell what became of it."""
        back = (each for each in link.arrivals if each.payload == self.payload)
        return CanaryFate(link.pubacks[self.packet_id], next(back, None))


def release(canary: Canary, topic_filters: Sequence[str], link: MqttLink) -> dict[str, Released]:
    """Publish one canary through each filter, and wait until the broker has taken them."""
    released: dict[str, Released] = {}
    canary.granted(topic_filters, 0.0)
    while due := canary.take_due(0.0, set()):
        probe, payload = due
        released[probe.topic_filter] = Released(link.send(probe.mqtt_topic, payload), payload)
    link.wait(lambda: all(each.packet_id in link.pubacks for each in released.values()), "PUBACK")
    return released


def _came_through(topic_filter: str, arrivals: Sequence[Arrival]) -> bool:
    matches = TopicFilter(topic_filter).matches
    return any(matches(each.topic) for each in arrivals)


def without_fill(later: Later) -> Iterator[Point]:
    """Say of the queue what is known without measuring it."""
    name = "broker queue"
    told = later.broker_queue_messages
    value = f"mqtt.broker_queue_messages says {told}" if told else "nobody said how much it holds"
    yield SAY.not_proven(name, value, "add --fill to measure it")


def _remedy(reason: str) -> str:
    if "certificate" in reason:
        return "renew the MQTT broker's certificate, or mend mqtt.tls.ca_file or server_name"
    if "refused MQTT 5" in reason:
        return "use an MQTT broker that speaks MQTT 5 (Mosquitto 2)"
    if "CONNACK" in reason:
        return f"mend mqtt.username, password or certificate, or the broker's {quoted('ACL')}"
    return "start the MQTT broker, or mend mqtt.host, port or tls"
