"""Which firmware a device says that it runs."""

from typing import Any, Final

from bridge.pipeline.wording import quote

_NAMES: Final = ("firmware_version", "firmware")


def firmware_in(message: Any) -> str | None:  # noqa: ANN401 - whatever was decoded
    """Give the version as sent, not fit to be shown; None where the message tells none."""
    metadata = message.get("metadata") if type(message) is dict else None
    if type(metadata) is not dict:
        return None
    for name in _NAMES:
        version = metadata.get(name)
        if type(version) is str:
            return version
        if type(version) in {int, float}:
            return quote(version)  # Not str: Python refuses to write an integer of 5,000 digits.
    return None
