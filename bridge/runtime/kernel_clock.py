"""What the kernel says of the wall clock: does somebody keep it, and how wrong may it be."""

import ctypes
import sys
from typing import Final

import msgspec

_TIMEX_LONGS: Final = 64
"""More than struct timex has (26 longs)."""
_TIME_ERROR: Final = 5
_MAX_ERROR_AT: Final = 3
_US_PER_S: Final = 1e6


class KernelClock(msgspec.Struct, frozen=True):
    """The answer of adjtimex."""

    is_kept: bool
    """NTP, or whoever else, keeps it: the kernel says `synchronised`."""
    max_error_s: float


def ask_kernel() -> KernelClock | None:
    """Ask; None where the kernel does not say: not on Linux, or forbidden."""
    if not sys.platform.startswith("linux"):
        return None
    timex = (ctypes.c_long * _TIMEX_LONGS)()  # All zero: read only.
    state = _LIBC.adjtimex(ctypes.byref(timex))
    if state < 0:
        return None
    return KernelClock(state != _TIME_ERROR, timex[_MAX_ERROR_AT] / _US_PER_S)


_LIBC: Final = ctypes.CDLL(None)
