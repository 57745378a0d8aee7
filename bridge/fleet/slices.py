"""The state of a machine on its way to a file and back, in slices that never hold the loop long.

A slice is MessagePack, `[machine, version, state]`, and stands for itself: the slices of a machine
may be written in any number and read in their order. Framing and the file are the runtime's.

Devices are written in columns: a thousand rows would be a thousand tuples, which wake the garbage
collector in the midst of a slice (38 ms, measured).
"""

from collections.abc import Sized
from typing import Any, Final, TypeVar

import msgspec

SLICE_DEVICES: Final = 1_000
"""Devices in a slice: 1 ms to write one (measured)."""

_State = TypeVar("_State")


class Slice(msgspec.Struct, array_like=True, frozen=True):
    """A part of the state of one machine."""

    machine: str
    version: int
    state: msgspec.Raw


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Slice)


def write_slice(machine: str, version: int, state: Any) -> bytes:  # noqa: ANN401 - its own affair
    """Write a part of the state of a machine."""
    return _ENCODER.encode(Slice(machine, version, msgspec.Raw(_ENCODER.encode(state))))


def check_columns(*columns: Sized) -> None:
    """Check that columns are equally long.

    Raises:
        ValueError: They are not.
    """
    lengths = {len(column) for column in columns}
    if len(lengths) > 1:
        raise ValueError(f"columns of {sorted(lengths)} devices")


def read_slice(
    written: bytes, machine: str, version: int, decoder: "msgspec.msgpack.Decoder[_State]"
) -> _State:
    """Read a slice.

    Raises:
        ValueError: It is no such slice; says why. Nothing of it may be used.
    """
    try:
        found = _DECODER.decode(written)
        if (found.machine, found.version) != (machine, version):
            raise ValueError(
                f'fleet state is "{found.machine}" of version {found.version},'
                f' expected "{machine}" of version {version}'
            )
        return decoder.decode(found.state)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f'fleet state of "{machine}" cannot be read: {error}') from error
