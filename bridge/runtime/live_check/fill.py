"""`--fill`: how many messages the MQTT broker's queue holds, and how many come unacknowledged.

A session of the check's own goes away, messages are published to a topic that only it subscribes
to, and it counts what it finds on its return. No filter of the bridge matches that topic, so
neither the bridge nor its queue see any of it.
"""

import time
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from bridge.config.sections import MqttSection
from bridge.runtime.live_check.mqtt import MqttCheck
from bridge.runtime.live_check.mqtt_link import IN_FLIGHT_MAX, MqttLink, MqttRefusedError
from bridge.runtime.live_check.mqtt_points import SAY, judge_window
from bridge.runtime.live_check.points import Point
from bridge.runtime.live_check.wanted import FILL_DEFAULT, Later, Wishes

_EXPIRY_S: Final = 300
"""Longer than the measurement; a check that is killed leaves its queue for so long."""
_BUDGET_S: Final = 120.0
"""How long publishing may take: a broker that writes each change to disk takes 200 a second."""
_QUIET_S: Final = 1.0
"""Nothing more came for so long: what is missing was dropped."""
_ECHO_S: Final = 3.0
_PAYLOAD_BYTES: Final = 200
_PAYLOAD_BYTES_MAX: Final = 65_536
_FIRST_ERROR: Final = 0x80
_NAME: Final = "broker queue"


class _Returned(Struct, frozen=True):
    """What the session found when it came back."""

    held: int
    window: int
    """PUBLISHes that came before the first PUBACK."""


class Fill:
    """One measurement; the session it needs is removed whatever happens."""

    def __init__(
        self, check: MqttCheck, section: MqttSection, wishes: Wishes, later: Later
    ) -> None:
        self._check = check
        self._section = section
        self._later = later
        self._wanted = wishes.fill_messages or later.broker_queue_messages or FILL_DEFAULT
        self._room = f"bridge/{section.client_id}/check"
        self._topic = f"{self._room}/{wishes.nonce}"

    def run(self) -> list[Point]:
        """Measure, or say why that cannot be."""
        try:
            problem = self._leave_a_session()
            if problem:
                remedy = f"allow it to the bridge's user for now: topic readwrite {self._room}/#"
                return [SAY.not_proven(_NAME, problem, remedy)]
            try:
                published = self._publish()
            except BaseException:
                self._return(expected=0)
                raise
            return list(self._judge(published, self._return(expected=published)))
        except MqttRefusedError as error:
            return [SAY.not_proven(_NAME, f"the measurement broke off: {error}", "try again")]

    def _listener(self) -> MqttLink:
        return self._check.open("-queue", _EXPIRY_S)

    def _leave_a_session(self) -> str:
        """Make the session, see that its topic may be written and read, and go away."""
        link = self._listener()
        link.connect()
        problem = "the connection ended"
        try:
            problem = self._echo_problem(link)
        finally:
            link.close(session_expiry_s=0 if problem else None)
        return problem

    def _echo_problem(self, link: MqttLink) -> str:
        if link.subscribe([self._topic], qos=1) != [1]:
            return f"no QoS 1 on {self._topic}"
        packet_id = link.send(self._topic, b"echo")
        link.wait(lambda: packet_id in link.pubacks, "PUBACK")
        if link.pubacks[packet_id] >= _FIRST_ERROR:
            return f"writing to {self._room} is not allowed"
        if not link.holds_within(_ECHO_S, lambda: bool(link.arrivals)):
            return f"reading from {self._room} is not allowed"
        link.acknowledge(link.arrivals[0])
        return ""

    def _publish(self) -> int:
        """Publish as many as wanted, or as the time allows; return how many were taken."""
        link = self._check.open("-fill", 0)
        window = min(IN_FLIGHT_MAX, link.connect().receive_maximum)
        payload = bytes(self._payload_bytes())
        ends_at = time.monotonic() + _BUDGET_S
        sent = 0
        try:
            while sent < self._wanted and time.monotonic() < ends_at:
                free = window - (sent - len(link.pubacks))
                for _ in range(min(free, self._wanted - sent)):
                    link.send(self._topic, payload)
                    sent += 1
                before = len(link.pubacks)
                link.wait(lambda before=before: len(link.pubacks) > before, "PUBACK")  # type: ignore[misc]
            link.wait(lambda: len(link.pubacks) >= sent, "PUBACK")
        finally:
            link.close(session_expiry_s=0)
        return sum(code < _FIRST_ERROR for code in link.pubacks.values())

    def _payload_bytes(self) -> int:
        """Tell how large a message is on average, where the operator told both limits."""
        later = self._later
        if not later.broker_queue_messages or not later.broker_queue_bytes:
            return _PAYLOAD_BYTES
        return min(_PAYLOAD_BYTES_MAX, later.broker_queue_bytes // later.broker_queue_messages)

    def _return(self, *, expected: int) -> _Returned:
        """Come back, count, and remove the session."""
        link = self._listener()
        link.connect()
        try:
            self._await_quiet(link, expected)
            window = len(link.arrivals)
            acknowledged = 0
            while acknowledged < len(link.arrivals):
                for arrival in link.arrivals[acknowledged:]:
                    link.acknowledge(arrival)
                    acknowledged += 1
                if len(link.arrivals) < expected:
                    link.holds_within(_QUIET_S, lambda n=acknowledged: len(link.arrivals) > n)  # type: ignore[misc]
        finally:
            link.close(session_expiry_s=0)
        return _Returned(len(link.arrivals), window)

    @staticmethod
    def _await_quiet(link: MqttLink, expected: int) -> None:
        seen = -1
        while seen < len(link.arrivals) < expected:
            seen = len(link.arrivals)
            link.holds_within(_QUIET_S, lambda n=seen: len(link.arrivals) > n)  # type: ignore[misc]

    def _judge(self, published: int, returned: _Returned) -> Iterator[Point]:
        held, wanted = returned.held, self._wanted
        yield judge_window(
            self._section.receive_maximum,
            returned.window,
            were_more=returned.held > returned.window,
        )
        if held < published:
            yield SAY.wrong(
                _NAME,
                f"holds {held} of {published} messages of {self._payload_bytes()} bytes; the rest"
                " was dropped although their publisher got PUBACK Success",
                "raise the MQTT broker's limits (Mosquitto: max_queued_messages, max_queued_bytes)"
                " to inflow times the longest outage",
            )
        elif published < wanted:
            yield SAY.not_proven(
                _NAME,
                f"holds {held} messages; {wanted} could not be published in {_BUDGET_S:.0f} s",
                "measure fewer (--fill N): a queue that holds these is no proof of more",
            )
        else:
            yield SAY.ok(_NAME, f"holds {held} messages of {self._payload_bytes()} bytes")
