"""What is left behind in cycles does not wait for the collector's own time."""

import gc
import weakref

from bridge.runtime.memory import EVERY_S, MemoryKeeper, find_trim


class Node:
    def __init__(self) -> None:
        self.itself = self


def test_now_and_then_cycles_go_and_free_memory_is_returned_and_not_sooner() -> None:
    trims: list[None] = []
    keeper = MemoryKeeper(now=100.0, trim=lambda: trims.append(None))
    gc.disable()
    try:
        left = weakref.ref(Node())
        keeper.tick(100.0 + EVERY_S - 1)
        assert (left() is not None, 0) == (True, len(trims))

        keeper.tick(100.0 + EVERY_S)
        assert (left() is None, 1) == (True, len(trims))

        keeper.tick(100.0 + EVERY_S + 1)
        assert 1 == len(trims)
    finally:
        gc.enable()


def test_the_c_library_of_this_system_can_be_asked() -> None:
    find_trim()()
