"""Which Topic Filters the session has, which it is to have, and what is asked of the broker for it.

Theory of operation. A filter that is wanted and not granted is asked for, all of them in one
SUBSCRIBE and only one at a time; what becomes wanted meanwhile waits for its SUBACK. A filter that
is wanted no more is left: UNSUBSCRIBE, again on each connection until the broker has answered. What
the broker has queued for a filter before it is left comes all the same.
"""

from collections.abc import Iterable
from typing import Final

from bridge.mqtt import codec
from bridge.mqtt.events import Event, SubscribedAll, SubscriptionRefused, Unsubscribed

RESUBSCRIBE_S: Final = 30.0
"""A refused Topic Filter is asked for again after this time: the ACL may have been mended."""
_SUBSCRIBE_ID: Final = 1
_UNSUBSCRIBE_ID: Final = 4
_GRANTED_QOS_1: Final = 1
_FIRST_ERROR: Final = 0x80


class Subscriptions:
    """The filters of one session over many Network Connections; gives what is to be sent."""

    def __init__(self, wanted: tuple[str, ...], *, left: Iterable[str] = ()) -> None:
        """`left` are those that an earlier process had and that are wanted no more."""
        self.wanted = wanted
        self.granted: dict[str, int] = {}
        """Reason code of the last SUBACK for each Topic Filter."""
        self.again_at: float | None = None
        """When to ask again for what was refused."""
        self._asked: tuple[str, ...] | None = None
        """What the SUBSCRIBE on its way asks for; None while no SUBACK is due."""
        self._refused: set[str] = set()
        self._left = dict.fromkeys(each for each in left if each not in wanted)
        self._leaving: tuple[str, ...] | None = None
        """What the UNSUBSCRIBE on its way names; None while no UNSUBACK is due."""

    @property
    def is_whole(self) -> bool:
        """True when everything wanted is granted."""
        return all(each in self.granted for each in self.wanted)

    @property
    def is_answer_due(self) -> bool:
        """True while a SUBACK is owed to us."""
        return self._asked is not None

    # ------------------------------------------------------------------ connection

    def begin_connection(self) -> None:
        """Know nothing of what the broker grants on the connection that begins."""
        self.granted = {}
        self.again_at = None
        self._asked = self._leaving = None
        self._refused = set()

    def connected(self, *, session_present: bool) -> bytes:
        """Ask for everything wanted, and leave what a session that was kept still has."""
        if not session_present:
            self._left = {}
        return self._leave() + self._ask(self.wanted)

    def change(self, wanted: tuple[str, ...], *, is_connected: bool) -> bytes:
        """Want other filters from now on."""
        for each in self.wanted:
            if each not in wanted:
                self._left[each] = None
                self.granted.pop(each, None)
        for each in wanted:
            self._left.pop(each, None)
        self.wanted = wanted
        self._refused &= set(wanted)
        return self._leave() + self.ask_for_missing() if is_connected else b""

    # ------------------------------------------------------------------ out

    def ask_again(self) -> bytes:
        """Ask once more for what was refused."""
        self.again_at = None
        self._refused = set()
        return self.ask_for_missing()

    def ask_for_missing(self) -> bytes:
        """Ask for what is neither granted nor refused, unless an answer is still due."""
        missing = [
            each for each in self.wanted if each not in self.granted and each not in self._refused
        ]
        return self._ask(tuple(missing)) if missing and self._asked is None else b""

    def _ask(self, topic_filters: tuple[str, ...]) -> bytes:
        self._asked = topic_filters
        return codec.encode_subscribe(_SUBSCRIBE_ID, list(topic_filters))

    def _leave(self) -> bytes:
        if not self._left or self._leaving is not None:
            return b""
        self._leaving = tuple(self._left)
        return codec.encode_unsubscribe(_UNSUBSCRIBE_ID, list(self._leaving))

    # ------------------------------------------------------------------ in

    def is_answer(self, packet: codec.SubAck) -> bool:
        """Tell whether this SUBACK answers the SUBSCRIBE on its way."""
        return (
            self._asked is not None
            and packet.packet_id == _SUBSCRIBE_ID
            and len(packet.reason_codes) == len(self._asked)
        )

    def answered(self, packet: codec.SubAck, now: float) -> list[Event]:
        """Take the SUBACK; what it grants or refuses comes out."""
        asked, self._asked = self._asked, None
        assert asked is not None, "a SUBACK that nobody asked for"
        events: list[Event] = []
        for topic_filter, code in zip(asked, packet.reason_codes, strict=True):
            if topic_filter not in self.wanted:
                continue  # It was left while it was asked for.
            if int(code) == _GRANTED_QOS_1:
                self.granted[topic_filter] = _GRANTED_QOS_1
            else:
                self._refused.add(topic_filter)
                events.append(SubscriptionRefused(topic_filter, int(code), code.name.lower()))
        if self.is_whole:
            events.append(SubscribedAll(self.wanted))
        elif self._refused and self.again_at is None:
            self.again_at = now + RESUBSCRIBE_S
        return events

    def is_farewell(self, packet: codec.UnsubAck) -> bool:
        """Tell whether this UNSUBACK answers the UNSUBSCRIBE on its way."""
        return (
            self._leaving is not None
            and packet.packet_id == _UNSUBSCRIBE_ID
            and len(packet.reason_codes) == len(self._leaving)
        )

    def left(self, packet: codec.UnsubAck) -> tuple[list[Event], bytes]:
        """Take the UNSUBACK; return what it means, and what is left next.

        A refusal is told and not tried again: the broker goes on delivering, and what comes is
        carried by the route that it had.
        """
        leaving, self._leaving = self._leaving, None
        assert leaving is not None, "an UNSUBACK that nobody asked for"
        refused = tuple(
            each
            for each, code in zip(leaving, packet.reason_codes, strict=True)
            if int(code) >= _FIRST_ERROR
        )
        for each in leaving:
            self._left.pop(each, None)
        events: list[Event] = [Unsubscribed(leaving, refused)]
        if self.is_whole and self._asked is None:
            events.append(SubscribedAll(self.wanted))
        return events, self._leave()
