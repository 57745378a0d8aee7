"""Packets as the rest of the bridge sees them; `codec.py` makes them."""

from typing import Protocol, final

import msgspec


class Publish(Protocol):
    """A well-formed PUBLISH; the codec's own object serves, so reading one copies nothing."""

    @property
    def topic(self) -> str:
        """MQTT Topic Name."""

    @property
    def payload(self) -> bytes:
        """The Application Message."""

    @property
    def packet_id(self) -> int | None:
        """Packet Identifier; None at QoS 0."""

    @property
    def retain(self) -> bool:
        """True on a copy that comes because the bridge subscribed."""

    @property
    def content_type(self) -> str | None:
        """MQTT 5 Content Type."""

    @property
    def user_properties(self) -> list[tuple[str, str]]:
        """MQTT 5 User Properties, in the order they were sent, names may repeat."""


@final
class PoisonPublish(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A PUBLISH whose frame is sound but which cannot be taken: refused content, or too large.

    It must become a dead letter and be acknowledged in its turn: a DISCONNECT would bring it back
    at the head of the session for ever.
    """

    topic: str
    """Topic Name; bytes that are not UTF-8 stand as backslash escapes."""
    payload: bytes
    """The Application Message, or its first 64 KiB where `payload_bytes` says it was longer."""
    packet_id: int | None
    is_too_large: bool
    """True: larger than `packet_bytes_max`; False: the codec refused the content."""
    detail: str
    """What was wrong, in one sentence."""
    payload_bytes: int
    """Size of the whole Application Message."""
    payload_sha256: str
    """SHA-256 of the whole Application Message, hexadecimal."""
    content_type: str | None = None
    retain: bool = False


Inbound = Publish | PoisonPublish
