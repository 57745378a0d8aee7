"""What the session reports: one struct for each observed fact."""

from typing import TypeAlias

from msgspec import Struct

from bridge.mqtt.ack_ledger import Receipt
from bridge.mqtt.packets import Inbound


class Finding(Struct, frozen=True):
    """A CONNACK property that differs from what was asked for, and what follows from it."""

    name: str
    asked: str
    given: str
    consequence: str
    is_fatal_to_promise: bool = False
    """The bridge cannot keep its promise with this broker: it is not ready."""


class Connected(Struct, frozen=True):
    """CONNACK Success came."""

    session_present: bool
    is_session_lost: bool
    """A session should be there, of this process or one before it, and the broker has none."""
    keep_alive_s: int
    findings: tuple[Finding, ...]


class Refused(Struct, frozen=True):
    """CONNACK with a reason code >= 0x80, or an answer that is not MQTT 5 at all."""

    reason_code: int
    reason: str
    detail: str
    is_patience_due: bool
    """Trying again soon makes it worse or cannot help (banned, busy, not authorized)."""


class VersionRefused(Struct, frozen=True):
    """The broker does not speak MQTT 5."""

    detail: str


class SubscribedAll(Struct, frozen=True):
    """Every Topic Filter is granted QoS 1."""

    topic_filters: tuple[str, ...]


class SubscriptionRefused(Struct, frozen=True):
    """A Topic Filter is refused, or granted less than QoS 1."""

    topic_filter: str
    reason_code: int
    reason: str


class Unsubscribed(Struct, frozen=True):
    """The broker answered UNSUBSCRIBE."""

    topic_filters: tuple[str, ...]
    refused: tuple[str, ...]
    """Those that it did not let go; messages of theirs go on coming."""


class Received(Struct, frozen=True):
    """The PUBLISHes of one socket read, each with its receipt; None at QoS 0."""

    packets: list[Inbound]
    receipts: list[Receipt | None]


class Disconnected(Struct, frozen=True):
    """The broker sent DISCONNECT."""

    reason_code: int
    reason: str
    detail: str
    is_patience_due: bool


class Violated(Struct, frozen=True):
    """The broker broke the protocol; our DISCONNECT with this reason code is in the buffer."""

    reason_code: int
    detail: str


class TimedOut(Struct, frozen=True):
    """The broker did not answer: no CONNACK, no SUBACK, or nothing since our PINGREQ."""

    waited_for: str
    after_s: float


class BrokerDropsReported(Struct, frozen=True):
    """The broker said how many messages it has dropped since its start, for all clients."""

    count: int


class BrokerDropsUnreadable(Struct, frozen=True):
    """The broker does not let us read its count of dropped messages."""

    reason: str


class CanariesTaken(Struct, frozen=True):
    """So many canaries of ours, fresh or old, came and were swallowed."""

    packets: int
    pubacks: int
    """PUBACKs that left at once because nothing older was owed one."""


class CanaryReturned(Struct, frozen=True):
    """A canary came back on the connection that it was sent on: this filter may be read."""

    topic_filter: str
    after_s: float | None
    """Since it was sent; None where a later one is out already."""
    is_recovered: bool
    """Reading was suspected to be forbidden until now."""


class CanaryMissed(Struct, frozen=True):
    """A canary did not come back, and nothing excuses it."""

    topic_filter: str
    waited_s: float
    is_first: bool
    """The one before it did come back, or there was none."""


class CanaryRefused(Struct, frozen=True):
    """The broker did not take a canary: nothing is known about reading."""

    topic_filter: str
    reason_code: int
    reason: str


Event: TypeAlias = (
    Connected
    | Refused
    | VersionRefused
    | SubscribedAll
    | SubscriptionRefused
    | Unsubscribed
    | Received
    | Disconnected
    | Violated
    | TimedOut
    | BrokerDropsReported
    | BrokerDropsUnreadable
    | CanariesTaken
    | CanaryReturned
    | CanaryMissed
    | CanaryRefused
)

ENDS_CONNECTION = (Refused, VersionRefused, Disconnected, Violated, TimedOut)
"""After one of these the transport closes the socket."""
