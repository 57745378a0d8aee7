"""Layer 1, protocol: may these bytes be decoded, as what, and do they decode."""

from collections.abc import Callable
from typing import Any

from bridge.config.sections import Route
from bridge.pipeline.formats.json_text import decode_json
from bridge.pipeline.verdict import Layer, Reason, Rejected
from bridge.pipeline.wording import quote

Decoder = Callable[[bytes], Any]
"""Gives the decoded value or a Rejected; never raises."""

_DECODERS: dict[str, Decoder] = {"json": decode_json}
_FORMAT_OF_CONTENT_TYPE = {"application/json": "json", "text/json": "json"}
_ROUTE_DECIDES = frozenset(("", "text/plain", "application/octet-stream"))
"""Content Types that say nothing about the format; client libraries set them by themselves."""


def decode(payload: bytes, content_type: str | None, route: Route) -> Any:  # noqa: ANN401
    """Give the decoded value, or the Rejected that says why there is none."""
    if not payload:
        return _reject(Reason.EMPTY, "payload has no bytes")
    if len(payload) > route.payload_bytes_max:
        return _reject(
            Reason.TOO_LARGE,
            f"payload has {len(payload)} bytes, at most {route.payload_bytes_max} on this route",
        )
    if content_type is None:
        return _DECODERS[route.format](payload)
    name = content_type.partition(";")[0].strip().lower()
    format_name = route.format if name in _ROUTE_DECIDES else _FORMAT_OF_CONTENT_TYPE.get(name)
    if format_name is None:
        return _reject(
            Reason.UNSUPPORTED_FORMAT,
            f"Content Type {quote(content_type)} names no format that this version decodes",
        )
    return _DECODERS[format_name](payload)


def _reject(reason: Reason, detail: str) -> Rejected:
    return Rejected(reason, Layer.PROTOCOL, detail)
