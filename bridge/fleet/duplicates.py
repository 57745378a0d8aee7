"""Which messages are duplicates: of what Kafka has, and of what is on its way there.

Theory of operation. A key that is judged new is under way from then on: a duplicate of it joins and
is acknowledged together with it. `confirm` makes it known; `abandon` makes it new again. Only
confirmed keys are ever written to the journal, so a crash forgets what was under way, and the
MQTT broker sends it again.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from bridge.fleet.dedup_window import DedupWindow, Knowledge


class Settleable(Protocol):
    """The receipt of a PUBLISH, or a share in one."""

    @property
    def is_promised(self) -> bool:
        """True for the one that the conservation equation counts."""

    def settle(self) -> None:
        """Note that the message is safe."""


_NEW: Final = Knowledge.NEW
_SAME: Final = Knowledge.SAME
_NOBODY: Final[tuple[Settleable, ...]] = ()


class Duplicates:
    """Judge keys, and keep who waits for a key that is under way.

    Invariant: a key is under way from its first `judge` until `confirm` or `abandon`; while it is,
    no second record with it is made.
    """

    def __init__(self, window: DedupWindow | None) -> None:
        self._window = window
        self._under_way: dict[bytes, Sequence[Settleable]] = {}
        self.joined = 0
        """Receipts that wait for a key under way, those of ended connections too."""

    @property
    def is_on(self) -> bool:
        """False when `dedup.keys_max` is 0."""
        return self._window is not None

    def begin(self, now_s: float) -> None:
        """Begin a batch of `judge`."""
        if self._window is not None:
            self._window.begin(now_s)

    def judge(self, key: bytes) -> Knowledge:
        """Tell what is known of a key; one that is not known is under way from now on."""
        window = self._window
        if window is None:
            return Knowledge.NEW
        if key in self._under_way:
            return Knowledge.UNDER_WAY
        # Kept at once, so that one look-up serves both; `confirm` has nothing more to do.
        knowledge = window.admit(key)
        if knowledge is not Knowledge.SAME:
            self._under_way[key] = _NOBODY
        return knowledge

    def judge_all(self, keys: Sequence[bytes]) -> list[Knowledge]:
        """Do the same for each of them, in order."""
        if self._window is None:
            return [Knowledge.NEW] * len(keys)
        if self._under_way.keys().isdisjoint(keys) and len(set(keys)) == len(keys):
            found = self._window.admit_all(keys)
            new = keys
            if found.count(_NEW) != len(found):
                new = [key for key, each in zip(keys, found, strict=True) if each is not _SAME]
            self._under_way.update(dict.fromkeys(new, _NOBODY))
            return found
        return [self.judge(key) for key in keys]

    def take_back(self, keys: Sequence[bytes], knowledge: Sequence[Knowledge]) -> None:
        """Undo `judge_all` whole, before anything else is judged: no place is taken for nothing."""
        kept = [
            key
            for key, each in zip(keys, knowledge, strict=True)
            if each is Knowledge.NEW or each is Knowledge.OTHER_CONTENT
        ]
        if self._window is None:
            return
        for key in kept:
            del self._under_way[key]
        self._window.take_back(len(kept))

    def is_known(self, key: bytes) -> bool:
        """Tell whether the whole key is known or under way, without making it so."""
        return self._window is not None and self._window.ask(key) is Knowledge.SAME

    def join(self, key: bytes, receipt: Settleable) -> None:
        """Let a receipt wait for a key that is under way."""
        self._under_way[key] = [*self._under_way[key], receipt]
        self.joined += 1

    def confirm(self, keys: Iterable[bytes]) -> list[Settleable]:
        """Make keys known: Kafka has them; return the receipts that waited for them."""
        joined: list[Settleable] = []
        under_way = self._under_way
        for key in keys:
            waiting = under_way.pop(key, _NOBODY)
            if waiting:
                joined += waiting
        self.joined -= len(joined)
        return joined

    def abandon(self, key: bytes) -> Sequence[Settleable]:
        """Make a key new again, since no record of it will be; return who waited for it."""
        if not key:
            return _NOBODY  # Of a message that is never recognised.
        waiting = self._under_way.pop(key, _NOBODY)
        self.joined -= len(waiting)
        if self._window is not None:
            self._window.forget(key)
        return waiting

    def rename(self, old: bytes, new: bytes, *, now_s: float) -> Knowledge:
        """Let a dead letter take the place of a record that Kafka refused, and its followers.

        Where the same letter is known or under way there is no need of another one. Followers of
        a known one stay where they are, for `abandon`.
        """
        if self._window is None:
            return Knowledge.NEW
        is_under_way = new in self._under_way
        if not is_under_way and self._window.ask(new) is Knowledge.SAME:
            return Knowledge.SAME
        waiting = self.abandon(old)
        self.joined += len(waiting)
        if not is_under_way:
            self._window.note((new,), now_s)
        self._under_way[new] = [*self._under_way.get(new, _NOBODY), *waiting]
        return Knowledge.UNDER_WAY if is_under_way else Knowledge.NEW

    def recall(self, keys: Sequence[bytes], at_s: float) -> None:
        """Fill the window with keys that Kafka was found to have, oldest first."""
        if self._window is not None:
            self._window.note(keys, at_s)

    def window_seconds(self, now_s: float) -> float:
        """Tell how far back duplicates are recognised."""
        return 0.0 if self._window is None else self._window.seconds(now_s)

    def count_joined(self) -> int:
        """Count the PUBLISHes that wait for a key under way."""
        return sum(each.is_promised for waiting in self._under_way.values() for each in waiting)
