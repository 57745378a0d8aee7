"""Memory that an outage took is given back: cycles are collected, free pages returned.

Two things made a process that lives for years grow in steps. The collector runs seldom, so what
connections and timeouts leave behind in cycles, some 16 objects a second, waited for an hour; and
the C library keeps freed memory that is in pieces. Each time costs 2 to 10 ms.
"""

import ctypes
import gc
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 20.0
ARENAS_MAX: Final = 2
"""The loop's, and one for the threads of librdkafka and of the disk."""
MAPPED_FROM_BYTES: Final = 524_288
"""A larger block is mapped, and given back when it is freed. Above the 256 KiB that asyncio reads
into: mapping those would cost 5 us a read."""
_M_ARENA_MAX: Final = -8
_M_MMAP_THRESHOLD: Final = -3


def calm_allocator() -> None:
    """Keep the C library from spreading over many arenas; before the first thread is started.

    It gives each thread an arena of its own, up to eight a core, and lets ever larger blocks into
    them, where each outage leaves other holes. Without glibc nothing is done.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    mallopt(_M_ARENA_MAX, ARENAS_MAX)
    mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)


def calm_collector() -> None:
    """Let the cyclic collector run seldom: what a message leaves behind has no cycles.

    It took 12 % of a drain's CPU at Python's thresholds, walking all that was imported each time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


class MemoryKeeper:
    """Collect and trim each `EVERY_S`; call `tick` each second or so."""

    def __init__(self, *, now: float, trim: Callable[[], object] | None = None) -> None:
        """`trim` is the C library's own unless another is given."""
        self._at_s = now + EVERY_S
        self._trim = trim or find_trim()

    def tick(self, now: float) -> None:
        """Do it if it is time."""
        if now < self._at_s:
            return
        self._at_s = now + EVERY_S
        gc.collect()
        self._trim()


def find_trim() -> Callable[[], object]:
    """Find glibc's `malloc_trim`; where there is none nothing is trimmed."""
    try:
        malloc_trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return _no_trim
    malloc_trim.argtypes = [ctypes.c_size_t]
    malloc_trim.restype = ctypes.c_int
    return lambda: malloc_trim(0)


def _no_trim() -> None:
    pass
