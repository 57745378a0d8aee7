"""What came of the last time the configuration was read anew."""

from collections.abc import Sequence
from typing import Any

import msgspec

from bridge.observe.counters import ReloadOutcome
from bridge.observe.text import printable


class ReloadFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One reload; without one the configuration is that of the start."""

    at: str
    """RFC 3339, UTC."""
    cause: str
    outcome: ReloadOutcome
    changed: Sequence[str] = ()
    renewed: Sequence[str] = ()
    needs_restart: Sequence[str] = ()
    """Keys that have another value in the file than in the bridge."""
    problems: Sequence[str] = ()

    def as_tree(self) -> dict[str, Any]:
        """Write it for `/status`."""
        return {
            "at": self.at,
            "cause": self.cause,
            "outcome": str(self.outcome),
            "changed": [printable(each) for each in self.changed],
            "renewed": list(self.renewed),
            "needs_restart": list(self.needs_restart),
            "problems": [printable(each) for each in self.problems],
        }
