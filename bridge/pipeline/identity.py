"""Who a message is from and where it belongs: its MQTT topic decides, never its payload."""

import re
from collections.abc import Sequence

import msgspec

from bridge.config.sections import Route
from bridge.mqtt.topics import TopicFilter
from bridge.pipeline.wording import cut

DEVICE_ID_RULE = "1 to 64 of A-Za-z0-9_-"
_KEY_BYTES_MAX = 256
"""A Topic Name may hold a device id of 65,533 bytes; a record key need not."""
_ADDRESSES_MAX = 10_000
"""Topics remembered: 3 MB. A look-up costs 0.04 us and matching 1 us, which all messages
of a larger fleet pay where its devices send in turn."""
_CACHED_CHARACTERS_MAX = 256
"""Longer topics are matched anew each time: a filter with `#` would let a device fill memory."""

is_device_id = re.compile(r"[A-Za-z0-9_-]{1,64}").fullmatch


class Address(msgspec.Struct, frozen=True, eq=False, gc=False):
    """What the Topic Name of a message says."""

    route: Route | None
    """The first route whose filter matches; None for a subscription that an old session kept."""
    device_id: str
    key: bytes
    """Key of the records of this device."""
    is_valid: bool
    """True: there is a route and the device id keeps the rule."""
    is_plain: bool = False
    """True: besides, what comes here is telemetry in JSON unless it says otherwise of itself."""
    payload_bytes_max: int = 0
    """Of the route, where it is plain."""


NOWHERE = Address(route=None, device_id="", key=b"", is_valid=False)


class AddressBook(dict[str, Address]):
    """Look up a Topic Name; what is not in it is worked out and, if valid, remembered.

    Only valid addresses stay, so topics made up by a hostile device displace nothing; when the
    book is full it is emptied, so a larger fleet pays the matching, as a fifteenth of a message.
    """

    def __init__(self, routes: Sequence[Route], *, addresses_max: int = _ADDRESSES_MAX) -> None:
        super().__init__()
        self._routes = [
            (
                TopicFilter(route.filter).device_id_from,
                route,
                route.kind == "telemetry" and route.format == "json",
                route.payload_bytes_max,
            )
            for route in routes
        ]
        self._addresses_max = addresses_max

    def __missing__(self, topic: str) -> Address:
        """Match a Topic Name with the routes, in their order."""
        address = self._match(topic)
        if address.is_valid and len(topic) <= _CACHED_CHARACTERS_MAX:
            if len(self) >= self._addresses_max:
                self.clear()
            self[topic] = address
        return address

    def _match(self, topic: str) -> Address:
        for device_id_from, route, is_plain, payload_bytes_max in self._routes:
            device_id = device_id_from(topic)
            if device_id is not None:
                is_valid = is_device_id(device_id) is not None
                return Address(
                    route=route,
                    device_id=device_id,
                    key=device_id.encode() if is_valid else cut(device_id, _KEY_BYTES_MAX),
                    is_valid=is_valid,
                    is_plain=is_valid and is_plain,
                    payload_bytes_max=payload_bytes_max,
                )
        return NOWHERE
