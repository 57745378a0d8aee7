"""The states of a device that may fall silent, and how they are written."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from bridge.fleet.slices import check_columns, read_slice, write_slice

LIVE: Final = 0
QUIET: Final = 1
GROUPED: Final = 2
SILENT: Final = 3
OFFLINE: Final = 4
UNWATCHED: Final = 5
STATES: Final = 6
TEACHING: Final = frozenset((LIVE, QUIET, SILENT))
"""In these a gap between two messages counts for the interval."""
FORGETTING: Final = frozenset((SILENT, OFFLINE, UNWATCHED))
"""After these the interval is learned anew."""

_MACHINE: Final = "silence"
_VERSION: Final = 1
_Seconds = Annotated[float, Meta(ge=0, le=1e12)]


class WrittenSilence(msgspec.Struct, array_like=True):
    """Some devices, and what belongs to all of them."""

    deaf: list[tuple[_Seconds, _Seconds]]
    since_ago_s: _Seconds | None
    """In time heard; None: there is no silence of the fleet."""
    devices: list[bytes]
    heard_ago_s: list[_Seconds]
    learned_s: list[_Seconds]
    states: list[Annotated[int, Meta(ge=LIVE, le=OFFLINE)]]

    def __post_init__(self) -> None:
        """Check that the columns belong together."""
        check_columns(self.devices, self.heard_ago_s, self.learned_s, self.states)


_SLICE: Final = msgspec.msgpack.Decoder(WrittenSilence)


def write_silence(state: WrittenSilence) -> bytes:
    """Write a slice."""
    return write_slice(_MACHINE, _VERSION, state)


def read_silence(written: bytes) -> WrittenSilence:
    """Read a slice.

    Raises:
        ValueError: It is none; says why.
    """
    return read_slice(written, _MACHINE, _VERSION, _SLICE)
