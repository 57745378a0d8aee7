"""What a fleet has sent, counted by what was special about it."""

from collections import Counter
from typing import Any

from bridge.cli.showcase.traffic import Kind, Message


class Tally:
    """Counts for the summary of `simulate`; bounded by the kinds, not by the fleet."""

    def __init__(self) -> None:
        self.by_kind: Counter[Kind] = Counter()
        self.by_way: Counter[str] = Counter()
        self._answered = 0
        self._refused = 0

    def sent(self, message: Message) -> None:
        """Note a message that is about to be published for the first time."""
        self.by_kind[message.kind] += 1
        if message.way:
            self.by_way[message.way] += 1

    def answered(self, message: Message) -> None:  # noqa: ARG002 (a PUBACK counts, whatever for)
        """Note that a PUBACK came."""
        self._answered += 1

    def refused(self) -> None:
        """Note that a PUBACK said no."""
        self._refused += 1

    @property
    def sent_total(self) -> int:
        """Messages published, each once."""
        return self.by_kind.total()

    @property
    def acknowledged(self) -> int:
        """PUBACKs that said yes."""
        return self._answered - self._refused

    def summary(self) -> dict[str, Any]:
        """Say it as JSON."""
        return {
            "sent": self.sent_total,
            "acknowledged": self.acknowledged,
            "refused": self._refused,
            "sent_by_kind": {kind.value: self.by_kind[kind] for kind in Kind},
            "malformed_by_way": dict(sorted(self.by_way.items())),
        }
