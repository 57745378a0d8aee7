"""Layer 1, protocol: may these bytes be decoded, as what, and do they decode."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge.config.descriptor_sets import read_descriptor_sets
from bridge.config.protobuf_rules import MISSING_PACKAGE
from bridge.config.sections import BinaryLayout, BridgeConfig, Route
from bridge.pipeline.formats.batches import READING_DECODERS, SPLITTERS, Decode
from bridge.pipeline.formats.binary import BinaryDecoder
from bridge.pipeline.formats.cbor import decode_cbor
from bridge.pipeline.formats.json_text import decode_json
from bridge.pipeline.formats.msgpack import decode_msgpack
from bridge.pipeline.identity import Address
from bridge.pipeline.verdict import Layer, Reason, Rejected
from bridge.pipeline.wording import quote

if TYPE_CHECKING:
    from bridge.pipeline.formats.protobuf import ProtobufMapping

Decoder = Callable[[bytes], Any]
"""Gives the decoded value or a Rejected; never raises."""

_FORMAT_OF_CONTENT_TYPE: Final = {
    "application/json": "json",
    "text/json": "json",
    "application/msgpack": "msgpack",
    "application/x-msgpack": "msgpack",
    "application/cbor": "cbor",
    "application/protobuf": "protobuf",
    "application/x-protobuf": "protobuf",
}
_ROUTE_DECIDES = frozenset(("", "text/plain", "application/octet-stream"))
"""Content Types that say nothing about the format; client libraries set them by themselves."""
_WITHOUT_DEVICE_ID = frozenset(("binary", "protobuf"))
"""Formats that may leave the device id to the MQTT topic."""


class FormatChoice(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of a route's payloads."""

    name: str = "json"
    """The route's format: what it needs is made ready at the start."""
    layout: BinaryLayout | None = None
    """For `binary`."""
    protobuf: "ProtobufMapping | None" = None
    """For `protobuf`; None: messages are those of telemetry.proto."""


class Decoding:
    """Turns payloads into messages: the Content Type says how, else the route.

    What a format needs is made ready once, since a message has no time for it; so is the package
    for Protobuf, 50 ms, but for a device that sends it where no route speaks of it.
    """

    def __init__(self, choices: Mapping[str, FormatChoice] = MappingProxyType({})) -> None:
        """Take what there is to say of routes, by their filters."""
        self._own = {text: _decoders(choice) for text, choice in choices.items()}

    def succeed(self, before: "Decoding") -> None:
        """Know the routes of another one too, where this one says nothing of them."""
        self._own = before._own | self._own  # noqa: SLF001  another of our own

    def decode(self, payload: bytes, content_type: str | None, address: Address) -> Any:  # noqa: ANN401
        """Give the decoded value, or the Rejected that says why there is none."""
        route = address.route
        assert route is not None, "a message without a route came to be decoded"
        is_usual = content_type is None and 0 < len(payload) <= route.payload_bytes_max
        format_name = route.format if is_usual else _choose(payload, content_type, route)
        if format_name == "json":
            return decode_json(payload)
        if type(format_name) is Rejected:
            return format_name
        message = self._own.get(route.filter, _COMMON)[format_name](payload)
        if format_name in _WITHOUT_DEVICE_ID and type(message) is dict:
            message.setdefault("device_id", address.device_id)
        return message


def is_of_routes(decode_: object) -> bool:
    """Tell whether this is `decode` of a Decoding, by which JSON is what `decode_json` says."""
    return isinstance(getattr(decode_, "__self__", None), Decoding)


def split(payload: bytes, content_type: str | None, address: Address) -> Any:  # noqa: ANN401
    """Take a batch apart: Parts, or the Rejected that says why not, or a value that is no batch."""
    return _decode_batched(SPLITTERS, payload, content_type, address)


def decode_reading(payload: bytes, content_type: str | None, address: Address) -> Any:  # noqa: ANN401
    """Decode one reading that was cut out of a batch of this Content Type, or reject it."""
    return _decode_batched(READING_DECODERS, payload, content_type, address)


def _decode_batched(
    decoders: Mapping[str, Decode], payload: bytes, content_type: str | None, address: Address
) -> Any:  # noqa: ANN401
    route = address.route
    assert route is not None, "a batch without a route came to be decoded"
    format_name = _choose(payload, content_type, route)
    if type(format_name) is Rejected:
        return format_name
    decoder = decoders.get(format_name)
    return _refuse_batch(format_name) if decoder is None else decoder(payload)


def _refuse_batch(format_name: str) -> Rejected:
    detail = f"a batch is JSON, MessagePack or CBOR, not {format_name}"
    return _reject(Reason.UNSUPPORTED_FORMAT, detail)


def too_large(payload: bytes, route: Route) -> Rejected:
    """Reject a payload that has more bytes than its route takes."""
    detail = f"payload has {len(payload)} bytes, at most {route.payload_bytes_max} on this route"
    return _reject(Reason.TOO_LARGE, detail)


def _choose(payload: bytes, content_type: str | None, route: Route) -> str | Rejected:
    """Name the format of a payload, if it may be decoded at all."""
    if not payload:
        return _reject(Reason.EMPTY, "payload has no bytes")
    if len(payload) > route.payload_bytes_max:
        return too_large(payload, route)
    if content_type is not None:
        name = content_type.partition(";")[0].strip().lower()
        if name not in _ROUTE_DECIDES:
            named = _FORMAT_OF_CONTENT_TYPE.get(name)
            if named is None:
                what = "names no format that this version decodes"
                detail = f"Content Type {quote(content_type)} {what}"
                return _reject(Reason.UNSUPPORTED_FORMAT, detail)
            return named
    return route.format


def decoding_of(config: BridgeConfig, left: Sequence[Route] = ()) -> Decoding:
    """Make ready what the routes need, and those that were left; it reads the descriptor sets.

    Raises:
        ConfigError: one of them does not serve.
    """
    mappings = _mappings(config)
    choices = {
        route.filter: FormatChoice(
            name=route.format,
            layout=None if route.layout is None else config.layout[route.layout],
            protobuf=None if route.protobuf is None else mappings[route.protobuf],
        )
        for route in (*left, *config.route)
    }
    return Decoding(choices)


def _mappings(config: BridgeConfig) -> "dict[str, ProtobufMapping]":
    if not config.protobuf:
        return {}
    from bridge.pipeline.formats.protobuf import ProtobufMapping  # noqa: PLC0415 - an extra

    return {
        name: ProtobufMapping(content, config.protobuf[name].message, config.protobuf[name].fields)
        for name, content in read_descriptor_sets(config).items()
    }


def _decoders(choice: FormatChoice) -> dict[str, Decoder]:
    decoders = dict(_COMMON)
    if choice.layout is not None:
        decoders["binary"] = BinaryDecoder(choice.layout).decode
    if choice.protobuf is not None:
        from bridge.pipeline.formats.protobuf import ProtobufDecoder  # noqa: PLC0415 - an extra

        decoders["protobuf"] = ProtobufDecoder(choice.protobuf).decode
    elif choice.name == "protobuf":
        decoders["protobuf"] = _published()
    return decoders


@cache
def _published() -> Decoder:
    try:
        from bridge.pipeline.formats.published import decode_published  # noqa: PLC0415 - an extra
    except ImportError:
        return _refuse_protobuf
    return decode_published


def _decode_published(payload: bytes) -> Any:  # noqa: ANN401 - a message, or Rejected
    return _published()(payload)


def _refuse_protobuf(_: bytes) -> Rejected:
    return _reject(Reason.UNSUPPORTED_FORMAT, MISSING_PACKAGE)


def _refuse_binary(_: bytes) -> Rejected:
    return _reject(Reason.UNSUPPORTED_FORMAT, "this route has no layout for binary payloads")


def _reject(reason: Reason, detail: str) -> Rejected:
    return Rejected(reason, Layer.PROTOCOL, detail)


_COMMON: Final[dict[str, Decoder]] = {
    "json": decode_json,
    "msgpack": decode_msgpack,
    "cbor": decode_cbor,
    "protobuf": _decode_published,
    "binary": _refuse_binary,
}

decode: Final = Decoding().decode
"""For routes of which there is nothing more to say."""
